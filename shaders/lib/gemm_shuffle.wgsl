// Matrix products for processors that have subgroups: a team of neighbours in one shares SHARED blocks of rows, and each has a
// block of columns of its own; or the other way round. At each step an invocation loads its block, and a few groups of what is
// shared, which the others get by shuffles: a load costs many times as much there.
//
// The size of subgroups, and which invocations are whose, is read from the builtins: any of at least TEAM will do.
#import gemm_lines

const SHARED: u32 = 4u;  // 2, 4 or 8, written out below
const TEAM: u32 = 8u;    // a power of two
const ROWS: u32 = 1u;    // whether rows are shared, and not columns
const SEVERAL: u32 = 1u; // whether there are several taps
const LARGE: u32 = 0u;   // blocks of an operand that fit in a cache
const LANES: u32 = 64u;  // invocations of a workgroup: at least as many as a subgroup has

// Groups of what is shared that an invocation loads at a step, 1 to 4.
const EACH: u32 = (4u * SHARED + TEAM - 1u) / TEAM;

// LLVM computes what only loads read once more for each of them, lane by lane, unless it comes from a shuffle: to itself.
fn groups_at(l: Lines, k: u32) -> vec4<u32> {
    return subgroupShuffleXor(l.start + vec4(k * l.step), 0u);
}

// Line n of the shared blocks from i on.
fn shared_spot(i: u32, n: u32, member: u32) -> Spot {
    // A team of more than there are lines has some twice.
    let line = n % (4u * SHARED);
    return spot_of(ROWS == 1u, i + line / 4u, line % 4u, member);
}

// Line n of the shared blocks, of which the team from `first` on has loaded EACH an invocation.
fn given(u: block, n: u32, first: u32) -> vec4<acc> {
    var v = u[0];
    if n / TEAM == 1u {
        v = u[1];
    } else if n / TEAM == 2u {
        v = u[2];
    } else if n / TEAM == 3u {
        v = u[3];
    }
    return subgroupShuffle(v, first + n % TEAM);
}

// y + own * block i of those shared.
fn plus_given(y: block, own: block, u: block, i: u32, first: u32) -> block {
    let n = 4u * i;
    let v = block(given(u, n, first), given(u, n + 1u, first), given(u, n + 2u, first), given(u, n + 3u, first));
    if ROWS == 1u {
        return plus(y, own, block_of(true, v));
    }
    return plus(y, block_of(false, v), own);
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
    let spots_shared = Spots(
        shared_spot(i, lane_of_team, member),
        shared_spot(i, lane_of_team + TEAM, member),
        shared_spot(i, lane_of_team + 2u * TEAM, member),
        shared_spot(i, lane_of_team + 3u * TEAM, member),
    );
    let spots_own = spots_of(!rows, j, member);
    var lines_shared = lines_of(rows, spots_shared, 0u);
    var lines_own = lines_of(!rows, spots_own, 0u);
    var y0 = block();
    var y1 = block();
    var y2 = block();
    var y3 = block();
    var y4 = block();
    var y5 = block();
    var y6 = block();
    var y7 = block();
    for (var k = start; k < stop; k++) {
        var at = k;
        if SEVERAL == 1u {
            let tap = quotient(k, e.steps, FAR);
            at -= tap * e.steps;
            lines_shared = lines_of(rows, spots_shared, tap);
            lines_own = lines_of(!rows, spots_own, tap);
        }
        let u = load_of(rows, lines_shared, at, EACH);
        let v = block_of(!rows, load_of(!rows, lines_own, at, 4u));
        y0 = plus_given(y0, v, u, 0u, first);
        y1 = plus_given(y1, v, u, 1u, first);
        if SHARED >= 4u {
            y2 = plus_given(y2, v, u, 2u, first);
            y3 = plus_given(y3, v, u, 3u, first);
        }
        if SHARED >= 8u {
            y4 = plus_given(y4, v, u, 4u, first);
            y5 = plus_given(y5, v, u, 5u, first);
            y6 = plus_given(y6, v, u, 6u, first);
            y7 = plus_given(y7, v, u, 7u, first);
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
        if r >= 16u {
            four = y4;
        }
        if r >= 20u {
            four = y5;
        }
        if r >= 24u {
            four = y6;
        }
        if r >= 28u {
            four = y7;
        }
        let other = i + r / 4u;
        store_row(select(j, other, rows), r % 4u, select(other, j, rows), member, part, e, row(four, r % 4u));
    }
}
