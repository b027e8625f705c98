// Multiply-adds in registers and nothing else: eight independent chains of four values, and one store at the end.
#import grid

@group(0) @binding(0) var<storage, read_write> y: array<elem4>; // [invocations]

struct Params {
    rounds: u32,
    factor: f32, // from outside, so that no compiler can know where the chains go
}
@group(1) @binding(0) var<uniform> p: Params;

// 1: what each multiply-add gives is rounded as memory holds it.
const STORED: u32 = 0u;
// Any number: another one is another pipeline, which no cache knows.
const SALT: u32 = 0u;

fn next(v: vec4<acc>, factor: vec4<acc>, summand: vec4<acc>) -> vec4<acc> {
    let product = v * factor + summand;
    if STORED == 1u {
        return unpack4(pack4(product));
    }
    return product;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = invocation(workgroup, lane);
    let factor = vec4(acc(p.factor));
    let start = vec4(acc(f32((i + SALT) & 255u) / 256.0));
    var a = start;
    var b = start + acc(0.125);
    var c = start + acc(0.25);
    var d = start + acc(0.375);
    var e = start + acc(0.5);
    var f = start + acc(0.625);
    var g = start + acc(0.75);
    var h = start + acc(0.875);
    for (var round = 0u; round < p.rounds; round++) {
        a = next(a, factor, start);
        b = next(b, factor, start);
        c = next(c, factor, start);
        d = next(d, factor, start);
        e = next(e, factor, start);
        f = next(f, factor, start);
        g = next(g, factor, start);
        h = next(h, factor, start);
    }
    y[i] = pack4(((a + b) + (c + d)) + ((e + f) + (g + h)));
}
