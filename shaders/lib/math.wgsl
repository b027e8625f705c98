// Elementary functions, four lanes at a time. Here because the builtins of WGSL are poor on some
// drivers: relative errors of 1.5e-2 (log near 1), 1e-3 (pow) and 8e-4 (tanh of small x) on Mesa,
// tanh(100) = NaN, exp(NaN) = inf and a finite log(0) on SwiftShader.
//
// Compilers take real algebra for float algebra, and WGSL has no `precise`: Mesa folds (a + b) - b
// and x != x, Metal's fast math re-associates everything. So what must not be re-associated goes
// through integer bits, where no such rule holds: splitting into exponent and mantissa, rounding to
// an integer, tests for NaN, special values. Those are selected as bits also because a constant
// expression must not be inf or NaN. Fusing a * b + c does no harm anywhere. No branches.
//
// Polynomials: own Remez fits (of the relative error of the whole function), coefficients rounded to
// f32 one by one with the others fitted again; "fit" below is what that leaves, in units of 2^-24.
// Each function's stated error, in ulp of f32, is the largest seen against f64 on lavapipe (Mesa
// 22.3 and 25.0), llvmpipe GL and SwiftShader: over every f32 of the range that matters, and random
// ones elsewhere. Results below 2^-126 may be flushed to 0; exp4 always does that.

#import nan

// Rounds |x| < 2^21 to an integer that sits in the low bits of the result (and, offset by
// 0x4b400000, is the result): adding 1.5 * 2^23 leaves no bits for a fraction. Read as bits only,
// as (x + c) - c would be folded. Cheaper than i32(round(x)), which naga makes saturate.
fn magic_round4(x: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(x + 12582912.0);
}

fn magic_float4(m: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(m - vec4<u32>(0x4b400000u)));
}

// exp(r) - 1 for |r| <= ln(2) / 2, accurate in relative terms too. Fit: 0.07.
fn expm1_reduced4(r: vec4<f32>) -> vec4<f32> {
    var q = r * 0.0014035663334652781 + 0.008372288197278976;
    q = q * r + 0.04166555032134056;
    q = q * r + 0.16666488349437714;
    q = q * r + 0.5;
    return (q * r) * r + r;
}

// exp(x): 1.4 ulp.
// inf above 88.72283, 0 below -87.33654 (there the result is subnormal).
fn exp4(x: vec4<f32>) -> vec4<f32> {
    let m = magic_round4(x * 1.44269504);
    let n = magic_float4(m);
    // Cody and Waite: 0.693359375 has 9 bits, so the product and the difference are exact. Clearing
    // the last bit (at most 0.13 ulp of the result) keeps a compiler from merging the two products.
    let h = bitcast<vec4<f32>>(bitcast<vec4<u32>>(x - n * 0.693359375) & vec4<u32>(0xfffffffeu));
    let p = expm1_reduced4(h + n * 2.12194440e-4) + 1.0;
    // Times 2^n. With n = 128 p is below 1, so the exponent field still holds the sum.
    var u = bitcast<vec4<u32>>(p) + (m << vec4<u32>(23u));
    u = select(u, vec4<u32>(0x7f800000u), x > vec4<f32>(88.7228317));
    u = select(u, vec4<u32>(0u), x < vec4<f32>(-87.3365402));
    return bitcast<vec4<f32>>(select(u, bitcast<vec4<u32>>(x), is_nan4(x)));
}

// Of what registers hold.
fn exp_acc(x: vec4<acc>) -> vec4<acc> {
    return vec4<acc>(exp4(vec4<f32>(x)));
}

// A positive number (as bits) is 2^e * m with m in [2/3, 4/3); `l` is log(m).
struct LogParts {
    e: vec4<f32>,
    l: vec4<f32>,
}

