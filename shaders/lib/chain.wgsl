// What a fused chain needs to find its operands. `chain` holds, in groups of four:
//   0, 1: groups in the output's last axis, then the lengths of the other axes, at the end that of the last;
//   2, 3: 1 / each of these, f32;
//   then for each broadcast operand that rows do not share two groups: stride of the last axis, then of the others (in values).
#import math
#import quotient

const CHAIN_RANK: u32 = 1u;
const CHAIN_FAR: u32 = 0u; // whether the output has 2^22 groups or more

// a / the k-th length. For a below 2^22 without an integer division: a + 0.5 is exact then, and two roundings are less than
// what is left to the next integer.
fn chain_quotient(a: u32, k: u32) -> u32 {
    if CHAIN_FAR == 1u {
        return quotient(a, chain[k / 4u][k % 4u], 1u);
    }
    return near_quotients(vec4(a), bitcast<f32>(chain[2u + k / 4u][k % 4u])).x;
}

// The number of group g along the last axis.
fn chain_column(g: u32) -> u32 {
    return g - chain_quotient(g, 0u) * chain[0].x;
}

// Where the operand whose strides start at `at` has the value for group g's first lane.
fn chain_offset(g: u32, at: u32) -> u32 {
    var rest = chain_quotient(g, 0u);
    var offset = (g - rest * chain[0].x) * 4u * chain[at].x;
    for (var k = CHAIN_RANK; k > 1u; k--) {
        let next = chain_quotient(rest, k);
        offset += (rest - next * chain[k / 4u][k % 4u]) * chain[at + k / 4u][k % 4u];
        rest = next;
    }
    if CHAIN_RANK > 0u {
        offset += rest * chain[at].y;
    }
    return offset;
}
