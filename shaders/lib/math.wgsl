fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

fn exp4(x: vec4<f32>) -> vec4<f32> {
    let t = x * 1.44269504 + 12582912.0;
    let n = vec4<f32>(bitcast<vec4<i32>>(t) - vec4<i32>(0x4b400000));
    let h = bitcast<vec4<f32>>(bitcast<vec4<u32>>(x - n * 0.693359375) & vec4<u32>(0xfffffffeu));
    let r = h + n * 2.12194440e-4;
    var q = r * 0.0014035663334652781 + 0.008372288197278976;
    q = q * r + 0.04166555032134056;
    q = q * r + 0.16666488349437714;
    q = q * r + 0.5;
    let p = (q * r) * r + r + 1.0;
    var u = bitcast<vec4<u32>>(p) + (bitcast<vec4<u32>>(t) << vec4<u32>(23u));
    u = select(u, vec4<u32>(0x7f800000u), x > vec4<f32>(88.7228394));
    u = select(u, vec4<u32>(0u), x < vec4<f32>(-87.3365479));
    return bitcast<vec4<f32>>(select(u, bitcast<vec4<u32>>(x), is_nan4(x)));
}

fn log4(x: vec4<f32>) -> vec4<f32> {
    let u = bitcast<vec4<u32>>(x);
    let small = u < vec4<u32>(0x00800000u);
    let s = select(u, bitcast<vec4<u32>>(vec4<f32>(bitcast<vec4<i32>>(u))), small);
    let k = bitcast<vec4<i32>>(s - vec4<u32>(0x3f2aaaabu)) >> vec4<u32>(23u);
    let f = bitcast<vec4<f32>>(s - (bitcast<vec4<u32>>(k) << vec4<u32>(23u))) - 1.0;
    let e = vec4<f32>(k - select(vec4<i32>(0), vec4<i32>(149), small));
    var q = f * -0.12870275974273682 + 0.13988624513149261;
    q = q * f - 0.12188804894685745;
    q = q * f + 0.14005021750926971;
    q = q * f - 0.16680194437503815;
    q = q * f + 0.20010456442832947;
    q = q * f - 0.2499980330467224;
    q = q * f + 0.3333321511745453;
    q = q * f - 0.5;
    let r = bitcast<vec4<u32>>((q * f) * f + f + e * 0.69314718);
    var special = select(vec4<u32>(0x7fc00000u), u, u < vec4<u32>(0x80000000u));
    special = select(special, vec4<u32>(0xff800000u), (u & vec4<u32>(0x7fffffffu)) == vec4<u32>(0u));
    return bitcast<vec4<f32>>(select(special, r, (u - vec4<u32>(1u)) < vec4<u32>(0x7f7fffffu)));
}

fn tanh4(x: vec4<f32>) -> vec4<f32> {
    let c = clamp(x, vec4<f32>(-9.02), vec4<f32>(9.02));
    let t = c * c;
    var p = t * 1.331930796630593e-08 + 2.0583670783885556e-05;
    p = p * t + 0.003494046956309688;
    p = p * t + 0.13379728694501222;
    p = p * t + 1.0;
    var q = t * 7.762121638128967e-07 + 0.0003283112482886239;
    q = q * t + 0.02587112132202962;
    q = q * t + 0.4671304395743622;
    q = q * t + 1.0;
    let r = clamp(c * p / q, vec4<f32>(-1.0), vec4<f32>(1.0));
    return bitcast<vec4<f32>>(select(bitcast<vec4<u32>>(r), bitcast<vec4<u32>>(x), is_nan4(x)));
}

fn sigmoid4(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp4(-x));
}

fn softplus4(x: vec4<f32>) -> vec4<f32> {
    let z = exp4(-abs(x));
    let s = z / (z + 2.0);
    let w = s * s;
    var q = w * 0.2800684869289398 + 0.28003019094467163;
    q = q * w + 0.40021437406539917;
    q = q * w + 0.666664183139801;
    return max(x, vec4<f32>(0.0)) + (s * 2.0 + (q * w) * s);
}

fn pow4(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    let whole = floor(y) == y;
    let half = y * 0.5;
    let odd = whole & (floor(half) != half);
    let u = bitcast<vec4<u32>>(x);
    var r = bitcast<vec4<u32>>(exp4(y * log4(abs(x))));
    r |= select(vec4<u32>(0u), u & vec4<u32>(0x80000000u), odd);
    r = select(r, vec4<u32>(0x7fc00000u), (u > vec4<u32>(0x80000000u)) & !whole);
    r = select(r, vec4<u32>(0x3f800000u), (y == vec4<f32>(0.0)) | (x == vec4<f32>(1.0)));
    return bitcast<vec4<f32>>(r);
}

fn erf4(x: vec4<f32>) -> vec4<f32> { return x; }
