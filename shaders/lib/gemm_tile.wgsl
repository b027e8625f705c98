// Matrix products on GPUs: a workgroup computes a tile of y, and shares what it loads of a and b.
#import gemm

const WIDTH: u32 = 16u;  // invocations across the tile
const HEIGHT: u32 = 8u;  // invocations down the tile
const ROWS: u32 = 2u;    // blocks of rows an invocation, 1 or 2
const COLUMNS: u32 = 1u; // blocks of columns an invocation, 1 or 2
const DEEP: u32 = 4u;    // blocks that a turn sums over
const FLAT: u32 = 0u;    // whether the four of a turn are written one after another
const EVEN: u32 = 0u;    // whether a turn is always within one tap
const WHOLE_A: u32 = 0u; // whether every line of a that counts is there at every step, so that no load needs a mask
const WHOLE_B: u32 = 0u;

const THREADS: u32 = WIDTH * HEIGHT;
const DOWN: u32 = HEIGHT * ROWS;
const WIDE: u32 = WIDTH * COLUMNS;
// Groups of a turn, which each invocation loads one or two of, or none.
const GROUPS_A: u32 = DEEP * 4u * DOWN;
const GROUPS_B: u32 = DEEP * 4u * WIDE;

// Four lines at each step of the sum. Not vec4, since invocations write single values of them.
var<workgroup> tile_a: array<array<array<array<acc, 4>, DOWN>, 4>, DEEP>;
var<workgroup> tile_b: array<array<array<array<acc, 4>, WIDE>, 4>, DEEP>;

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
    let further = quotient(k + ahead, steps);
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

fn keep_a(s: Seat, v: vec4<acc>) {
    if ALONG_A == 1u {
        tile_a[s.k][0][s.block][s.r] = v.x;
        tile_a[s.k][1][s.block][s.r] = v.y;
        tile_a[s.k][2][s.block][s.r] = v.z;
        tile_a[s.k][3][s.block][s.r] = v.w;
    } else {
        tile_a[s.k][s.r][s.block] = array<acc, 4>(v.x, v.y, v.z, v.w);
    }
}

fn keep_b(s: Seat, v: vec4<acc>) {
    if ALONG_B == 1u {
        tile_b[s.k][0][s.block][s.r] = v.x;
        tile_b[s.k][1][s.block][s.r] = v.y;
        tile_b[s.k][2][s.block][s.r] = v.z;
        tile_b[s.k][3][s.block][s.r] = v.w;
    } else {
        tile_b[s.k][s.r][s.block] = array<acc, 4>(v.x, v.y, v.z, v.w);
    }
}

fn rows_at(q: u32, k: u32, i: u32) -> vec4<acc> {
    return vec4(tile_a[q][k][i][0], tile_a[q][k][i][1], tile_a[q][k][i][2], tile_a[q][k][i][3]);
}

fn columns_at(q: u32, k: u32, j: u32) -> vec4<acc> {
    return vec4(tile_b[q][k][j][0], tile_b[q][k][j][1], tile_b[q][k][j][2], tile_b[q][k][j][3]);
}

// y + the products of four rows and four columns.
fn plus_products(y: block, u: vec4<acc>, v: vec4<acc>) -> block {
    return block(u.x * v + y[0], u.y * v + y[1], u.z * v + y[2], u.w * v + y[3]);
}

// What an invocation computes: the block of each of its rows and columns.
struct Sums {
    b00: block,
    b01: block,
    b10: block,
    b11: block,
}

fn plus_step(sums: Sums, q: u32, k: u32, tx: u32, ty: u32) -> Sums {
    var y = sums;
    let u0 = rows_at(q, k, ty);
    let v0 = columns_at(q, k, tx);
    y.b00 = plus_products(y.b00, u0, v0);
    var u1 = vec4<acc>();
    if ROWS == 2u {
        u1 = rows_at(q, k, ty + HEIGHT);
        y.b10 = plus_products(y.b10, u1, v0);
    }
    if COLUMNS == 2u {
        let v1 = columns_at(q, k, tx + WIDTH);
        y.b01 = plus_products(y.b01, u0, v1);
        if ROWS == 2u {
            y.b11 = plus_products(y.b11, u1, v1);
        }
    }
    return y;
}

