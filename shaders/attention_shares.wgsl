// Softmax of the scores of attention, times their scale, over the keys that a query sees. An invocation for four queries.
#import across
#import attention_sees
#import grid

@group(0) @binding(0) var<storage, read> scores: array<wide4>;       // [members, t, s]
@group(0) @binding(1) var<storage, read_write> shares: array<elem4>; // [members, t, s]
@group(0) @binding(2) var<storage, read_write> rows: array<wide4>;   // [members, blocks of t, 2]: largest score or 0, Σ exp

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = invocation(workgroup, lane);
    let blocks = groups(p.t);
    let member = id / blocks;
    let i = id - member * blocks;
    if member >= p.members {
        return;
    }
    var tops: array<acc, 4>;
    var sums: array<acc, 4>;
    for (var r = 0u; r < 4u && 4u * i + r < p.t; r++) {
        let row = 4u * i + r;
        let first = (member * p.t + row) * groups(p.s);
        let end = keys_before(row + 1u);
        var m = vec4(LOWEST);
        for (var k = 0u; k < end; k++) {
            m = max(m, select(m, unpack4_wide(scores[first + k]) * acc(p.scale), sees(member, row, k)));
        }
        let top = max(max(m.x, m.y), max(m.z, m.w));
        var sum = vec4<acc>();
        for (var k = 0u; k < end; k++) {
            let e = exp_acc(unpack4_wide(scores[first + k]) * acc(p.scale) - top);
            sum += select(vec4<acc>(), e, sees(member, row, k));
        }
        sums[r] = across(sum);
        tops[r] = select(acc(), top, sums[r] > acc());
        // A query that sees nothing gets zeros.
        let whole = max(sums[r], acc(0.5));
        for (var k = 0u; k < groups(p.s); k++) {
            let e = exp_acc(unpack4_wide(scores[first + k]) * acc(p.scale) - top);
            shares[first + k] = pack4(select(vec4<acc>(), e / whole, sees(member, row, k)));
        }
    }
    rows[2u * id] = pack4_wide(vec4(tops[0], tops[1], tops[2], tops[3]));
    rows[2u * id + 1u] = pack4_wide(vec4(sums[0], sums[1], sums[2], sums[3]));
}