fn log_parts4(u: vec4<u32>) -> LogParts {
    // Subnormals times 2^149, as integers: the adapter may flush them in float arithmetic.
    let small = u < vec4<u32>(0x00800000u);
    let s = select(u, bitcast<vec4<u32>>(vec4<f32>(bitcast<vec4<i32>>(u))), small);
    let k = bitcast<vec4<i32>>(s - vec4<u32>(0x3f2aaaabu)) >> vec4<u32>(23u);
    let m = bitcast<vec4<f32>>(s - (bitcast<vec4<u32>>(k) << vec4<u32>(23u)));
    // The last bit of m - 1 is 0 already: clearing it keeps the 1 from being moved to the end of the
    // sum below, where it would cost the accuracy near x = 1.
    let f = bitcast<vec4<f32>>(bitcast<vec4<u32>>(m - 1.0) & vec4<u32>(0xfffffffeu));
    // Fit: 0.08. f stands alone, so that near 1 the error is relative to log(x).
    var q = f * -0.12870275974273682 + 0.13988624513149261;
    q = q * f - 0.12188804894685745;
    q = q * f + 0.14005021750926971;
    q = q * f - 0.16680194437503815;
    q = q * f + 0.20010456442832947;
    q = q * f - 0.2499980330467224;
    q = q * f + 0.3333321511745453;
    q = q * f - 0.5;
    return LogParts(vec4<f32>(k - select(vec4<i32>(0), vec4<i32>(149), small)), (q * f) * f + f);
}

// log(x): 1.1 ulp, also near 1 (relative to the result).
// log(0) = -inf, NaN below; right for subnormals, also where the adapter flushes them.
fn log4(x: vec4<f32>) -> vec4<f32> {
    let u = bitcast<vec4<u32>>(x);
    let parts = log_parts4(u);
    // ln(2) in one piece: rounded to f32 it is off by only 2.7e-9 of itself, by luck.
    let r = bitcast<vec4<u32>>(parts.l + parts.e * 0.69314718);
    var special = select(vec4<u32>(0x7fc00000u), u, u < vec4<u32>(0x80000000u));
    special = select(special, vec4<u32>(0xff800000u), (u & vec4<u32>(0x7fffffffu)) == vec4<u32>(0u));
    return bitcast<vec4<f32>>(select(special, r, (u - vec4<u32>(1u)) < vec4<u32>(0x7f7fffffu)));
}

// tanh(x): 2.8 ulp.
// v / (v + 2) with v = exp(2 |x|) - 1, relative accuracy down to the smallest x. (A quotient of two
// polynomials of degree 9 and 8 is a fifth cheaper, but off by 6 ulp where fma is not fused.)
fn tanh4(x: vec4<f32>) -> vec4<f32> {
    let u = bitcast<vec4<u32>>(x);
    let y = min(abs(x) * 2.0, vec4<f32>(20.0));
    let m = magic_round4(y * 1.44269504);
    // One piece of ln(2) is enough: exact for n = 1, 2, 4, and the quotient damps the error of v.
    let g = expm1_reduced4(y - magic_float4(m) * 0.69314718);
    let e = bitcast<vec4<f32>>((m << vec4<u32>(23u)) + vec4<u32>(0x3f800000u));
    // Clearing the last bit changes nothing below n = 24, and keeps e g + e - 1 from becoming
    // e (g + 1) - 1, which is not accurate for small x.
    let e1 = bitcast<vec4<f32>>(bitcast<vec4<u32>>(e - 1.0) & vec4<u32>(0xfffffffeu));
    let v = e * g + e1;
    let r = bitcast<vec4<u32>>(min(v / (v + 2.0), vec4<f32>(1.0))) | (u & vec4<u32>(0x80000000u));
    return bitcast<vec4<f32>>(select(r, u, is_nan4(x)));
}

// erf(x): 1.5 ulp; where subnormals are flushed, |x| < 9.2e-38 comes back as x.
// Below 0.9277 x + x P(x^2); above 1 - 2^(t Q(t)): the structure of N. Juffa's erff (CUDA), fitted
// anew with base 2, so that the exponent's integer part needs no multiple of ln(2). Fits: 0.29 and
// 0.05. From 4 on the result is 1.
fn erf4(x: vec4<f32>) -> vec4<f32> {
    let u = bitcast<vec4<u32>>(x);
    let s = x * x;
    var p = s * -0.0005969866761006415 + 0.0049893599934875965;
    p = p * s - 0.026764314621686935;
    p = p * s + 0.1128176674246788;
    p = p * s - 0.37612491846084595;
    p = p * s + 0.12837915122509003;
    let near = bitcast<vec4<u32>>(p * x + x);

    let t = min(abs(x), vec4<f32>(4.0));
    var q = t * 0.00030833089840598404 - 0.004635035526007414;
    q = q * t + 0.033013083040714264;
    q = q * t - 0.15184487402439117;
    q = q * t - 0.9171597361564636;
    q = q * t - 1.628098487854004;
    q = q * t;
    let m = magic_round4(q);
    let g = expm1_reduced4((q - magic_float4(m)) * 0.69314718) + 1.0;
    let c = bitcast<vec4<f32>>(bitcast<vec4<u32>>(g) + (m << vec4<u32>(23u)));
    let far = bitcast<vec4<u32>>(1.0 - c) | (u & vec4<u32>(0x80000000u));

    // As integers: 0x3f6d8000 is 0.927734375, and NaN takes the first form, which carries it.
    let a = u & vec4<u32>(0x7fffffffu);
    let is_far = (a - vec4<u32>(0x3f6d8001u)) <= vec4<u32>(0x7f800000u - 0x3f6d8001u);
    return bitcast<vec4<f32>>(select(near, far, is_far));
}