fn plus_block(sums: Sums, q: u32, tx: u32, ty: u32) -> Sums {
    let y = plus_step(plus_step(sums, q, 0u, tx, ty), q, 1u, tx, ty);
    return plus_step(plus_step(y, q, 2u, tx, ty), q, 3u, tx, ty);
}

// `sums` and what a turn adds.
fn plus_turn(sums: Sums, tx: u32, ty: u32) -> Sums {
    var y = sums;
    if FLAT == 1u {
        y = plus_block(plus_block(y, 0u, tx, ty), 1u, tx, ty);
        return plus_block(plus_block(y, 2u, tx, ty), 3u, tx, ty);
    }
    for (var q = 0u; q < DEEP; q++) {
        y = plus_block(y, q, tx, ty);
    }
    return y;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    //: beside
    //: end
    let e = extent();
    let tiles_down = (e.down + DOWN - 1u) / DOWN;
    let tiles_wide = (e.wide + WIDE - 1u) / WIDE;
    let id = linear_id(workgroup);
    let part = id / (tiles_down * tiles_wide * e.members);
    let member = id / (tiles_down * tiles_wide) % e.members;
    let top = id / tiles_wide % tiles_down * DOWN;
    let leftmost = id % tiles_wide * WIDE;
    let sum = e.taps * e.steps;
    // A grid that is folded may have workgroups too many.
    if part * e.part >= sum {
        return;
    }

    let a0 = seat(lane, ALONG_A, DOWN);
    let a1 = second(a0, ALONG_A, DOWN);
    let b0 = seat(lane, ALONG_B, WIDE);
    let b1 = second(b0, ALONG_B, WIDE);
    let spot_a0 = spot_a(top + a0.block, a0.r, member);
    let spot_a1 = spot_a(top + a1.block, a1.r, member);
    let spot_b0 = spot_b(leftmost + b0.block, b0.r, member);
    let spot_b1 = spot_b(leftmost + b1.block, b1.r, member);
    let tx = lane % WIDTH;
    let ty = lane / WIDTH;
    var tap = part * e.part / e.steps;
    var k = part * e.part - tap * e.steps;
    var y: Sums;
    for (var left = min(e.part, sum - part * e.part); left > 0u; left -= min(left, DEEP)) {
        workgroupBarrier();
        if GROUPS_A >= THREADS || lane < GROUPS_A {
            keep_a(a0, load_a(spot_a0, step(tap, k, a0.k, left, e.steps)));
        }
        if GROUPS_A > THREADS {
            keep_a(a1, load_a(spot_a1, step(tap, k, a1.k, left, e.steps)));
        }
        if GROUPS_B >= THREADS || lane < GROUPS_B {
            keep_b(b0, load_b(spot_b0, step(tap, k, b0.k, left, e.steps)));
        }
        if GROUPS_B > THREADS {
            keep_b(b1, load_b(spot_b1, step(tap, k, b1.k, left, e.steps)));
        }
        workgroupBarrier();
        y = plus_turn(y, tx, ty);
        k += DEEP;
        let further = select(quotient(k, e.steps), u32(k >= e.steps), EVEN == 1u);
        tap += further;
        k -= further * e.steps;
    }
    store(top + ty, leftmost + tx, member, part, e, y.b00);
    if COLUMNS == 2u {
        store(top + ty, leftmost + tx + WIDTH, member, part, e, y.b01);
    }
    if ROWS == 2u {
        store(top + ty + HEIGHT, leftmost + tx, member, part, e, y.b10);
        if COLUMNS == 2u {
            store(top + ty + HEIGHT, leftmost + tx + WIDTH, member, part, e, y.b11);
        }
    }
}
