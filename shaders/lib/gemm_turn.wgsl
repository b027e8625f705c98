// What the bodies with tiles share: a turn of a workgroup loads DEEP blocks of the sum of its DOWN block rows of a and WIDE
// block columns of b, in passes of PASS blocks, and each invocation in each pass one or two groups of either, or none. The file
// that imports this says DOWN, WIDE and THREADS, and where groups go: keep_a(nth, seat, v), keep_b(nth, seat, v).
#import gemm

const DEEP: u32 = 4u;    // blocks that a turn sums over
const PASS: u32 = 4u;    // those that a pass loads
const EVEN: u32 = 0u;    // 1: a pass reaches the next tap at most, 2: it is within one tap, 3: so is a turn
const FLAT: u32 = 0u;    // whether a turn is written out: then each instruction counts, and else registers do
const FULL: u32 = 0u;    // whether no turn goes beyond the sum
// Whether a line of a is there or not for a whole turn: then it is masked once, in workgroup memory.
const BLANK_A: bool = FLAT == 1u && THERE_A == 1u && EVEN == 3u;

// Groups of a pass.
const GROUPS_A: u32 = PASS * 4u * DOWN;
const GROUPS_B: u32 = PASS * 4u * WIDE;

// The tile of a workgroup.
struct Tile {
    part: u32,
    member: u32,
    top: u32,      // block row
    leftmost: u32, // block column
}

fn tile(id: u32, e: Extent) -> Tile {
    let tiles_down = (e.down + DOWN - 1u) / DOWN;
    let tiles_wide = (e.wide + WIDE - 1u) / WIDE;
    let tiles = tiles_down * tiles_wide;
    let all = quotient(id, tiles, MANY);
    let part = quotient(all, e.members, MANY);
    let own = id - all * tiles;
    let down = quotient(own, tiles_wide, MANY);
    return Tile(part, all - part * e.members, down * DOWN, (own - down * tiles_wide) * WIDE);
}

// What an invocation loads first: step k of line r of a block. Neighbours load what lies side by side.
struct Seat {
    k: u32,
    r: u32,
    block: u32,
}

fn seat(lane: u32, along: u32, blocks: u32) -> Seat {
    if along == 1u {
        return Seat(lane % PASS, lane / PASS % 4u, lane / (4u * PASS));
    }
    return Seat(lane / (4u * blocks), lane / blocks % 4u, lane % blocks);
}

// What it loads then.
fn second(s: Seat, along: u32, blocks: u32) -> Seat {
    if along == 1u {
        return Seat(s.k, s.r, s.block + THREADS / (4u * PASS));
    }
    return Seat(s.k + THREADS / (4u * blocks), s.r, s.block);
}

// How far the sum is: block k of a tap is next, and so many are left.
struct Cursor {
    tap: u32,
    k: u32,
    left: u32,
}

// Where a tile's sum starts: block `start` of all taps.
fn cursor(t: Tile, start: u32, e: Extent) -> Cursor {
    let tap = quotient(start, e.steps, MANY);
    return Cursor(tap, start - tap * e.steps, max(end_of(t.part, t.member, e), start) - start);
}

// How many taps further what is counted as block k of one is.
fn taps_on(k: u32, steps: u32) -> u32 {
    if EVEN == 0u {
        return quotient(k, steps, FAR);
    }
    return u32(k >= steps);
}

// Behind a pass, which is the last of a turn or not.
fn behind(at: Cursor, last: bool, steps: u32) -> Cursor {
    let k = at.k + PASS;
    var further = taps_on(k, steps);
    if EVEN == 3u && !last {
        further = 0u;
    }
    return Cursor(at.tap + further, k - further * steps, at.left - min(at.left, PASS));
}

// Where a block of the sum lies.
struct Step {
    tap: u32,
    k: u32,
    at: u32, // what lines are read at: k, or that of the pass's first block where they are seated
    there: bool,
}

// `ahead` blocks behind a cursor.
fn step(at: Cursor, ahead: u32, steps: u32) -> Step {
    if EVEN >= 2u {
        return Step(at.tap, at.k + ahead, at.k + (1u - FLAT) * ahead, true);
    }
    let further = taps_on(at.k + ahead, steps);
    let first = at.k - further * steps;
    return Step(at.tap + further, first + ahead, first + (1u - FLAT) * ahead, FULL == 1u || ahead < at.left);
}

