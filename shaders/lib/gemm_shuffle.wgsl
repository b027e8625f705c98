// Matrix products for processors that have subgroups: a team of neighbours in one computes ROWS block rows, an invocation a block
// column of them. Each invocation loads another step of a, which the others get by shuffles: a load costs many times as much there.
//
// The size of subgroups, and which invocations are whose, is read from the builtins: any of at least TEAM will do.
#import gemm_lines

const ROWS: u32 = 4u;    // written out below
const TEAM: u32 = 8u;    // a power of two
const SEVERAL: u32 = 1u; // whether there are several taps
const LARGE: u32 = 0u;   // blocks of an operand that fit in a cache
const LANES: u32 = 64u;  // invocations of a workgroup: at least as many as a subgroup has

// The block that invocation `giver` of the subgroup has loaded, and unpacked once for all.
fn shuffled(v: block, giver: u32) -> block {
    return block(
        subgroupShuffle(v[0], giver), subgroupShuffle(v[1], giver), subgroupShuffle(v[2], giver), subgroupShuffle(v[3], giver),
    );
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    //: beside
    //: end
    let e = extent();
    let own = place % TEAM;
    let first = place - own;
    let unit = ((linear_id(workgroup) * subgroups + subgroup) * size + place) / TEAM;
    let across = (e.wide + TEAM - 1u) / TEAM;
    let down = (e.down + ROWS - 1u) / ROWS;
    let all = quotient(unit, down * across, MANY);
    let part = quotient(all, e.members, MANY);
    let member = all - part * e.members;
    // What is walked through first stays in the cache: columns, unless their operand is too large for it.
    let large = min(e.part, e.taps * e.steps) * e.wide > LARGE;
    let inner = select(across, down, large);
    let id = unit - all * down * across;
    let slow = quotient(id, inner, MANY);
    let fast = id - slow * inner;
    let i = select(slow, fast, large) * ROWS;
    let j = select(fast, slow, large) * TEAM + own;
    let start = part * e.part;
    if start >= e.taps * e.steps {
        return;
    }
    let stop = min(start + e.part, taps(member) * e.steps);
    let rows0 = spots_a(i, member);
    let rows1 = spots_a(i + 1u, member);
    let rows2 = spots_a(i + 2u, member);
    let rows3 = spots_a(i + 3u, member);
    let columns = spots_b(j, member);
    var y0 = block();
    var y1 = block();
    var y2 = block();
    var y3 = block();
    var a0 = lines_a(rows0, 0u);
    var a1 = lines_a(rows1, 0u);
    var a2 = lines_a(rows2, 0u);
    var a3 = lines_a(rows3, 0u);
    var b0 = lines_b(columns, 0u);
    for (var k = start; k < stop; k += TEAM) {
        var at = k + own;
        if SEVERAL == 1u {
            let tap = quotient(at, e.steps, FAR);
            at -= tap * e.steps;
            a0 = lines_a(rows0, tap);
            a1 = lines_a(rows1, tap);
            a2 = lines_a(rows2, tap);
            a3 = lines_a(rows3, tap);
        }
        let u0 = load_a(a0, at);
        let u1 = load_a(a1, at);
        let u2 = load_a(a2, at);
        let u3 = load_a(a3, at);
        let steps = min(TEAM, stop - k);
        for (var s = 0u; s < steps; s++) {
            var at = k + s;
            if SEVERAL == 1u {
                let tap = quotient(at, e.steps, FAR);
                at -= tap * e.steps;
                b0 = lines_b(columns, tap);
            }
            let v = load_b(b0, at);
            y0 = plus(y0, v, shuffled(u0, first + s));
            y1 = plus(y1, v, shuffled(u1, first + s));
            y2 = plus(y2, v, shuffled(u2, first + s));
            y3 = plus(y3, v, shuffled(u3, first + s));
        }
    }
    // A loop that is not unrolled: drivers compile for as long as there are stores in a shader's text.
    for (var r = 0u; r < 4u * min(ROWS, e.down - i); r++) {
        var four = y0;
        if r >= 4u {
            four = y1;
        }
        if r >= 8u {
            four = y2;
        }
        if r >= 12u {
            four = y3;
        }
        store_row(i + r / 4u, r % 4u, j, member, part, e, row(four, r % 4u));
    }
}
