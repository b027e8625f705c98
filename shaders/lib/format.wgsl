// Rounding of f32 to a narrower floating-point format: one sign, EXPONENT and MANTISSA bits, subnormals. By integers, as
// no adapter need have the format, and compilers fold conversions. `Format` of src/format.rs gives the constants. The file
// that imports this binds `clock`.
#import clock
#import random

const EXPONENT: u32 = 5u;            // from 2 to 8
const MANTISSA: u32 = 10u;           // from 1 to 23
const LARGEST: u32 = 0x477fe000u;    // the bits of the largest number
const OVERFLOWED: u32 = 0x7f800000u; // the bits of what stands for all beyond it
const STOCHASTIC: u32 = 0u;          // whether chance decides, else to nearest, ties to even

// The biased exponent that the format's least normal number has in f32; and what to take from the bits of a number of
// subnormals, to get the bits of their sum.
const LEAST: u32 = 129u - (1u << (EXPONENT - 1u));
const STEPS: u32 = (127u + MANTISSA - LEAST) << 23u;

// `random` is only looked at where chance decides. NaN stays NaN.
fn rounded4(v: vec4<f32>, random: vec4<u32>) -> vec4<f32> {
    let u = bitcast<vec4<u32>>(v);
    let a = u & vec4<u32>(0x7fffffffu);
    // v is m · 2^(e - 150). Below the least normal number more bits are lost, so that steps stay as wide.
    let e = max(a >> vec4<u32>(23u), vec4<u32>(1u));
    let m = select((a & vec4<u32>(0x007fffffu)) | vec4<u32>(0x00800000u), a, a < vec4<u32>(0x00800000u));
    let below = max(e, vec4<u32>(LEAST)) - e;
    let lost = min(below + vec4<u32>(23u - MANTISSA), vec4<u32>(31u));
    let ulp = vec4<u32>(1u) << lost;
    // Added before the lost bits are cut off: just under half an ulp and the last bit that is kept, or any part of one.
    var up = ((ulp - 1u) >> vec4<u32>(1u)) + min(ulp >> vec4<u32>(1u), (m >> lost) & vec4<u32>(1u));
    if STOCHASTIC == 1u {
        up = (random >> vec4<u32>(1u)) >> (vec4<u32>(31u) - lost);
    }
    // A carry of a normal number runs into its exponent, which is right; a subnormal one is a count of steps.
    let normal = (a + up) & ~(ulp - 1u);
    let count = (m + up) >> lost;
    let subnormal = bitcast<vec4<u32>>(vec4<f32>(bitcast<vec4<i32>>(count))) - vec4<u32>(STEPS);
    var r = select(normal, select(subnormal, count, count == vec4<u32>(0u)), below > vec4<u32>(0u));
    r = select(r, vec4<u32>(OVERFLOWED), r > vec4<u32>(LARGEST));
    r = select(r, vec4<u32>(0x7fc00000u), a > vec4<u32>(0x7f800000u));
    return bitcast<vec4<f32>>(r | (u & vec4<u32>(0x80000000u)));
}

// What decides for group g of a tensor with a stream of its own: a function of seed, step and place, as dropout's is.
fn chance(stream: u32, g: u32) -> vec4<u32> {
    if STOCHASTIC == 1u {
        return random4(clock.seed, stream, clock.step, g);
    }
    return vec4<u32>();
}
