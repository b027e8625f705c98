// Matrix products on GPUs: a workgroup computes a tile of y, and shares what it loads of a and b.
#import gemm_turn

const WIDTH: u32 = 16u;  // invocations across the tile
const HEIGHT: u32 = 8u;  // invocations down the tile
const ROWS: u32 = 2u;    // blocks of rows an invocation, 1 or 2
const COLUMNS: u32 = 1u; // blocks of columns an invocation, 1 or 2

const THREADS: u32 = WIDTH * HEIGHT;
const DOWN: u32 = HEIGHT * ROWS;
const WIDE: u32 = WIDTH * COLUMNS;

// Four lines at each step of the sum. Not vec4, since invocations write single values of them.
var<workgroup> tile_a: array<array<array<array<array<acc, 4>, DOWN>, 4>, PASS>, DEEP / PASS>;
var<workgroup> tile_b: array<array<array<array<array<acc, 4>, WIDE>, 4>, PASS>, DEEP / PASS>;

fn keep_a(nth: u32, s: Seat, v: vec4<acc>) {
    if ALONG_A == 1u {
        tile_a[nth][s.k][0][s.block][s.r] = v.x;
        tile_a[nth][s.k][1][s.block][s.r] = v.y;
        tile_a[nth][s.k][2][s.block][s.r] = v.z;
        tile_a[nth][s.k][3][s.block][s.r] = v.w;
    } else {
        tile_a[nth][s.k][s.r][s.block] = array<acc, 4>(v.x, v.y, v.z, v.w);
    }
}

fn keep_b(nth: u32, s: Seat, v: vec4<acc>) {
    if ALONG_B == 1u {
        tile_b[nth][s.k][0][s.block][s.r] = v.x;
        tile_b[nth][s.k][1][s.block][s.r] = v.y;
        tile_b[nth][s.k][2][s.block][s.r] = v.z;
        tile_b[nth][s.k][3][s.block][s.r] = v.w;
    } else {
        tile_b[nth][s.k][s.r][s.block] = array<acc, 4>(v.x, v.y, v.z, v.w);
    }
}

fn rows_at(nth: u32, q: u32, k: u32, i: u32) -> vec4<acc> {
    return vec4(tile_a[nth][q][k][i][0], tile_a[nth][q][k][i][1], tile_a[nth][q][k][i][2], tile_a[nth][q][k][i][3]);
}

fn columns_at(nth: u32, q: u32, k: u32, j: u32) -> vec4<acc> {
    return vec4(tile_b[nth][q][k][j][0], tile_b[nth][q][k][j][1], tile_b[nth][q][k][j][2], tile_b[nth][q][k][j][3]);
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

fn plus_step(sums: Sums, nth: u32, q: u32, k: u32, tx: u32, ty: u32) -> Sums {
    var y = sums;
    let u0 = rows_at(nth, q, k, ty);
    let v0 = columns_at(nth, q, k, tx);
    y.b00 = plus_products(y.b00, u0, v0);
    var u1 = vec4<acc>();
    if ROWS == 2u {
        u1 = rows_at(nth, q, k, ty + HEIGHT);
        y.b10 = plus_products(y.b10, u1, v0);
    }
    if COLUMNS == 2u {
        let v1 = columns_at(nth, q, k, tx + WIDTH);
        y.b01 = plus_products(y.b01, u0, v1);
        if ROWS == 2u {
            y.b11 = plus_products(y.b11, u1, v1);
        }
    }
    return y;
}

// `sums` and what block q of a turn adds.
fn plus_block(sums: Sums, q: u32, tx: u32, ty: u32) -> Sums {
    let nth = q / PASS;
    let k = q % PASS;
    let y = plus_step(plus_step(sums, nth, k, 0u, tx, ty), nth, k, 1u, tx, ty);
    return plus_step(plus_step(y, nth, k, 2u, tx, ty), nth, k, 3u, tx, ty);
}

fn plus_four(sums: Sums, q: u32, tx: u32, ty: u32) -> Sums {
    let y = plus_block(plus_block(sums, q, tx, ty), q + 1u, tx, ty);
    return plus_block(plus_block(y, q + 2u, tx, ty), q + 3u, tx, ty);
}

// `sums` and what a turn adds.
fn plus_turn(sums: Sums, tx: u32, ty: u32) -> Sums {
    var y = sums;
    if FLAT == 1u {
        y = plus_four(y, 0u, tx, ty);
        if DEEP == 8u {
            y = plus_four(y, 4u, tx, ty);
        }
        return y;
    }
    for (var q = 0u; q < DEEP; q++) {
        y = plus_block(y, q, tx, ty);
    }
    return y;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    //: beside
    let own = linear_id(workgroup);
    //: end
    let e = extent();
    let t = tile(own, e);
    let start = t.part * e.part;
    // A grid that is folded may have workgroups too many.
    if start >= e.taps * e.steps {
        return;
    }

    let l = loads(lane, t);
    let tx = lane % WIDTH;
    let ty = lane / WIDTH;
    var at = cursor(t, start, e);
    var y: Sums;
    while at.left > 0u {
        workgroupBarrier();
        at = load(l, lane, at, e.steps);
        workgroupBarrier();
        y = plus_turn(y, tx, ty);
    }
    store(t.top + ty, t.leftmost + tx, t.member, t.part, e, y.b00);
    if COLUMNS == 2u {
        store(t.top + ty, t.leftmost + tx + WIDTH, t.member, t.part, e, y.b01);
    }
    if ROWS == 2u {
        store(t.top + ty + HEIGHT, t.leftmost + tx, t.member, t.part, e, y.b10);
        if COLUMNS == 2u {
            store(t.top + ty + HEIGHT, t.leftmost + tx + WIDTH, t.member, t.part, e, y.b11);
        }
    }
}