// 1 / (1 + exp(-x)): 3.2 ulp.
// Stable on both sides, as exp4 has the right limits: 1 / inf = 0.
fn sigmoid4(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (exp4(-x) + 1.0);
}

// log(1 + exp(x)): 3.5 ulp.
// log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), log1p(z) = 2 atanh(z / (z + 2)). Fit: 0.08.
// NaN comes through exp4, whatever max makes of it.
fn softplus4(x: vec4<f32>) -> vec4<f32> {
    let z = exp4(-abs(x));
    let s = z / (z + 2.0);
    let w = s * s;
    var q = w * 0.2800684869289398 + 0.28003019094467163;
    q = q * w + 0.40021437406539917;
    q = q * w + 0.666664183139801;
    return max(x, vec4<f32>(0.0)) + ((q * w) * s + s * 2.0);
}

// x^y: 5 ulp for |y| <= 4 (2.8 for squares, 2 for roots), else about |y| ulp.
// For x < 0, y must be a whole number (else NaN). x^0 = 1^y = 1, even for NaN, as in C. Compare
// exp(y log(x)): its error is that of y log(x), 9 ulp for squares and 190 near the ends.
fn pow4(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    let u = bitcast<vec4<u32>>(x);
    let a = u & vec4<u32>(0x7fffffffu);
    let parts = log_parts4(a);
    var e = select(parts.e, vec4<f32>(1e30), a == vec4<u32>(0x7f800000u));
    e = select(e, vec4<f32>(-1e30), a == vec4<u32>(0u));
    // y log2|x| = y e + y log2(m). The first 12 bits of y times e are exact; only what remains is
    // rounded, and it is small. Beyond 1e10 y counts as infinite (nothing but 1^y is finite there).
    let yc = clamp(y, vec4<f32>(-1e10), vec4<f32>(1e10));
    let yh = bitcast<vec4<f32>>(bitcast<vec4<u32>>(yc) & vec4<u32>(0xfffff000u));
    let hi = yh * e;
    let lo = (yc - yh) * e + yc * (parts.l * 1.44269504);
    let s = hi + lo;
    let m = magic_round4(clamp(s, vec4<f32>(-200.0), vec4<f32>(200.0)));
    // Exact in 21 bits; the mask keeps the three terms from being added in another order.
    let d = bitcast<vec4<f32>>(bitcast<vec4<u32>>(hi - magic_float4(m)) & vec4<u32>(0xfffffff8u));
    let p = expm1_reduced4((d + lo) * 0.69314718) + 1.0;
    var r = min(bitcast<vec4<u32>>(p) + (m << vec4<u32>(23u)), vec4<u32>(0x7f800000u));
    r = select(r, vec4<u32>(0x7f800000u), s >= vec4<f32>(128.0));
    r = select(r, vec4<u32>(0u), s < vec4<f32>(-126.0));

    let whole = floor(y) == y;
    let halved = y * 0.5;
    let odd = whole & (floor(halved) != halved);
    r |= select(vec4<u32>(0u), u & vec4<u32>(0x80000000u), odd);
    let bad = ((u > vec4<u32>(0x80000000u)) & !whole) | is_nan4(x) | is_nan4(y);
    r = select(r, vec4<u32>(0x7fc00000u), bad);
    let one = ((bitcast<vec4<u32>>(y) << vec4<u32>(1u)) == vec4<u32>(0u)) | (u == vec4<u32>(0x3f800000u));
    return bitcast<vec4<f32>>(select(r, vec4<u32>(0x3f800000u), one));
}
