// Matrix product y = a · b, for each member of a batch; either operand may lie transposed.
#import gemm

@group(0) @binding(0) var<storage, read> a: array<elem4>;       // [batch, m, k], or [batch, k, m] transposed
@group(0) @binding(1) var<storage, read> b: array<elem4>;       // [batch, k, n], or [batch, n, k] transposed
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // [batch, m, n]

struct Params {
    batch: u32,
    m: u32,
    k: u32,
    n: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn lines_a(i: u32, tap: u32, member: u32) -> Lines {
    if ALONG_A == 1u {
        let row = vec4(4u * i) + LANE;
        return along((member * p.m + row) * groups(p.k), row < vec4(p.m));
    }
    return across(member * p.k * groups(p.m) + i, groups(p.m), p.k);
}

fn lines_b(j: u32, tap: u32, member: u32) -> Lines {
    if ALONG_B == 1u {
        let column = vec4(4u * j) + LANE;
        return along((member * p.n + column) * groups(p.k), column < vec4(p.n));
    }
    return across(member * p.k * groups(p.n) + j, groups(p.n), p.k);
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let row = 4u * i + r;
    return select(NOWHERE, (member * p.m + row) * groups(p.n) + j, row < p.m && j < groups(p.n));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(linear_id(workgroup) * 64u + lane, p.batch, groups(p.m), groups(p.n), 1u, groups(p.k), p.n);
}
