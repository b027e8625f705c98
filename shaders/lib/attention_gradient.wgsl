// What the gradients of attention have in common: the gradient of the results, what attention_rows.wgsl found, and scores
// and shares made again.
#import attention
#import attention_row

@group(0) @binding(3) var<storage, read> rows: array<wide4>; // [members, blocks of t, 3]: see attention_rows.wgsl
@group(0) @binding(4) var<storage, read> dy: array<elem4>;   // [members, t, d]

fn group_of(kind: u32, at: u32) -> vec4<acc> {
    if kind == QUERIES {
        return unpack4(q[at]);
    }
    if kind == KEYS {
        return unpack4(k[at]);
    }
    if kind == VALUES {
        return unpack4(v[at]);
    }
    return unpack4(dy[at]);
}

fn length_of(kind: u32) -> u32 {
    return select(p.s, p.t, kind == QUERIES || kind == GRADIENTS);
}
