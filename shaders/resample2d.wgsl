// Means over spans of rows and columns: average pools and upsampling. And their gradient, where each place gathers its
// share of the results that it is part of: nothing is added by two invocations, so it is the same each time.
#import axis
#import epilogue
#import grid
#import resample
#import tail

const TRANSPOSED: u32 = 0u; // whether the gradient is wanted

@group(0) @binding(0) var<storage, read> x: array<elem4>;       // image [n, h, w, c]; transposed: result [n, oh, ow, c]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // result [n, oh, ow, c]; transposed: image [n, h, w, c]

// The places of x that place i of y is made of.
fn span(a: Axis, i: u32) -> Span {
    if TRANSPOSED == 1u {
        return results(a, i);
    }
    return places(a, i);
}

fn share(a: Axis, i: u32, k: u32) -> f32 {
    if TRANSPOSED == 1u {
        return weight(a, i, k);
    }
    return weight(a, k, i);
}

fn sum(g: u32) -> vec4<acc> {
    let ours = select(vec2(p.oh, p.ow), vec2(p.h, p.w), TRANSPOSED == 1u);
    let theirs = select(vec2(p.h, p.w), vec2(p.oh, p.ow), TRANSPOSED == 1u);
    let at = pixel(g, ours.x, ours.y);
    let rows = span(vertical(), at.y);
    let columns = span(horizontal(), at.x);
    var v = vec4<acc>();
    for (var i = rows.first; i < rows.end; i++) {
        var line = vec4<acc>();
        for (var k = columns.first; k < columns.end; k++) {
            let u = unpack4(x[((at.n * theirs.x + i) * theirs.y + k) * groups(p.c) + at.q]);
            line += u * acc(share(horizontal(), at.x, k));
        }
        v += line * acc(share(vertical(), at.y, i));
    }
    return v;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g < p.groups {
        y[g] = pack4(tail(epilogue(g, sum(g)), g, p.c));
    }
}
