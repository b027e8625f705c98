// From the scores x of attention, times their scale, and the gradients z of its shares: the shares a = softmax(x) once more, and
// the gradients of the products of queries and keys, a · (z − Σ dy · y) · scale. An invocation for four queries.
#import attention_row
#import grid

@group(0) @binding(0) var<storage, read> scores: array<wide4>;       // [members, t, s]
@group(0) @binding(1) var<storage, read> of_shares: array<wide4>;    // [members, t, s]
@group(0) @binding(2) var<storage, read> rows: array<wide4>;         // [members, blocks of t, 3]: see attention_rows.wgsl
@group(0) @binding(3) var<storage, read_write> shares: array<elem4>; // [members, t, s]
@group(0) @binding(4) var<storage, read_write> slopes: array<elem4>; // [members, t, s]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = invocation(workgroup, lane);
    let blocks = groups(p.t);
    let member = id / blocks;
    let i = id - member * blocks;
    if member >= p.members {
        return;
    }
    let of_row = row_of(member, i);
    for (var r = 0u; r < 4u && 4u * i + r < p.t; r++) {
        let row = 4u * i + r;
        let first = (member * p.t + row) * groups(p.s);
        for (var k = 0u; k < groups(p.s); k++) {
            let e = exp_acc(unpack4_wide(scores[first + k]) * acc(p.scale) - of_row.top[r]);
            let share = select(vec4<acc>(), e / of_row.whole[r], sees(member, row, k));
            let z = unpack4_wide(of_shares[first + k]) - of_row.mean[r];
            shares[first + k] = pack4(share);
            slopes[first + k] = pack4(select(vec4<acc>(), share * z * acc(p.scale), sees(member, row, k)));
        }
    }
}
