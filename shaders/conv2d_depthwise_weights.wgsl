// The gradient of a convolution of each channel by itself to its weights: each sums over all pixels, row by row. Long
// rows may be cut in stretches, and the sum in parts, a workgroup each.
#import accumulate
#import axis
#import conv
#import epilogue
#import grid
#import parts

const MANY: u32 = 0u; // whether there are 2^20 invocations or more

@group(0) @binding(0) var<storage, read> a: array<elem4>; // image [n, h, w, c]
@group(0) @binding(1) var<storage, read> b: array<elem4>; // result [n, oh, ow, c]

// The weights [kh, kw, 1, c] as they are kept: whole, or in parts that another dispatch sums.
//: result
@group(0) @binding(2) var<storage, read_write> y: array<elem4>;

fn keep(g: u32, part: u32, size: u32, v: vec4<acc>, there: vec4<bool>) {
    y[g] = pack4(select(vec4<acc>(), epilogue(g, v), there));
}
//: end

fn combine(u: vec4<acc>, v: vec4<acc>) -> vec4<acc> {
    return joined(u, v);
}

// The sum over a stretch of a row of the result, of which each row has so many.
fn sum(stretch: u32, each: u32, weight: u32, q: u32) -> vec4<acc> {
    var line = stretch;
    if each > 1u {
        line = quotient(stretch, each, VAST);
    }
    let first = (stretch - line * each) * p.steps;
    let n = quotient(line, p.oh, VAST);
    let down = quotient(weight, p.kw, MANY);
    let row = (line - n * p.oh) * p.stride_h + down * p.dilation_h - p.before_h;
    var s = Sum();
    if row >= p.h {
        return whole(s);
    }
    var column = first * p.stride_w + (weight - down * p.kw) * p.dilation_w - p.before_w;
    // Behind what the row's last pixel sees, within the image: whatever a stretch has, all take as many turns.
    let end = u32(clamp(i32(column + (p.ow - first) * p.stride_w), 0, i32(p.w)));
    for (var k = 0u; k < p.steps; k++) {
        if column < end {
            let x = unpack4(a[((n * p.h + row) * p.w + column) * p.wide + q]);
            s = added(s, x * unpack4(b[(line * p.ow + first + k) * p.wide + q]));
        }
        column += p.stride_w;
    }
    return whole(s);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let size = p.taps * p.wide;
    let blocks = (size + RESULTS - 1u) / RESULTS;
    let id = linear_id(workgroup);
    let part = quotient(id, blocks, MANY);
    let g = (id - part * blocks) * RESULTS + lane % RESULTS;
    // A grid that is folded may have workgroups too many.
    let live = g < size && part * p.part < p.down;
    var s = Sum();
    if live {
        let weight = quotient(g, p.wide, MANY);
        let each = quotient(p.ow + p.steps - 1u, p.steps, VAST);
        let end = min((part + 1u) * p.part, p.down);
        for (var stretch = part * p.part + lane / RESULTS; stretch < end; stretch += LANES) {
            s = added(s, sum(stretch, each, weight, g - weight * p.wide));
        }
    }
    let v = combined(whole(s), lane);
    if live && lane < RESULTS {
        keep(g, part, size, v, unpadded(g, p.c));
    }
}
