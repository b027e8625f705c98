// Number, mean and variance of values, four of each side by side, and how those of two sets become those of both
// (Chan, Golub, LeVeque 1979). Never E[x²] − E[x]², which cancels where the mean is large; and variances in place of
// sums of squares, which leave the range of 16 bit.
const LANES: u32 = 1u; // invocations that share a group of results: a power of two, at most 64

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

// As `combined` of lib/parts.wgsl: the whole result, for the first of the invocations that share it.
fn gathered(own: Part, lane: u32) -> Part {
    var all = own;
    parts[lane] = all;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half * (64u / LANES) {
            all = joined(all, parts[lane + half * (64u / LANES)]);
            parts[lane] = all;
        }
    }
    return all;
}
