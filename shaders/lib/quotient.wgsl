// Division without the code of an integer division: GPUs take some 20 instructions for that, and processors divide lane by lane.

// a / b by 1 / b: for a below 2^20, or 2^22 if the reciprocal is the nearest to it. Signed, since processors have
// instructions for such conversions only.
fn near_quotients(a: vec4<u32>, reciprocal: f32) -> vec4<u32> {
    return vec4<u32>(vec4<i32>((vec4<f32>(vec4<i32>(a)) + 0.5) * reciprocal));
}

// a / b, for a below 2^20 unless `far`, and b below 2^30.
fn quotients(a: vec4<u32>, b: u32, far: u32) -> vec4<u32> {
    let reciprocal = 1.0 / f32(i32(b));
    if far == 1u {
        let guess = vec4<u32>(vec4<f32>(a) * reciprocal);
        let rest = vec4<i32>(a - guess * b);
        let more = vec4<i32>(vec4<f32>(rest) * reciprocal);
        let last = rest - more * i32(b);
        return guess + vec4<u32>(more) + vec4<u32>(last >= vec4(i32(b))) - vec4<u32>(last < vec4<i32>());
    }
    return near_quotients(a, reciprocal);
}

fn quotient(a: u32, b: u32, far: u32) -> u32 {
    return quotients(vec4(a), b, far).x;
}
