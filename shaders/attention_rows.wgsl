// What the gradients of attention need of four queries: the largest score, Σ exp, and Σ dy · y. An invocation each.
#import across
#import axis
#import grid

const JOINED: u32 = 0u; // see lib/attention.wgsl

@group(0) @binding(0) var<storage, read> y: array<elem4>;             // [members, t, d]
@group(0) @binding(1) var<storage, read> dy: array<elem4>;            // [members, t, d]
@group(0) @binding(2) var<storage, read> rows: array<wide4>;          // [members, blocks of t, 2]: see attention.wgsl
@group(0) @binding(3) var<storage, read_write> all: array<wide4>;     // [members, blocks of t, 3]

struct Params {
    members: u32,
    heads: u32,
    t: u32,
    d: u32, // groups of a row
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = invocation(workgroup, lane);
    let blocks = groups(p.t);
    if id >= p.members * blocks {
        return;
    }
    let member = id / blocks;
    let first = (id - member * blocks) * 4u;
    // From row to row, and to the first.
    let step = select(1u, p.heads, JOINED == 1u);
    let start = select(member * p.t, member / p.heads * p.t * p.heads + member % p.heads, JOINED == 1u);
    var sums: array<acc, 4>;
    for (var r = 0u; r < 4u && first + r < p.t; r++) {
        let at = (start + (first + r) * step) * p.d;
        var sum = vec4<acc>();
        for (var n = at; n < at + p.d; n++) {
            sum += unpack4(dy[n]) * unpack4(y[n]);
        }
        sums[r] = across(sum);
    }
    all[3u * id] = rows[2u * id];
    all[3u * id + 1u] = rows[2u * id + 1u];
    all[3u * id + 2u] = pack4_wide(vec4(sums[0], sums[1], sums[2], sums[3]));
}
