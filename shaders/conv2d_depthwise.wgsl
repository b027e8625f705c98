// Convolution of each channel by itself, and its gradient to the image. An invocation computes four pixels of a group of
// channels: each weight that it loads serves four times.
#import accumulate
#import conv
#import epilogue
#import grid
#import tail

const TRANSPOSED: u32 = 0u; // whether the gradient to the image is wanted

@group(0) @binding(0) var<storage, read> a: array<elem4>;       // image [n, h, w, c]; transposed: result [n, oh, ow, c]
@group(0) @binding(1) var<storage, read> b: array<elem4>;       // weights [kh, kw, 1, c]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // result [n, oh, ow, c]; transposed: image [n, h, w, c]

// Where weight k meets what place i is made of; beyond the end where it meets nothing.
fn met(i: vec4<u32>, k: u32, stride: u32, before: u32, dilation: u32) -> vec4<u32> {
    if TRANSPOSED == 1u {
        let back = i + vec4(before - k * dilation);
        return select(vec4(0xffffffffu), back / stride, back % stride == vec4(0u));
    }
    return i * stride + vec4(k * dilation - before);
}

fn store(pixel: u32, q: u32, v: vec4<acc>) {
    if pixel < p.down {
        let g = pixel * p.wide + q;
        y[g] = pack4(tail(epilogue(g, v), g, p.c));
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = linear_id(workgroup) * 64u + lane;
    let ours = select(vec2(p.oh, p.ow), vec2(p.h, p.w), TRANSPOSED == 1u);
    let theirs = select(vec2(p.h, p.w), vec2(p.oh, p.ow), TRANSPOSED == 1u);
    let q = id % p.wide;
    let number = vec4(id / p.wide * 4u) + vec4(0u, 1u, 2u, 3u);
    if number.x >= p.down {
        return;
    }
    let at = pixels(number, ours.x, ours.y);
    let zero = vec4<acc>();
    var y0 = Sum();
    var y1 = Sum();
    var y2 = Sum();
    var y3 = Sum();
    for (var i = 0u; i < p.kh; i++) {
        let row = met(at.y, i, p.stride_h, p.before_h, p.dilation_h);
        let line = (at.n * theirs.x + row) * theirs.y;
        for (var k = 0u; k < p.kw; k++) {
            let column = met(at.x, k, p.stride_w, p.before_w, p.dilation_w);
            let there = (number < vec4(p.down)) & (row < vec4(theirs.x)) & (column < vec4(theirs.y));
            let place = (line + column) * p.wide + vec4(q);
            let w = unpack4(b[(i * p.kw + k) * p.wide + q]);
            y0 = added(y0, w * select(zero, unpack4(a[place.x]), there.x));
            y1 = added(y1, w * select(zero, unpack4(a[place.y]), there.y));
            y2 = added(y2, w * select(zero, unpack4(a[place.z]), there.z));
            y3 = added(y3, w * select(zero, unpack4(a[place.w]), there.w));
        }
    }
    store(number.x, q, whole(y0));
    store(number.y, q, whole(y1));
    store(number.z, q, whole(y2));
    store(number.w, q, whole(y3));
}
