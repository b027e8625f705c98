// The gradient of a convolution of each channel by itself to its weights: each sums over all pixels.
#import accumulate
#import conv
#import epilogue
#import grid
#import parts
#import tail

const MANY: u32 = 0u; // whether there are 2^20 invocations or more

@group(0) @binding(0) var<storage, read> a: array<elem4>;       // image [n, h, w, c]
@group(0) @binding(1) var<storage, read> b: array<elem4>;       // result [n, oh, ow, c]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // weights [kh, kw, 1, c]

fn combine(u: vec4<acc>, v: vec4<acc>) -> vec4<acc> {
    return joined(u, v);
}

// The sum over one row of the result.
fn sum(line: u32, weight: u32, q: u32) -> vec4<acc> {
    let n = quotient(line, p.oh, VAST);
    let down = quotient(weight, p.kw, MANY);
    let row = (line - n * p.oh) * p.stride_h + down * p.dilation_h - p.before_h;
    var s = Sum();
    if row >= p.h {
        return whole(s);
    }
    var column = (weight - down * p.kw) * p.dilation_w - p.before_w;
    for (var k = 0u; k < p.steps; k++) {
        if column < p.w {
            let x = unpack4(a[((n * p.h + row) * p.w + column) * p.wide + q]);
            s = added(s, x * unpack4(b[(line * p.ow + k) * p.wide + q]));
        }
        column += p.stride_w;
    }
    return whole(s);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * RESULTS + lane % RESULTS;
    var s = Sum();
    if g < p.down * p.wide {
        let weight = quotient(g, p.wide, MANY);
        for (var line = lane / RESULTS; line < p.taps; line += LANES) {
            s = added(s, sum(line, weight, g - weight * p.wide));
        }
    }
    let v = combined(whole(s), lane);
    if lane < RESULTS && g < p.down * p.wide {
        y[g] = pack4(tail(epilogue(g, v), g, p.c));
    }
}
