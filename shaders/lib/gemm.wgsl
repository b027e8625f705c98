// The body of every matrix product: y = a · b summed over `taps` pairs of matrices, for each member of a batch.
// An invocation computes ROWS × COLUMNS blocks of 4×4 in registers. A block is a mat4x4 whose columns are rows of y:
// with rows of a and of b as columns too, the product of two blocks is `b * a`.
//
// The file that imports this binds a, b and y, and says where blocks lie:
//   lines_a(i, tap, member), lines_b(j, tap, member): the four lines of memory behind block row i, block column j
//   place(i, r, j, member): the group of y for row r of block (i, j), or NOWHERE
#import accumulate
#import epilogue
#import grid
#import tail

const ROWS: u32 = 1u;    // blocks of rows an invocation, 1 or 2
const COLUMNS: u32 = 1u; // blocks of columns an invocation, 1 or 2
const ALONG_A: u32 = 1u; // whether a line of a is a row, which the sum runs along; else it runs across the lines
const ALONG_B: u32 = 0u; // whether a line of b is a column, which the sum runs along; else it runs across the lines
const NOWHERE: u32 = 0xffffffffu;

alias block = mat4x4<acc>;

// Four lines; line r of step k is the group start[r] + k · step, and zero outside first[r] ≤ k < end[r].
struct Lines {
    start: vec4<u32>,
    step: u32,
    first: vec4<u32>,
    end: vec4<u32>,
    whole: vec2<u32>, // the steps in which all four are there
}

fn groups(n: u32) -> u32 {
    return (n + 3u) / 4u;
}

const LANE = vec4<u32>(0u, 1u, 2u, 3u);

// Lines that the sum runs along: those that are there hold every step.
fn along(start: vec4<u32>, there: vec4<bool>) -> Lines {
    let end = select(vec4(0u), vec4(NOWHERE), there);
    return Lines(start, 1u, vec4(0u), end, vec2(0u, select(0u, NOWHERE, all(there))));
}

// Lines that the sum runs across, four a step: line 4k + r is there below `count`.
fn across(start: u32, stride: u32, count: u32) -> Lines {
    return Lines(vec4(start) + LANE * stride, 4u * stride, vec4(0u), (vec4(count + 3u) - LANE) / 4u, vec2(0u, count / 4u));
}

fn load_a(l: Lines, k: u32) -> block {
    let at = l.start + vec4(k * l.step);
    let v = mask(block(unpack4(a[at.x]), unpack4(a[at.y]), unpack4(a[at.z]), unpack4(a[at.w])), l, k);
    if ALONG_A == 1u {
        return v;
    }
    return transpose(v);
}

fn load_b(l: Lines, k: u32) -> block {
    let at = l.start + vec4(k * l.step);
    let v = mask(block(unpack4(b[at.x]), unpack4(b[at.y]), unpack4(b[at.z]), unpack4(b[at.w])), l, k);
    if ALONG_B == 1u {
        return transpose(v);
    }
    return v;
}

fn mask(v: block, l: Lines, k: u32) -> block {
    if k >= l.whole.x && k < l.whole.y {
        return v;
    }
    let zero = vec4<acc>();
    let there = (vec4(k) >= l.first) & (vec4(k) < l.end);
    return block(
        select(zero, v[0], there.x), select(zero, v[1], there.y), select(zero, v[2], there.z), select(zero, v[3], there.w),
    );
}

fn store(i: u32, j: u32, member: u32, last: u32, v: block) {
    for (var r = 0u; r < 4u; r++) {
        let g = place(i, r, j, member);
        if g != NOWHERE {
            var value = v[0];
            value = select(value, v[1], r == 1u);
            value = select(value, v[2], r == 2u);
            value = select(value, v[3], r == 3u);
            y[g] = pack4(tail(epilogue(g, value), g, last));
        }
    }
}

// y + b * a, a multiply-add a term: compilers make mul, fma and add of the matrix product and the sum.
fn plus(y: block, b: block, a: block) -> block {
    return block(plus_row(y[0], b, a[0]), plus_row(y[1], b, a[1]), plus_row(y[2], b, a[2]), plus_row(y[3], b, a[3]));
}

fn plus_row(y: vec4<acc>, b: block, a: vec4<acc>) -> vec4<acc> {
    if SUM_IN_F16 == 1u {
        return running(a.w * b[3] + running(a.z * b[2] + running(a.y * b[1] + running(a.x * b[0] + y))));
    }
    return a.w * b[3] + (a.z * b[2] + (a.y * b[1] + (a.x * b[0] + y)));
}

// Invocation `id` of members · (down / ROWS) · (wide / COLUMNS): its blocks, summed over `taps` and `steps`.
fn gemm(id: u32, members: u32, down: u32, wide: u32, taps: u32, steps: u32, last: u32) {
    let blocks_down = (down + ROWS - 1u) / ROWS;
    let blocks_wide = (wide + COLUMNS - 1u) / COLUMNS;
    let member = id / (blocks_down * blocks_wide);
    if member >= members {
        return;
    }
    let i = id / blocks_wide % blocks_down * ROWS;
    let j = id % blocks_wide * COLUMNS;

    var y00 = block();
    var y01 = block();
    var y10 = block();
    var y11 = block();
    // Totals of the chunks that are full, where sums are kept so.
    var t00 = block();
    var t01 = block();
    var t10 = block();
    var t11 = block();
    for (var tap = 0u; tap < taps; tap++) {
        let a0 = lines_a(i, tap, member);
        let b0 = lines_b(j, tap, member);
        var a1 = a0;
        var b1 = b0;
        if ROWS == 2u {
            a1 = lines_a(i + 1u, tap, member);
        }
        if COLUMNS == 2u {
            b1 = lines_b(j + 1u, tap, member);
        }
        for (var k = 0u; k < steps; k++) {
            let u0 = load_a(a0, k);
            let v0 = load_b(b0, k);
            y00 = plus(y00, v0, u0);
            var u1 = block();
            if ROWS == 2u {
                u1 = load_a(a1, k);
                y10 = plus(y10, v0, u1);
            }
            if COLUMNS == 2u {
                let v1 = load_b(b1, k);
                y01 = plus(y01, v1, u0);
                if ROWS == 2u {
                    y11 = plus(y11, v1, u1);
                }
            }
            if CHUNK > 0u && (tap * steps + k + 1u) * 4u % max(CHUNK, 1u) < 4u {
                t00 += y00;
                t01 += y01;
                t10 += y10;
                t11 += y11;
                y00 = block();
                y01 = block();
                y10 = block();
                y11 = block();
            }
        }
    }
    if CHUNK > 0u {
        y00 += t00;
        y01 += t01;
        y10 += t10;
        y11 += t11;
    }
    store(i, j, member, last, y00);
    if COLUMNS == 2u {
        store(i, j + 1u, member, last, y01);
    }
    if ROWS == 2u {
        store(i + 1u, j, member, last, y10);
        if COLUMNS == 2u {
            store(i + 1u, j + 1u, member, last, y11);
        }
    }
}
