// Products y = a · b of matrices of each head. Those of scores lie one after another; rows of queries, keys and values may have
// their heads side by side.
#import gemm

const JOINED_A: u32 = 0u; // whether a lies as [batch, rows, heads, columns], not as [batch, heads, rows, columns]
const JOINED_B: u32 = 0u;
const JOINED_Y: u32 = 0u;

@group(0) @binding(0) var<storage, read> a: array<elem4>; // [m, k] of each member, or [k, m] transposed
@group(0) @binding(1) var<storage, read> b: array<elem4>; // [k, n] of each member, or [n, k] transposed
// y: [m, n] of each member

struct Params {
    members: u32, // batch · heads
    heads: u32,
    m: u32,
    k: u32,
    n: u32,
    part: u32, // groups of k that one part of the sum takes
}
@group(1) @binding(0) var<uniform> p: Params;

fn extent() -> Extent {
    return Extent(p.members, groups(p.m), groups(p.n), 1u, groups(p.k), p.part, p.n, p.members * p.m * groups(p.n));
}

// From row to row of a matrix whose rows are `wide` groups.
fn stride(wide: u32, joined: u32) -> u32 {
    return select(wide, wide * p.heads, joined == 1u);
}

// Where the matrix of a member begins, with so many rows.
fn matrix(member: u32, rows: u32, wide: u32, joined: u32) -> u32 {
    if joined == 1u {
        let sample = member / p.heads;
        return (sample * (rows - 1u) * p.heads + member) * wide;
    }
    return member * rows * wide;
}

// Line r of block i of a matrix whose `along` axis the sum runs along.
fn spot(i: u32, r: u32, member: u32, along: u32, size: u32, joined: u32) -> Spot {
    if along == 1u {
        let wide = groups(p.k);
        let start = matrix(member, size, wide, joined) + (4u * i + r) * stride(wide, joined);
        return Spot(start, 0u, 0u, 0u, wide);
    }
    let wide = groups(size);
    let start = matrix(member, p.k, wide, joined) + r * stride(wide, joined) + i;
    return Spot(start, 0u, 0u, 0u, (p.k + 3u - r) / 4u);
}

fn spot_a(i: u32, r: u32, member: u32) -> Spot {
    return spot(i, r, member, ALONG_A, p.m, JOINED_A);
}

fn spot_b(j: u32, r: u32, member: u32) -> Spot {
    return spot(j, r, member, ALONG_B, p.n, JOINED_B);
}

fn line_a(s: Spot, tap: u32) -> Line {
    return Line(s.start, select(4u * stride(groups(p.m), JOINED_A), 1u, ALONG_A == 1u), s.first, s.end);
}

fn line_b(s: Spot, tap: u32) -> Line {
    return Line(s.start, select(4u * stride(groups(p.n), JOINED_B), 1u, ALONG_B == 1u), s.first, s.end);
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let row = 4u * i + r;
    let wide = groups(p.n);
    let at = matrix(member, p.m, wide, JOINED_Y) + row * stride(wide, JOINED_Y) + j;
    return select(NOWHERE, at, row < p.m && j < wide);
}
