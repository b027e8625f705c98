// Gradients of attention with respect to keys and values: dk = dxᵀ · q · scale and dv = aᵀ · dy, with the shares a and dx
// made again as in attention_queries.wgsl, here with a column for each key.
#import attention_gradient

@group(0) @binding(5) var<storage, read_write> dk: array<elem4>; // [members, s, d]
@group(0) @binding(6) var<storage, read_write> dv: array<elem4>; // [members, s, d]

var<workgroup> shares: array<vec4<acc>, 256>;

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
    let i = id % tiles * 4u + lane / 16u;
    let part = lane % 16u;
    let end = groups(p.t);
    let a = four(member, i, p.s);
    var of_k: array<block, WIDE>;
    var of_v: array<block, WIDE>;
    for (var first = queries_from(id % tiles * 16u); first < end; first += 16u) {
        let j = first + part;
        let b = four(member, j, p.t);
        var x = block();
        var z = block();
        // Invocations beyond the end have nothing to see.
        let steps = select(0u, p.d, i < groups(p.s) && j < end);
        for (var n = 0u; n < steps; n++) {
            let u = four_k(a, n);
            let w = four_q(b, n);
            x += transpose(w * acc(p.scale)) * u;
            let du = four_v(a, n);
            let dw = four_dy(b, n);
            z += transpose(dw) * du;
        }
        let row = row_of(member, j);
        for (var r = 0u; r < 4u; r++) {
            var seen: vec4<bool>;
            for (var c = 0u; c < 4u; c++) {
                seen[c] = visible(member, 4u * j + c, 4u * i + r);
            }
            let share = exp_acc(x[r] - row.top) / row.whole;
            shares[4u * lane + r] = select(vec4<acc>(), share, seen);
            slopes[4u * lane + r] = select(vec4<acc>(), share * (z[r] - row.mean), seen);
        }
        workgroupBarrier();
        for (var c = 0u; c < min(16u, end - first); c++) {
            let at = 4u * (lane - part + c);
            let share = block(shares[at], shares[at + 1u], shares[at + 2u], shares[at + 3u]);
            let slope = block(slopes[at], slopes[at + 1u], slopes[at + 2u], slopes[at + 3u]);
            let b = four(member, first + c, p.t);
            for (var w = 0u; w < WIDE; w++) {
                let n = part + 16u * w;
                if n < p.d {
                    of_k[w] += four_q(b, n) * slope;
                    of_v[w] += four_dy(b, n) * share;
                }
            }
        }
        workgroupBarrier();
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
