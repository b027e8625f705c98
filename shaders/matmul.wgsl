// Matrix product y = a · b, for each member of a batch; either operand may lie transposed. Members lie one after another, or are
// heads whose rows lie side by side.
#import gemm

// Heads of a sample whose rows lie side by side: [_, rows, heads, columns] is then a batch of [rows, columns].
const HEADS_A: u32 = 1u;
const HEADS_B: u32 = 1u;
const HEADS_Y: u32 = 1u;

@group(0) @binding(0) var<storage, read> a: array<stored_a>; // [batch, m, k], or [batch, k, m] transposed
@group(0) @binding(1) var<storage, read> b: array<stored_b>; // [batch, k, n], or [batch, n, k] transposed
// y: [batch, m, n]

struct Params {
    batch: u32,
    m: u32,
    k: u32,
    n: u32,
    part: u32, // groups of k that one part of the sum takes
}
@group(1) @binding(0) var<uniform> p: Params;

fn extent() -> Extent {
    return Extent(p.batch, groups(p.m), groups(p.n), 1u, groups(p.k), p.part, p.n, p.batch * p.m * groups(p.n));
}

fn taps(member: u32) -> u32 {
    return 1u;
}

// Where a row of a member's matrix of so many rows begins, each of `wide` groups.
fn start(member: u32, rows: u32, row: u32, wide: u32, heads: u32) -> u32 {
    if heads > 1u {
        return ((member / heads * rows + row) * heads + member % heads) * wide;
    }
    return (member * rows + row) * wide;
}

// Line r of block i of a matrix whose `along` axis the sum runs along.
fn spot(i: u32, r: u32, member: u32, along: u32, size: u32, heads: u32) -> Spot {
    if along == 1u {
        return Spot(start(member, size, 4u * i + r, groups(p.k), heads), 0u, 0u, 0u, groups(p.k));
    }
    return Spot(start(member, p.k, r, groups(size), heads) + i, 0u, 0u, 0u, (p.k + 3u - r) / 4u);
}

fn spot_a(i: u32, r: u32, member: u32) -> Spot {
    return spot(i, r, member, ALONG_A, p.m, HEADS_A);
}

fn spot_b(j: u32, r: u32, member: u32) -> Spot {
    return spot(j, r, member, ALONG_B, p.n, HEADS_B);
}

fn line_a(s: Spot, tap: u32) -> Line {
    return Line(s.start, select(4u * HEADS_A * groups(p.m), 1u, ALONG_A == 1u), s.first, s.end);
}

fn line_b(s: Spot, tap: u32) -> Line {
    return Line(s.start, select(4u * HEADS_B * groups(p.n), 1u, ALONG_B == 1u), s.first, s.end);
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let row = 4u * i + r;
    return select(NOWHERE, start(member, p.m, row, groups(p.n), HEADS_Y) + j, row < p.m && j < groups(p.n));
}
