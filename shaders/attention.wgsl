// Attention: softmax(q · kᵀ · scale) · v of each head. Sums and largest scores move along with the keys, so that nothing
// of the size [t, s] is ever in memory.
#import attention
#import axis

@group(0) @binding(3) var<storage, read_write> y: array<elem4>;     // [members, t, d]
@group(0) @binding(4) var<storage, read_write> rows: array<wide4>;  // [members, blocks of t, 2]: largest score or 0, Σ exp

const ROOM: u32 = 4u; // also for a value of each lane, as of row part / 4 and group part % 4

// There are none, and nobody asks.
fn gradients(at: u32) -> vec4<acc> {
    return vec4<acc>();
}

// The largest of the scores that are seen.
fn largest(x: vec4<acc>, seen: vec4<bool>) -> acc {
    let z = select(vec4(LOWEST), x, seen);
    return max(max(z.x, z.y), max(z.z, z.w));
}

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
    var top = vec4(LOWEST);
    var sum = vec4<acc>();
    var out: array<block, WIDE>;
    for (var first = 0u; first < end; first += 16u) {
        let j = first + part;
        let x = products(member, QUERIES, own, KEYS, first, lane, acc(p.scale));
        let s0 = sees(member, 4u * i, j);
        let s1 = sees(member, 4u * i + 1u, j);
        let s2 = sees(member, 4u * i + 2u, j);
        let s3 = sees(member, 4u * i + 3u, j);
        owned[part / 4u][quarter][part % 4u] = vec4(largest(x[0], s0), largest(x[1], s1), largest(x[2], s2), largest(x[3], s3));
        workgroupBarrier();
        var next = top;
        for (var n = 0u; n < 4u; n++) {
            let of_four = four_owned(quarter, n);
            next = max(next, max(max(of_four[0], of_four[1]), max(of_four[2], of_four[3])));
        }
        let a0 = select(vec4<acc>(), exp_acc(x[0] - next.x), s0);
        let a1 = select(vec4<acc>(), exp_acc(x[1] - next.y), s1);
        let a2 = select(vec4<acc>(), exp_acc(x[2] - next.z), s2);
        let a3 = select(vec4<acc>(), exp_acc(x[3] - next.w), s3);
        walked[0][quarter][part] = a0;
        walked[1][quarter][part] = a1;
        walked[2][quarter][part] = a2;
        walked[3][quarter][part] = a3;
        workgroupBarrier();
        let fade = exp_acc(top - next);
        top = next;
        sum = sum * fade + vec4(across(a0), across(a1), across(a2), across(a3));
        for (var w = 0u; w < WIDE; w++) {
            out[w] = block(out[w][0] * fade.x, out[w][1] * fade.y, out[w][2] * fade.z, out[w][3] * fade.w);
        }
        for (var c = 0u; c < min(16u, end - first); c++) {
            let share = four_walked(quarter, c);
            let at = places(member, numbers(first + c), p.s);
            for (var w = 0u; w < WIDE; w++) {
                let n = part + 16u * w;
                if n < p.d {
                    out[w] = plus(out[w], four_groups(VALUES, at, n), share);
                }
            }
        }
    }
    owned[part / 4u][quarter][part % 4u] = sum;
    workgroupBarrier();
    sum = vec4<acc>();
    for (var n = 0u; n < 4u; n++) {
        let of_four = four_owned(quarter, n);
        sum += (of_four[0] + of_four[1]) + (of_four[2] + of_four[3]);
    }
    // A query that sees nothing gets zeros.
    let whole = max(sum, vec4(acc(0.5)));
    for (var r = 0u; r < 4u; r++) {
        for (var w = 0u; w < WIDE; w++) {
            let n = part + 16u * w;
            if 4u * i + r < p.t && n < p.d {
                y[place(member, 4u * i + r, p.t) + n] = pack4(out[w][r] / whole[r]);
            }
        }
    }
    if part == 0u && i < groups(p.t) {
        let there = inside(i, p.t);
        let at = 2u * (member * groups(p.t) + i);
        rows[at] = pack4_wide(select(vec4<acc>(), top, there & (sum > vec4<acc>())));
        rows[at + 1u] = pack4_wide(select(vec4<acc>(), sum, there));
    }
}
