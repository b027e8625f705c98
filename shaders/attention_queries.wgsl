// Gradient of attention with respect to the queries: with the shares a = softmax(x) made again from x = q · kᵀ · scale,
// dx = a · (dy · vᵀ − Σ dy · y) and dq = dx · k · scale.
#import attention_gradient

@group(0) @binding(5) var<storage, read_write> dq: array<elem4>; // [members, t, d]

const ROOM: u32 = 4u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (p.t + 15u) / 16u;
    let id = linear_id(workgroup);
    let member = id / tiles;
    if member >= p.members {
        return;
    }
    let own = id % tiles * 4u;
    let quarter = lane / 16u;
    let part = lane % 16u;
    let i = own + quarter;
    let end = keys_before(min(p.t, id % tiles * 16u + 16u));
    let row = row_of(member, i);
    var out: array<block, WIDE>;
    for (var first = 0u; first < end; first += 16u) {
        let j = first + part;
        var x = products(member, QUERIES, own, KEYS, first, lane, acc(p.scale));
        var z = products(member, GRADIENTS, own, VALUES, first, lane, acc(1.0));
        for (var r = 0u; r < 4u; r++) {
            let slope = exp_acc(x[r] - row.top[r]) / row.whole[r] * (z[r] - row.mean[r]);
            walked[r][quarter][part] = select(vec4<acc>(), slope, sees(member, 4u * i + r, j));
        }
        workgroupBarrier();
        for (var c = 0u; c < min(16u, end - first); c++) {
            let slope = four_walked(quarter, c);
            let at = places(member, numbers(first + c), p.s);
            for (var w = 0u; w < WIDE; w++) {
                let n = part + 16u * w;
                if n < p.d {
                    out[w] = plus(out[w], four_groups(KEYS, at, n), slope);
                }
            }
        }
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
