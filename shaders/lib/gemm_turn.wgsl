// What the bodies with tiles share: a turn of a workgroup loads DEEP blocks of the sum of its DOWN block rows of a and WIDE
// block columns of b, and each invocation one or two groups of either, or none. The file that imports this says DOWN, WIDE
// and THREADS, and where groups go: keep_a(seat, v), keep_b(seat, v).
#import gemm

const DEEP: u32 = 4u;    // blocks that a turn sums over
const EVEN: u32 = 0u;    // whether a turn is always within one tap
const WHOLE_A: u32 = 0u; // whether every line of a that counts is there at every step, so that no load needs a mask
const WHOLE_B: u32 = 0u;

// Groups of a turn.
const GROUPS_A: u32 = DEEP * 4u * DOWN;
const GROUPS_B: u32 = DEEP * 4u * WIDE;

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
        return Seat(lane % DEEP, lane / DEEP % 4u, lane / (4u * DEEP));
    }
    return Seat(lane / (4u * blocks), lane / blocks % 4u, lane % blocks);
}

// What it loads then.
fn second(s: Seat, along: u32, blocks: u32) -> Seat {
    if along == 1u {
        return Seat(s.k, s.r, s.block + THREADS / (4u * DEEP));
    }
    return Seat(s.k + THREADS / (4u * blocks), s.r, s.block);
}

// Where a block of the sum lies.
struct Step {
    tap: u32,
    k: u32,
    there: bool,
}

// `ahead` blocks behind block k of a tap; `left` are left of the sum.
fn step(tap: u32, k: u32, ahead: u32, left: u32, steps: u32) -> Step {
    if EVEN == 1u {
        return Step(tap, k + ahead, true);
    }
    let further = quotient(k + ahead, steps, FAR);
    return Step(tap + further, k + ahead - further * steps, ahead < left);
}

fn load_a(spot: Spot, s: Step) -> vec4<acc> {
    let l = line_a(spot, s.tap);
    let v = unpack4(a[l.start + s.k * l.step]);
    if WHOLE_A == 1u {
        return v;
    }
    return select(vec4<acc>(), v, s.there & (s.k - l.first < l.end - l.first));
}

fn load_b(spot: Spot, s: Step) -> vec4<acc> {
    let l = line_b(spot, s.tap);
    let v = unpack4(b[l.start + s.k * l.step]);
    if WHOLE_B == 1u {
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

fn loads(lane: u32, t: Tile) -> Loads {
    let a0 = seat(lane, ALONG_A, DOWN);
    let a1 = second(a0, ALONG_A, DOWN);
    let b0 = seat(lane, ALONG_B, WIDE);
    let b1 = second(b0, ALONG_B, WIDE);
    return Loads(
        a0,
        a1,
        b0,
        b1,
        spot_a(t.top + a0.block, a0.r, t.member),
        spot_a(t.top + a1.block, a1.r, t.member),
        spot_b(t.leftmost + b0.block, b0.r, t.member),
        spot_b(t.leftmost + b1.block, b1.r, t.member),
    );
}

// The turn that starts at block k of a tap, with so many blocks left of the sum.
fn load(l: Loads, lane: u32, tap: u32, k: u32, left: u32, steps: u32) {
    if GROUPS_A >= THREADS || lane < GROUPS_A {
        keep_a(l.a0, load_a(l.spot_a0, step(tap, k, l.a0.k, left, steps)));
    }
    if GROUPS_A > THREADS {
        keep_a(l.a1, load_a(l.spot_a1, step(tap, k, l.a1.k, left, steps)));
    }
    if GROUPS_B >= THREADS || lane < GROUPS_B {
        keep_b(l.b0, load_b(l.spot_b0, step(tap, k, l.b0.k, left, steps)));
    }
    if GROUPS_B > THREADS {
        keep_b(l.b1, load_b(l.spot_b1, step(tap, k, l.b1.k, left, steps)));
    }
}

// How many taps further the turn behind one that starts at block k is.
fn taps_on(k: u32, steps: u32) -> u32 {
    return select(quotient(k + DEEP, steps, FAR), u32(k + DEEP >= steps), EVEN == 1u);
}
