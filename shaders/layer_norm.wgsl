// Each row with mean 0 and variance 1, or with mean square 1, times gain, plus bias. Reads a row once if its invocations can
// hold it, else twice, and meets twice.
#import across
#import axis
#import combine
#import moments
#import stretches
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
    let width = groups(p.last);
    let s = own_stretch(workgroup, lane, width);
    let start = s.row * width;
    var held: Held;
    var own: Part;
    for (var i = 0u; i < summing_turns(width); i++) {
        let k = group_of(s, i);
        let v = unpack4(x[start + min(k, s.end - 1u)]);
        if HELD > 0u {
            held[i] = v;
        }
        own = with_value(own, v, within(s, k, p.last));
    }
    var all = as_one(own);
    if PASS == 2u {
        for (var k = s.part; k < stretches(width); k += LANES) {
            let l = left(s, width, k);
            all = joined(all, Part(vec4(length_of(k, p.last)), vec4(l.x), vec4(l.y)));
        }
    }
    // Of parts that are this share of all, the mean is a sum, and so is what their variances and means vary by.
    let share = acc(all.n.x / length_met(s, p.last));
    let mean = together(vec4(share * all.mean.x, vec3<acc>()), false).x;
    let apart = all.mean.x - mean;
    let variance = together(vec4(share * (all.variance.x + apart * apart), vec3<acc>()), false).x;
    leave(s, vec4(mean, variance, vec2<acc>()));
    let rstd = inverseSqrt(variance + acc(p.epsilon));
    if PASS != 1u && s.first == 0u && s.part == 0u && s.live {
        statistics[s.row] = pack4_wide(vec4(mean, rstd, acc(0.0), acc(0.0)));
    }
    for (var i = 0u; i < writing_turns(width); i++) {
        let k = group_of(s, i);
        if s.live && k < s.end {
            var v: vec4<acc>;
            if HELD > 0u {
                v = held[i];
            } else {
                v = unpack4(x[start + k]);
            }
            y[start + k] = pack4(tail_along(affine((v - mean) * rstd, k), k, p.last));
        }
    }
}
