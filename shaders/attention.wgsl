// Attention: softmax(q · kᵀ · scale) · v of each head. Sums and largest scores move along with the keys, so that nothing
// of the size [t, s] is ever in memory.
#import attention
#import axis

@group(0) @binding(3) var<storage, read_write> y: array<elem4>;     // [members, t, d]
@group(0) @binding(4) var<storage, read_write> rows: array<wide4>;  // [members, blocks of t, 2]: largest score or 0, Σ exp

var<workgroup> tops: array<vec4<acc>, 64>;
var<workgroup> shares: array<vec4<acc>, 256>;

// Scores of queries 4i.. and keys 4j..: a column for each query; no steps where one of them is beyond the end.
fn scores(member: u32, i: u32, j: u32, steps: u32) -> block {
    let a = four(member, i, p.t);
    let b = four(member, j, p.s);
    var x = block();
    for (var n = 0u; n < steps; n++) {
        let u = four_q(a, n);
        let w = four_k(b, n);
        x += transpose(w) * (u * acc(p.scale));
    }
    return x;
}

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
    var top = vec4(LOWEST);
    var sum = vec4<acc>();
    var out: array<block, WIDE>;
    for (var first = 0u; first < end; first += 16u) {
        let j = first + part;
        var x = scores(member, i, j, select(0u, p.d, i < groups(p.t) && j < end));
        var seen: array<vec4<bool>, 4>;
        var largest = vec4<acc>();
        for (var r = 0u; r < 4u; r++) {
            for (var c = 0u; c < 4u; c++) {
                seen[r][c] = visible(member, 4u * i + r, 4u * j + c);
            }
            let z = select(vec4(LOWEST), x[r], seen[r]);
            largest[r] = max(max(z.x, z.y), max(z.z, z.w));
        }
        tops[lane] = largest;
        workgroupBarrier();
        var next = top;
        for (var n = lane - part; n < lane - part + 16u; n++) {
            next = max(next, tops[n]);
        }
        for (var r = 0u; r < 4u; r++) {
            shares[4u * lane + r] = select(vec4<acc>(), exp_acc(x[r] - next[r]), seen[r]);
        }
        workgroupBarrier();
        let fade = exp_acc(top - next);
        top = next;
        sum *= fade;
        for (var w = 0u; w < WIDE; w++) {
            for (var r = 0u; r < 4u; r++) {
                out[w][r] *= fade[r];
            }
        }
        for (var c = 0u; c < min(16u, end - first); c++) {
            let at = 4u * (lane - part + c);
            let share = block(shares[at], shares[at + 1u], shares[at + 2u], shares[at + 3u]);
            sum += vec4(across(share[0]), across(share[1]), across(share[2]), across(share[3]));
            let b = four(member, first + c, p.s);
            for (var w = 0u; w < WIDE; w++) {
                let n = part + 16u * w;
                if n < p.d {
                    out[w] += four_v(b, n) * share;
                }
            }
        }
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
