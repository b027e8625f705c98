// Number, mean and variance of values, four of each side by side, and how those of two sets become those of both
// (Chan, Golub, LeVeque 1979). Never E[x²] − E[x]², which cancels where the mean is large; and variances in place of
// sums of squares, which leave the range of 16 bit.
struct Part {
    n: vec4<f32>,
    mean: vec4<acc>,
    variance: vec4<acc>,
}

fn joined(a: Part, b: Part) -> Part {
    let share = 1.0 / max(a.n + b.n, vec4(1.0));
    let u = vec4<acc>(a.n * share);
    let v = vec4<acc>(b.n * share);
    let apart = b.mean - a.mean;
    // No term is negative.
    return Part(a.n + b.n, a.mean + v * apart, u * (a.variance + v * apart * apart) + v * b.variance);
}

var<workgroup> parts: array<Part, 64>;

// The parts of `lanes` invocations, `64 / lanes` apart, as one that the first of them gets; always in the same order.
// The whole workgroup calls this at once.
fn gathered(own: Part, lane: u32, lanes: u32) -> Part {
    var all = own;
    parts[lane] = all;
    for (var half = lanes / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane / (64u / lanes) < half {
            all = joined(all, parts[lane + half * (64u / lanes)]);
            parts[lane] = all;
        }
    }
    return all;
}
