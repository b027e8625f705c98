// Gradients of attention with respect to keys and values: dk = dxᵀ · q · scale and dv = aᵀ · dy, with the shares a and dx
// made again as in attention_queries.wgsl, here with a column for each key.
#import attention_gradient

@group(0) @binding(5) var<storage, read_write> dk: array<elem4>; // [members, s, d]
@group(0) @binding(6) var<storage, read_write> dv: array<elem4>; // [members, s, d]

const ROOM: u32 = 16u; // for slopes

// The first group of queries that sees this key.
fn queries_from(key: u32) -> u32 {
    if CAUSAL == 1u {
        return (max(key + p.t, p.s) - p.s) / 4u;
    }
    return 0u;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (p.s + 15u) / 16u;
    let id = linear_id(workgroup);
    let member = id / tiles;
    if member >= p.members {
        return;
    }
    let own = id % tiles * 4u;
    let quarter = lane / 16u;
    let part = lane % 16u;
    let i = own + quarter;
    let end = groups(p.t);
    var of_k: array<block, WIDE>;
    var of_v: array<block, WIDE>;
    for (var first = queries_from(id % tiles * 16u); first < end; first += 16u) {
        let j = first + part;
        var x = products(member, KEYS, own, QUERIES, first, lane, acc(p.scale));
        var z = products(member, VALUES, own, GRADIENTS, first, lane, acc(1.0));
        let row = row_of(member, j);
        for (var r = 0u; r < 4u; r++) {
            let key = 4u * i + r;
            let seen = vec4(
                visible(member, 4u * j, key), visible(member, 4u * j + 1u, key),
                visible(member, 4u * j + 2u, key), visible(member, 4u * j + 3u, key),
            );
            let share = exp_acc(x[r] - row.top) / row.whole;
            walked[r][quarter][part] = select(vec4<acc>(), share, seen);
            owned[r][quarter][part] = select(vec4<acc>(), share * (z[r] - row.mean), seen);
        }
        workgroupBarrier();
        for (var c = 0u; c < min(16u, end - first); c++) {
            let share = four_walked(quarter, c);
            let slope = four_owned(quarter, c);
            let at = places(member, numbers(first + c), p.t);
            for (var w = 0u; w < WIDE; w++) {
                let n = part + 16u * w;
                if n < p.d {
                    of_k[w] = plus(of_k[w], four_groups(QUERIES, at, n), slope);
                    of_v[w] = plus(of_v[w], four_groups(GRADIENTS, at, n), share);
                }
            }
        }
    }
    for (var r = 0u; r < 4u; r++) {
        for (var w = 0u; w < WIDE; w++) {
            let n = part + 16u * w;
            if 4u * i + r < p.s && n < p.d {
                let at = place(member, 4u * i + r, p.s) + n;
                dk[at] = pack4(of_k[w][r] * acc(p.scale));
                dv[at] = pack4(of_v[w][r]);
            }
        }
    }
}
