// Number, mean and variance of values, four of each side by side, and how those of two sets become those of both
// (Chan, Golub, LeVeque 1979). Never E[x²] − E[x]², which cancels where the mean is large; and variances in place of
// sums of squares, which leave the range of 16 bit.
const CENTRED: u32 = 1u; // if not, the mean is 0, and the variance the mean of the squares

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

fn with_value(all: Part, v: vec4<acc>, counts: vec4<bool>) -> Part {
    let one = select(vec4<f32>(), vec4(1.0), counts);
    if CENTRED == 1u {
        return joined(all, Part(one, v, vec4<acc>()));
    }
    return joined(all, Part(one, vec4<acc>(), v * v));
}

// The four as one set; all four members are the same.
fn as_one(q: Part) -> Part {
    let two = joined(Part(q.n.xyxy, q.mean.xyxy, q.variance.xyxy), Part(q.n.zwzw, q.mean.zwzw, q.variance.zwzw));
    return joined(Part(two.n.xxxx, two.mean.xxxx, two.variance.xxxx), Part(two.n.yyyy, two.mean.yyyy, two.variance.yyyy));
}
