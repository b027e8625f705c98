// Each row with mean 0 and variance 1, or with mean square 1, times gain, plus bias. LANES neighbours share a row and read
// it twice: it comes from memory once if caches hold it.
#import grid
#import moments
#import tail

@group(0) @binding(0) var<storage, read> x: array<elem4>;                // [rows, last]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>;          // [rows, last]
@group(0) @binding(2) var<storage, read_write> statistics: array<wide4>; // [rows] of (mean, rstd, 0, 0)

struct Params {
    rows: u32,
    last: u32,
    epsilon: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

// With what belongs to group k of a row.
fn affine(v: vec4<acc>, k: u32) -> vec4<acc> {
    //: affine
    return v;
    //: end
}

// As `gathered`, for neighbours: the whole row, for each of them.
fn of_row(own: Part, lane: u32) -> Part {
    parts[lane] = own;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane % LANES < half {
            parts[lane] = joined(parts[lane], parts[lane + half]);
        }
    }
    workgroupBarrier();
    return parts[lane - lane % LANES];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_id(workgroup) * (64u / LANES) + lane / LANES;
    let part = lane % LANES;
    let groups = (p.last + 3u) / 4u;
    // Invocations past the end take the last row along, since all must meet at the barriers.
    let start = min(row, p.rows - 1u) * groups;
    var own: Part;
    for (var k = part; k < groups; k += LANES) {
        let counts = vec4(4u * k) + vec4(0u, 1u, 2u, 3u) < vec4(p.last);
        own = with_value(own, unpack4(x[start + k]), counts);
    }
    let all = of_row(together(own), lane);
    if row >= p.rows {
        return;
    }
    let mean = all.mean.x;
    let rstd = inverseSqrt(all.variance.x + acc(p.epsilon));
    if part == 0u {
        statistics[row] = pack4_wide(vec4(mean, rstd, acc(0.0), acc(0.0)));
    }
    for (var k = part; k < groups; k += LANES) {
        let v = (unpack4(x[start + k]) - mean) * rstd;
        y[start + k] = pack4(tail(affine(v, k), start + k, p.last));
    }
}
