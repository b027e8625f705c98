// Gradient of attention with respect to the queries: with the shares a = softmax(x) made again from x = q · kᵀ · scale,
// dx = a · (dy · vᵀ − Σ dy · y) and dq = dx · k · scale.
#import attention_gradient

@group(0) @binding(5) var<storage, read_write> dq: array<elem4>; // [members, t, d]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (p.t + 15u) / 16u;
    let id = linear_id(workgroup);
    let member = id / tiles;
    if member >= p.members {
        return;
    }
    let i = id % tiles * 4u + lane / 16u;
    let part = lane % 16u;
    let end = keys_before(min(p.t, id % tiles * 16u + 16u));
    let a = four(member, i, p.t);
    let row = row_of(member, i);
    var out: array<block, WIDE>;
    for (var first = 0u; first < end; first += 16u) {
        let j = first + part;
        let b = four(member, j, p.s);
        var x = block();
        var z = block();
        // Invocations beyond the end have nothing to see.
        let steps = select(0u, p.d, i < groups(p.t) && j < end);
        for (var n = 0u; n < steps; n++) {
            let u = four_q(a, n);
            let w = four_k(b, n);
            x += transpose(w) * (u * acc(p.scale));
            let du = four_dy(a, n);
            let dw = four_v(b, n);
            z += transpose(dw) * du;
        }
        for (var r = 0u; r < 4u; r++) {
            let slope = exp_acc(x[r] - row.top[r]) / row.whole[r] * (z[r] - row.mean[r]);
            slopes[4u * lane + r] = select(vec4<acc>(), slope, sees(member, 4u * i + r, j));
        }
        workgroupBarrier();
        for (var c = 0u; c < min(16u, end - first); c++) {
            let at = 4u * (lane - part + c);
            let slope = block(slopes[at], slopes[at + 1u], slopes[at + 2u], slopes[at + 3u]);
            let b = four(member, first + c, p.s);
            for (var w = 0u; w < WIDE; w++) {
                let n = part + 16u * w;
                if n < p.d {
                    out[w] += four_k(b, n) * slope;
                }
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < 4u; r++) {
        for (var w = 0u; w < WIDE; w++) {
            let n = part + 16u * w;
            if 4u * i + r < p.t && n < p.d {
                dq[place(member, 4u * i + r, p.t) + n] = pack4(out[w][r] * acc(p.scale));
            }
        }
    }
}
