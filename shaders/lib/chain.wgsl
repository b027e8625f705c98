// What a fused chain needs to find its operands. `chain` holds, in groups of four:
//   0: groups in the output's last axis, then the first three of the other axes' lengths; 1: the remaining lengths;
//   then for each broadcast operand two groups: stride of the last axis, then of the others (in values).
#import math

const CHAIN_RANK: u32 = 1u;

// Where the operand whose strides start at `at` has the value for group g's first lane.
fn chain_offset(g: u32, at: u32) -> u32 {
    let groups = chain[0].x;
    var rest = g / groups;
    var offset = (g - rest * groups) * 4u * chain[at].x;
    for (var k = CHAIN_RANK; k > 0u; k--) {
        let length = chain[k / 4u][k % 4u];
        let next = rest / length;
        offset += (rest - next * length) * chain[at + k / 4u][k % 4u];
        rest = next;
    }
    return offset;
}
