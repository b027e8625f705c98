// Matrix products for processors that have subgroups: a team of neighbours in one shares SHARED blocks of rows, and each has a
// block of columns of its own; or the other way round. At each step an invocation loads its block, and a few groups of what is
// shared, which the others get by shuffles: a load costs many times as much there.
//
// Where the sum runs across the lines of an operand, packed halves may be loaded two groups at once: neighbours share a pair of
// columns, of which each loads every other line, and swap what is the other's.
//
// The size of subgroups, and which invocations are whose, is read from the builtins: any of at least TEAM will do.
#import gemm_lines

const SHARED: u32 = 4u;  // 2, 4 or 8, written out below
const TEAM: u32 = 8u;    // a power of two
const ROWS: u32 = 1u;    // whether rows are shared, and not columns
const SEVERAL: u32 = 1u; // whether there are several taps
const LARGE: u32 = 0u;   // blocks of an operand that fit in a cache
const LANES: u32 = 64u;  // invocations of a workgroup: at least as many as a subgroup has

const SHARED_PAIRS: u32 = ROWS * PAIRS_A + (1u - ROWS) * PAIRS_B;
const OWN_PAIRS: u32 = ROWS * PAIRS_B + (1u - ROWS) * PAIRS_A;

// Groups of what is shared that an invocation loads at a step, or pairs of them, 1 to 4.
const EACH: u32 = (4u * SHARED / (1u + SHARED_PAIRS) + TEAM - 1u) / TEAM;

// LLVM computes what only loads read once more for each of them, lane by lane, unless it comes from a shuffle: to itself.
fn groups_at(l: Lines, k: u32) -> vec4<u32> {
    return subgroupShuffleXor(l.start + vec4(k * l.step), 0u);
}

// The groups `at`, which is even, and at + 1.
fn pair_of(of_a: bool, at: u32) -> mat2x4<acc> {
    if of_a {
        let pair = pair_a(at);
        return mat2x4(plain_unpack4(pair[0]), plain_unpack4(pair[1]));
    }
    let pair = pair_b(at);
    return mat2x4(plain_unpack4(pair[0]), plain_unpack4(pair[1]));
}

// Groups of the first four lines of a block, and those beside them.
struct Pairs {
    first: block,
    second: block,
}

fn load_pairs(of_a: bool, l: Lines, k: u32, count: u32) -> Pairs {
    let at = groups_at(l, k);
    let v0 = pair_of(of_a, at.x);
    var v1 = mat2x4<acc>();
    var v2 = mat2x4<acc>();
    var v3 = mat2x4<acc>();
    if count > 1u {
        v1 = pair_of(of_a, at.y);
    }
    if count > 2u {
        v2 = pair_of(of_a, at.z);
        v3 = pair_of(of_a, at.w);
    }
    let first = mask(of_a, block(v0[0], v1[0], v2[0], v3[0]), l, k);
    return Pairs(first, mask(of_a, block(v0[1], v1[1], v2[1], v3[1]), l, k));
}

// Line n of those that a team loads of the shared blocks from i on.
fn shared_spot(i: u32, n: u32, member: u32) -> Spot {
    // A team of more than there are lines has some twice.
    let line = n % (4u * SHARED / (1u + SHARED_PAIRS));
    return spot_of(ROWS == 1u, i + line / 4u * (1u + SHARED_PAIRS), line % 4u, member);
}

// The lines that an invocation loads of its block, or every other one of it and its neighbour's.
fn own_spots(j: u32, member: u32) -> Spots {
    if OWN_PAIRS == 0u {
        return spots_of(ROWS == 0u, j, member);
    }
    let r = j % 2u;
    let s0 = spot_of(ROWS == 0u, j - r, r, member);
    let s1 = spot_of(ROWS == 0u, j - r, r + 2u, member);
    return Spots(s0, s1, s0, s1);
}

// Its block at step k.
fn own_block(l: Lines, k: u32, odd: bool) -> block {
    if OWN_PAIRS == 0u {
        return block_of(ROWS == 0u, load_of(ROWS == 0u, l, k, 4u));
    }
    let v = load_pairs(ROWS == 0u, l, k, 2u);
    let u0 = swapped(v.first[0], v.second[0], odd);
    let u1 = swapped(v.first[1], v.second[1], odd);
    return block_of(ROWS == 0u, block(u0[0], u0[1], u1[0], u1[1]));
}

// Two lines of the own column: of the pair of a line that this invocation has, and of the next one that its neighbour has.
fn swapped(u: vec4<acc>, v: vec4<acc>, odd: bool) -> mat2x4<acc> {
    let got = subgroupShuffleXor(select(v, u, odd), 1u);
    return mat2x4(select(u, got, odd), select(got, v, odd));
}

// What it loads for its team at step k.
fn load_shared(l: Lines, k: u32) -> Pairs {
    if SHARED_PAIRS == 1u {
        return load_pairs(ROWS == 1u, l, k, EACH);
    }
    return Pairs(load_of(ROWS == 1u, l, k, EACH), block());
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
fn plus_given(y: block, own: block, pairs: Pairs, i: u32, first: u32) -> block {
    var n = 4u * i;
    var u = pairs.first;
    if SHARED_PAIRS == 1u {
        n = 4u * (i / 2u);
        if i % 2u == 1u {
            u = pairs.second;
        }
    }
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
    let spots_own = own_spots(j, member);
    let odd = j % 2u == 1u;
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
        let u = load_shared(lines_shared, at);
        let v = own_block(lines_own, at, odd);
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
