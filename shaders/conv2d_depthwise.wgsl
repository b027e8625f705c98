// Convolution of each channel by itself, and its gradient to the image. An invocation computes four pixels of a group of
// channels: each weight that it loads serves four times.
#import accumulate
#import conv
#import epilogue
#import grid
#import tail

const TRANSPOSED: u32 = 0u; // whether the gradient to the image is wanted
const MANY: u32 = 0u;       // whether there are 2^20 invocations or more

@group(0) @binding(0) var<storage, read> a: array<elem4>;       // image [n, h, w, c]; transposed: result [n, oh, ow, c]
@group(0) @binding(1) var<storage, read> b: array<elem4>;       // weights [kh, kw, 1, c]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // result [n, oh, ow, c]; transposed: image [n, h, w, c]

// What a weight meets of what a place is made of: it is number `at`, which may wrap below zero, if there is no rest.
struct Met {
    at: vec4<u32>,
    rest: vec4<u32>,
}

// What the first weight meets for place i.
fn met(i: vec4<u32>, stride: u32, before: u32) -> Met {
    if TRANSPOSED == 1u {
        let at = quotients(i + before, stride, VAST);
        return Met(at, i + before - at * stride);
    }
    return Met(i * stride - before, vec4<u32>());
}

// And the weight behind one.
fn next(m: Met, stride: u32, dilation: u32) -> Met {
    if TRANSPOSED == 1u {
        let hop = quotient(dilation, stride, VAST);
        let slip = dilation - hop * stride;
        let back = m.rest < vec4(slip);
        return Met(m.at - hop - vec4<u32>(back), m.rest - slip + select(vec4<u32>(), vec4(stride), back));
    }
    return Met(m.at + dilation, m.rest);
}

// Whether that is one of `size`.
fn meets(m: Met, size: u32) -> vec4<bool> {
    return (m.at < vec4(size)) & (m.rest == vec4<u32>());
}

fn store(pixel: u32, q: u32, v: vec4<acc>) {
    if pixel < p.down {
        let g = pixel * p.wide + q;
        y[g] = pack4(tail(epilogue(g, v), g, p.c));
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = invocation(workgroup, lane);
    let ours = select(vec2(p.oh, p.ow), vec2(p.h, p.w), TRANSPOSED == 1u);
    let theirs = select(vec2(p.h, p.w), vec2(p.oh, p.ow), TRANSPOSED == 1u);
    let four = quotient(id, p.wide, MANY);
    let q = id - four * p.wide;
    let number = numbers(four);
    if number.x >= p.down {
        return;
    }
    let at = pixels(number, ours.x, ours.y);
    let zero = vec4<acc>();
    var y0 = Sum();
    var y1 = Sum();
    var y2 = Sum();
    var y3 = Sum();
    var row = met(at.y, p.stride_h, p.before_h);
    for (var i = 0u; i < p.kh; i++) {
        let line = (at.n * theirs.x + row.at) * theirs.y;
        let counts = (number < vec4(p.down)) & meets(row, theirs.x);
        var column = met(at.x, p.stride_w, p.before_w);
        for (var k = 0u; k < p.kw; k++) {
            let there = counts & meets(column, theirs.y);
            let place = (line + column.at) * p.wide + vec4(q);
            let w = unpack4(b[(i * p.kw + k) * p.wide + q]);
            y0 = added(y0, w * select(zero, unpack4(a[place.x]), there.x));
            y1 = added(y1, w * select(zero, unpack4(a[place.y]), there.y));
            y2 = added(y2, w * select(zero, unpack4(a[place.z]), there.z));
            y3 = added(y3, w * select(zero, unpack4(a[place.w]), there.w));
            column = next(column, p.stride_w, p.dilation_w);
        }
        row = next(row, p.stride_h, p.dilation_h);
    }
    store(number.x, q, whole(y0));
    store(number.y, q, whole(y1));
    store(number.z, q, whole(y2));
    store(number.w, q, whole(y3));
}
