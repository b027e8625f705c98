// What the gradients of attention have in common: the gradient of the results, what attention_rows.wgsl found, and scores
// and shares made again.
#import attention
#import attention_row

@group(0) @binding(3) var<storage, read> rows: array<wide4>; // [members, blocks of t, 3]: see attention_rows.wgsl
@group(0) @binding(4) var<storage, read> dy: array<elem4>;   // [members, t, d]

fn gradients(at: u32) -> vec4<acc> {
    return unpack4(dy[at]);
}
