// What the gradients of attention have in common: the gradient of the results, what attention_rows.wgsl found, and scores
// and shares made again.
#import attention
#import attention_row

@group(0) @binding(3) var<storage, read> rows: array<wide4>; // [members, blocks of t, 3]: see attention_rows.wgsl
@group(0) @binding(4) var<storage, read> dy: array<elem4>;   // [members, t, d]

var<workgroup> slopes: array<vec4<acc>, 256>;

// Group n of four rows that begin at `at`.
fn four_dy(at: vec4<u32>, n: u32) -> block {
    return block(unpack4(dy[at.x + n]), unpack4(dy[at.y + n]), unpack4(dy[at.z + n]), unpack4(dy[at.w + n]));
}