fn load_a(spot: Spot, s: Step) -> vec4<acc> {
    let l = line_a(spot, s.tap);
    let v = unpack4(group_a(l.start + s.at * l.step));
    if THERE_A == 2u || BLANK_A {
        return v;
    }
    return select(vec4<acc>(), v, s.there & (s.k - l.first < l.end - l.first));
}

fn load_b(spot: Spot, s: Step) -> vec4<acc> {
    let l = line_b(spot, s.tap);
    let v = unpack4(group_b(l.start + s.at * l.step));
    if THERE_B == 2u {
        return v;
    }
    return select(vec4<acc>(), v, s.there & (s.k - l.first < l.end - l.first));
}

// What an invocation loads in each turn.
struct Loads {
    a0: Seat,
    a1: Seat,
    b0: Seat,
    b1: Seat,
    spot_a0: Spot,
    spot_a1: Spot,
    spot_b0: Spot,
    spot_b1: Spot,
}

// Where a turn is written out, lines are seated: they start at the step of the invocation's seat, so that all are read at one.
fn seated(s: Spot, k: u32, step: u32) -> Spot {
    return Spot(s.start + FLAT * k * step, s.row, s.column, s.first, s.end);
}

fn spot_of_a(t: Tile, s: Seat) -> Spot {
    let spot = spot_a(t.top + s.block, s.r, t.member);
    return seated(spot, s.k, line_a(spot, 0u).step);
}

fn spot_of_b(t: Tile, s: Seat) -> Spot {
    let spot = spot_b(t.leftmost + s.block, s.r, t.member);
    return seated(spot, s.k, line_b(spot, 0u).step);
}

fn loads(lane: u32, t: Tile) -> Loads {
    let a0 = seat(lane, ALONG_A, DOWN);
    let a1 = second(a0, ALONG_A, DOWN);
    let b0 = seat(lane, ALONG_B, WIDE);
    let b1 = second(b0, ALONG_B, WIDE);
    return Loads(a0, a1, b0, b1, spot_of_a(t, a0), spot_of_a(t, a1), spot_of_b(t, b0), spot_of_b(t, b1));
}

fn load_pass(l: Loads, lane: u32, nth: u32, at: Cursor, steps: u32) {
    if GROUPS_A >= THREADS || lane < GROUPS_A {
        keep_a(nth, l.a0, load_a(l.spot_a0, step(at, l.a0.k, steps)));
    }
    if GROUPS_A > THREADS {
        keep_a(nth, l.a1, load_a(l.spot_a1, step(at, l.a1.k, steps)));
    }
    if GROUPS_B >= THREADS || lane < GROUPS_B {
        keep_b(nth, l.b0, load_b(l.spot_b0, step(at, l.b0.k, steps)));
    }
    if GROUPS_B > THREADS {
        keep_b(nth, l.b1, load_b(l.spot_b1, step(at, l.b1.k, steps)));
    }
}

// Puts zeros in the place of what an invocation loaded of a line that the tap has not.
fn blank(seat: Seat, spot: Spot, tap: u32) {
    let l = line_a(spot, tap);
    if l.first == l.end {
        for (var i = 0u; i < DEEP / PASS; i++) {
            keep_a(i, seat, vec4<acc>());
        }
    }
}

// Loads a turn, and returns where the next one begins.
fn load(l: Loads, lane: u32, start: Cursor, steps: u32) -> Cursor {
    var at = start;
    for (var i = 0u; i < DEEP / PASS; i++) {
        load_pass(l, lane, i, at, steps);
        at = behind(at, i == DEEP / PASS - 1u, steps);
    }
    if BLANK_A && (GROUPS_A >= THREADS || lane < GROUPS_A) {
        blank(l.a0, l.spot_a0, start.tap);
    }
    if BLANK_A && GROUPS_A > THREADS {
        blank(l.a1, l.spot_a1, start.tap);
    }
    return at;
}
