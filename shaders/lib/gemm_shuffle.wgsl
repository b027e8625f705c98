// Matrix products for processors that have subgroups: a team of neighbours in one shares SHARED blocks of rows, and each has a
// block of columns of its own; or the other way round. Each invocation loads another step of what is shared, which the others get
// by shuffles: a load costs many times as much there.
//
// The size of subgroups, and which invocations are whose, is read from the builtins: any of at least TEAM will do.
#import gemm_lines

const SHARED: u32 = 4u;  // written out below
const TEAM: u32 = 8u;    // a power of two
const ROWS: u32 = 1u;    // whether rows are shared, and not columns
const SEVERAL: u32 = 1u; // whether there are several taps
const LARGE: u32 = 0u;   // blocks of an operand that fit in a cache
const LANES: u32 = 64u;  // invocations of a workgroup: at least as many as a subgroup has

// LLVM computes what only loads read once more for each of them, lane by lane, unless it comes from a shuffle: to itself.
fn groups_at(l: Lines, k: u32) -> vec4<u32> {
    return subgroupShuffleXor(l.start + vec4(k * l.step), 0u);
}

fn spots_of(rows: bool, i: u32, member: u32) -> Spots {
    if rows {
        return spots_a(i, member);
    }
    return spots_b(i, member);
}

fn lines_of(rows: bool, s: Spots, tap: u32) -> Lines {
    if rows {
        return lines_a(s, tap);
    }
    return lines_b(s, tap);
}

fn load_of(rows: bool, l: Lines, k: u32) -> block {
    if rows {
        return load_a(l, k);
    }
    return load_b(l, k);
}

// y + own * shared, with the block that invocation `giver` of the subgroup has loaded, and unpacked once for all.
fn plus_shuffled(y: block, own: block, v: block, giver: u32) -> block {
    let given = block(
        subgroupShuffle(v[0], giver), subgroupShuffle(v[1], giver), subgroupShuffle(v[2], giver), subgroupShuffle(v[3], giver),
    );
    if ROWS == 1u {
        return plus(y, own, given);
    }
    return plus(y, given, own);
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
    let own = linear_id(workgroup);
    //: end
    let e = extent();
    let rows = ROWS == 1u;
    let blocks_shared = select(e.wide, e.down, rows);
    let blocks_own = select(e.down, e.wide, rows);
    let lane_of_team = place % TEAM;
    let first = place - lane_of_team;
    let unit = ((own * subgroups + subgroup) * size + place) / TEAM;
    let across = (blocks_own + TEAM - 1u) / TEAM;
    let down = (blocks_shared + SHARED - 1u) / SHARED;
    let all = quotient(unit, down * across, MANY);
    let part = quotient(all, e.members, MANY);
    let member = all - part * e.members;
    // What is walked through first stays in the cache: what they do not share, unless that operand is too large for it.
    let large = min(e.part, e.taps * e.steps) * blocks_own > LARGE;
    let inner = select(across, down, large);
    let id = unit - all * down * across;
    let slow = quotient(id, inner, MANY);
    let fast = id - slow * inner;
    let i = select(slow, fast, large) * SHARED;
    let j = select(fast, slow, large) * TEAM + lane_of_team;
    let start = part * e.part;
    if start >= e.taps * e.steps {
        return;
    }
    let stop = end_of(part, member, e);
    let spots0 = spots_of(rows, i, member);
    let spots1 = spots_of(rows, i + 1u, member);
    let spots2 = spots_of(rows, i + 2u, member);
    let spots3 = spots_of(rows, i + 3u, member);
    let spots = spots_of(!rows, j, member);
    var y0 = block();
    var y1 = block();
    var y2 = block();
    var y3 = block();
    var lines0 = lines_of(rows, spots0, 0u);
    var lines1 = lines_of(rows, spots1, 0u);
    var lines2 = lines_of(rows, spots2, 0u);
    var lines3 = lines_of(rows, spots3, 0u);
    var lines = lines_of(!rows, spots, 0u);
    for (var k = start; k < stop; k += TEAM) {
        var at = k + lane_of_team;
        if SEVERAL == 1u {
            let tap = quotient(at, e.steps, FAR);
            at -= tap * e.steps;
            lines0 = lines_of(rows, spots0, tap);
            lines1 = lines_of(rows, spots1, tap);
            lines2 = lines_of(rows, spots2, tap);
            lines3 = lines_of(rows, spots3, tap);
        }
        let u0 = load_of(rows, lines0, at);
        let u1 = load_of(rows, lines1, at);
        let u2 = load_of(rows, lines2, at);
        let u3 = load_of(rows, lines3, at);
        let steps = min(TEAM, stop - k);
        for (var s = 0u; s < steps; s++) {
            var at = k + s;
            if SEVERAL == 1u {
                let tap = quotient(at, e.steps, FAR);
                at -= tap * e.steps;
                lines = lines_of(!rows, spots, tap);
            }
            let v = load_of(!rows, lines, at);
            y0 = plus_shuffled(y0, v, u0, first + s);
            y1 = plus_shuffled(y1, v, u1, first + s);
            y2 = plus_shuffled(y2, v, u2, first + s);
            y3 = plus_shuffled(y3, v, u3, first + s);
        }
    }
    // A loop that is not unrolled: drivers compile for as long as there are stores in a shader's text.
    for (var r = 0u; r < 4u * min(SHARED, blocks_shared - i); r++) {
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
        let other = i + r / 4u;
        store_row(select(j, other, rows), r % 4u, select(other, j, rows), member, part, e, row(four, r % 4u));
    }
}
