// The gradient of max_pool2d: each place sums what the windows got that it is the largest of. It looks for the largest
// again, which reads more and stores no indices.
#import axis
#import epilogue
#import grid
#import tail
#import winner

const DISJOINT: u32 = 0u; // whether no place is in two windows: then it is an invocation a window, not one a place

@group(0) @binding(0) var<storage, read> x: array<elem4>;        // image [n, h, w, c]
@group(0) @binding(1) var<storage, read> dy: array<elem4>;       // result [n, oh, ow, c]
@group(0) @binding(2) var<storage, read_write> dx: array<elem4>; // image [n, h, w, c]

fn store(g: u32, v: vec4<acc>) {
    dx[g] = pack4(tail(epilogue(g, v), g, p.c));
}

// What place g gets of all windows that it is in.
fn gather(g: u32) {
    let at = pixel(g, p.h, p.w);
    let rows = results(vertical(), at.y);
    let columns = results(horizontal(), at.x);
    var v = vec4<acc>();
    for (var i = rows.first; i < rows.end; i++) {
        for (var k = columns.first; k < columns.end; k++) {
            let best = winner(at.n, places(vertical(), i), places(horizontal(), k), at.q);
            let u = unpack4(dy[((at.n * p.oh + i) * p.ow + k) * groups(p.c) + at.q]);
            v += select(vec4<acc>(), u, best.at == vec4(g));
        }
    }
    store(g, v);
}

// The places of a window and behind it up to the next.
fn cell(a: Axis, i: u32) -> Span {
    let end = select((i + 1u) * a.stride - a.before, a.size, i + 1u == a.results);
    return Span(less_by(i * a.stride, a.before), end);
}

// What all places of a window get: it is the only one that they are in.
fn hand_out(g: u32) {
    let at = pixel(g, p.oh, p.ow);
    let best = winner(at.n, places(vertical(), at.y), places(horizontal(), at.x), at.q);
    let u = unpack4(dy[g]);
    let rows = cell(vertical(), at.y);
    let columns = cell(horizontal(), at.x);
    for (var i = rows.first; i < rows.end; i++) {
        for (var k = columns.first; k < columns.end; k++) {
            let to = ((at.n * p.h + i) * p.w + k) * groups(p.c) + at.q;
            store(to, select(vec4<acc>(), u, best.at == vec4(to)));
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g < p.groups {
        if DISJOINT == 1u {
            hand_out(g);
        } else {
            gather(g);
        }
    }
}
