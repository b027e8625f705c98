// What the bodies of matrix products share: y = a · b summed over `taps` pairs of matrices, for each member of a batch.
// Matrices are taken in blocks of 4×4, which are four groups in memory; block rows and columns are counted in fours.
//
// The file that imports this binds a and b, and says where they and y lie:
//   extent(): how many of all there are; taps(member): pairs of matrices, of a member
//   spot_a(i, r, member), spot_b(j, r, member): what is known of line r of block row i, block column j
//   line_a(spot, tap), line_b(spot, tap): that line in memory
//   place(i, r, j, member): the group of y for row r of block (i, j), or NOWHERE
// The planner adds the body: `gemm_blocks`, `gemm_shuffle`, `gemm_tile` or `gemm_coop`.
#import axis
#import epilogue
#import grid
#import quotient

const ALONG_A: u32 = 1u; // whether a line of a is a row, which the sum runs along; else it runs across the lines
const ALONG_B: u32 = 0u; // whether a line of b is a column, which the sum runs along; else it runs across the lines
const FAR: u32 = 0u;     // whether a loop divides numbers of 2^20 or more
const MANY: u32 = 0u;    // whether there are 2^20 invocations, or blocks of the sum, or more
const THERE_A: u32 = 0u; // when lines of a that count are there: 0: at some steps, 1: at all of a tap or at none, 2: at all
const THERE_B: u32 = 0u; // the same of b
const PAIRS_A: u32 = 0u; // whether a is loaded in pairs of groups: packed halves, whose lines are across, of even length and start
const PAIRS_B: u32 = 0u; // the same of b
const NOWHERE: u32 = 0xffffffffu;

// A block whose columns are rows of y: with rows of a and of b as columns too, the product of two blocks is `b * a`.
alias block = mat4x4<acc>;

struct Extent {
    members: u32,
    down: u32,  // block rows
    wide: u32,  // block columns
    taps: u32,  // pairs of matrices, of the member with the most
    steps: u32, // blocks that each pair is summed over
    part: u32,  // of all these, how many an invocation sums; the next ones sum the rest
    last: u32,  // columns of y that count, of a member
    size: u32,  // groups of y
}

// What is known of a line before the tap is: each file uses what it needs.
struct Spot {
    start: u32,
    row: u32,
    column: u32,
    first: u32,
    end: u32,
}

// A line of memory: step k is the group start + k · step, and zero outside first ≤ k < end. Lines that are no part of
// the matrix may hold anything: what they make is not stored.
struct Line {
    start: u32,
    step: u32,
    first: u32,
    end: u32,
}

// Operands in memory, group by group or in pairs of groups.
//: stored a
alias stored_a = elem4;

fn group_a(at: u32) -> elem4 {
    return a[at];
}

fn pair_a(at: u32) -> array<elem4, 2> {
    return array<elem4, 2>(a[at], a[at + 1u]);
}
//: end

//: stored b
alias stored_b = elem4;

fn group_b(at: u32) -> elem4 {
    return b[at];
}

fn pair_b(at: u32) -> array<elem4, 2> {
    return array<elem4, 2>(b[at], b[at + 1u]);
}
//: end

// The result as it is kept: whole, or in parts that another dispatch sums.
//: result
@group(0) @binding(2) var<storage, read_write> y: array<elem4>;

fn keep(g: u32, part: u32, size: u32, v: vec4<acc>, there: vec4<bool>) {
    y[g] = pack4(select(vec4<acc>(), epilogue(g, v), there));
}
//: end

// The block of the sum that a part of a member ends before; its first is part · e.part, if there are so many.
fn end_of(part: u32, member: u32, e: Extent) -> u32 {
    return min((part + 1u) * e.part, taps(member) * e.steps);
}

// Row r of block (i, j).
fn store_row(i: u32, r: u32, j: u32, member: u32, part: u32, e: Extent, v: vec4<acc>) {
    let g = place(i, r, j, member);
    if g != NOWHERE {
        // Zeros beyond the columns that count.
        keep(g, part, e.size, v, inside(j, e.last));
    }
}

fn store(i: u32, j: u32, member: u32, part: u32, e: Extent, v: block) {
    for (var r = 0u; r < 4u; r++) {
        store_row(i, r, j, member, part, e, row(v, r));
    }
}

// Without an array, which would be kept in memory.
fn row(v: block, r: u32) -> vec4<acc> {
    var value = v[0];
    value = select(value, v[1], r == 1u);
    value = select(value, v[2], r == 2u);
    value = select(value, v[3], r == 3u);
    return value;
}
