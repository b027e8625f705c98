// Each row with mean 0 and variance 1, or with mean square 1, times gain, plus bias. Reads a row once if its invocations can
// hold it, else twice, and meets twice.
#import across
#import combine
#import lanes
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

fn work(workgroup: u32, lane: u32) {
    let row = own_row(workgroup, lane);
    let part = lane % LANES;
    let groups = (p.last + 3u) / 4u;
    // Invocations past the end take the last row along, since all must meet.
    let start = min(row, p.rows - 1u) * groups;
    var held: Held;
    var own: Part;
    for (var i = 0u; i < turns(groups); i++) {
        let k = part + i * LANES;
        let v = unpack4(x[start + min(k, groups - 1u)]);
        if HELD > 0u {
            held[i] = v;
        }
        own = with_value(own, v, inside(k, p.last));
    }
    // Of parts that are this share of the row, the mean is a sum, and so is what their variances and means vary by.
    let all = as_one(own);
    let share = acc(all.n.x / f32(p.last));
    let mean = together(vec4(share * all.mean.x, vec3<acc>()), false).x;
    let apart = all.mean.x - mean;
    let variance = together(vec4(share * (all.variance.x + apart * apart), vec3<acc>()), false).x;
    let rstd = inverseSqrt(variance + acc(p.epsilon));
    if part == 0u && row < p.rows {
        statistics[row] = pack4_wide(vec4(mean, rstd, acc(0.0), acc(0.0)));
    }
    for (var i = 0u; i < turns(groups); i++) {
        let k = part + i * LANES;
        if row < p.rows && k < groups {
            var v: vec4<acc>;
            if HELD > 0u {
                v = held[i];
            } else {
                v = unpack4(x[start + k]);
            }
            y[start + k] = pack4(tail(affine((v - mean) * rstd, k), start + k, p.last));
        }
    }
}
