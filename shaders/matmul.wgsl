// Matrix product y = a · b, for each member of a batch. An invocation computes ROWS × COLUMNS blocks of 4×4 in
// registers. A block is a mat4x4 whose columns are rows of y: with rows of a and of b as columns too, the
// product of two blocks is `b * a`, and an operand that lies transposed costs a transpose in registers.
#import grid
#import tail

const TRANSPOSED_A: u32 = 0u;
const TRANSPOSED_B: u32 = 0u;
const ROWS: u32 = 1u;    // blocks of rows an invocation, 1 or 2
const COLUMNS: u32 = 1u; // blocks of columns an invocation, 1 or 2

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

alias block = mat4x4<acc>;

fn groups(n: u32) -> u32 {
    return (n + 3u) / 4u;
}

// Four neighbouring rows of a matrix at one group of columns; rows past the end are zero, so that they add nothing.
fn rows_of_a(first: u32, column: u32, rows: u32, stride: u32, base: u32) -> block {
    let r = vec4(first) + vec4(0u, 1u, 2u, 3u);
    let at = vec4(base + column) + min(r, vec4(rows - 1u)) * stride;
    let v = block(unpack4(a[at.x]), unpack4(a[at.y]), unpack4(a[at.z]), unpack4(a[at.w]));
    return keep(v, r, rows);
}

fn rows_of_b(first: u32, column: u32, rows: u32, stride: u32, base: u32) -> block {
    let r = vec4(first) + vec4(0u, 1u, 2u, 3u);
    let at = vec4(base + column) + min(r, vec4(rows - 1u)) * stride;
    let v = block(unpack4(b[at.x]), unpack4(b[at.y]), unpack4(b[at.z]), unpack4(b[at.w]));
    return keep(v, r, rows);
}

fn keep(v: block, r: vec4<u32>, rows: u32) -> block {
    if r.w < rows {
        return v;
    }
    let zero = vec4<acc>();
    return block(v[0], select(zero, v[1], r.y < rows), select(zero, v[2], r.z < rows), select(zero, v[3], r.w < rows));
}

// Rows i.. of a, at k..k+4.
fn block_a(i: u32, k4: u32, base: u32) -> block {
    if TRANSPOSED_A == 1u {
        return transpose(rows_of_a(4u * k4, i, p.k, groups(p.m), base));
    }
    return rows_of_a(4u * i, k4, p.m, groups(p.k), base);
}

// Rows k.. of b, at columns j..j+4.
fn block_b(k4: u32, j: u32, base: u32) -> block {
    if TRANSPOSED_B == 1u {
        return transpose(rows_of_b(4u * j, k4, p.n, groups(p.k), base));
    }
    return rows_of_b(4u * k4, j, p.k, groups(p.n), base);
}

fn epilogue(g: u32, v: vec4<acc>) -> vec4<acc> {
    //: epilogue
    return v;
    //: end
}

fn store(member: u32, i: u32, j: u32, v: block) {
    if j >= groups(p.n) {
        return;
    }
    for (var r = 0u; r < 4u; r++) {
        let row = 4u * i + r;
        if row < p.m {
            let g = (member * p.m + row) * groups(p.n) + j;
            var value = v[0];
            value = select(value, v[1], r == 1u);
            value = select(value, v[2], r == 2u);
            value = select(value, v[3], r == 3u);
            y[g] = pack4(tail(epilogue(g, value), g, p.n));
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = linear_id(workgroup) * 64u + lane;
    let across = (groups(p.n) + COLUMNS - 1u) / COLUMNS;
    let down = (groups(p.m) + ROWS - 1u) / ROWS;
    let member = id / (across * down);
    if member >= p.batch {
        return;
    }
    let i = id / across % down * ROWS;
    let j = id % across * COLUMNS;
    let base_a = member * select(p.m * groups(p.k), p.k * groups(p.m), TRANSPOSED_A == 1u);
    let base_b = member * select(p.k * groups(p.n), p.n * groups(p.k), TRANSPOSED_B == 1u);

    var y00 = block();
    var y01 = block();
    var y10 = block();
    var y11 = block();
    for (var k4 = 0u; k4 < groups(p.k); k4++) {
        let a0 = block_a(i, k4, base_a);
        let b0 = block_b(k4, j, base_b);
        y00 += b0 * a0;
        var a1 = block();
        if ROWS == 2u {
            a1 = block_a(i + 1u, k4, base_a);
            y10 += b0 * a1;
        }
        if COLUMNS == 2u {
            let b1 = block_b(k4, j + 1u, base_b);
            y01 += b1 * a0;
            if ROWS == 2u {
                y11 += b1 * a1;
            }
        }
    }
    store(member, i, j, y00);
    if COLUMNS == 2u {
        store(member, i, j + 1u, y01);
    }
    if ROWS == 2u {
        store(member, i + 1u, j, y10);
        if COLUMNS == 2u {
            store(member, i + 1u, j + 1u, y11);
        }
    }
}
