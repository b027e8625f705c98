// The gradient of max_pool2d: each place sums what the windows got that it is the largest of. It looks for the largest
// again, which reads more and stores no indices.
#import grid
#import tail
#import winner

@group(0) @binding(0) var<storage, read> x: array<elem4>;        // image [n, h, w, c]
@group(0) @binding(1) var<storage, read> dy: array<elem4>;       // result [n, oh, ow, c]
@group(0) @binding(2) var<storage, read_write> dx: array<elem4>; // image [n, h, w, c]

fn epilogue(g: u32, v: vec4<acc>) -> vec4<acc> {
    //: epilogue
    return v;
    //: end
}

fn sum(g: u32) -> vec4<acc> {
    let at = pixel(g, p.h, p.w);
    let rows = results(vertical(), at.y);
    let columns = results(horizontal(), at.x);
    var v = vec4<acc>();
    for (var i = rows.first; i < rows.end; i++) {
        for (var k = columns.first; k < columns.end; k++) {
            let best = winner(at.n, places(vertical(), i), places(horizontal(), k), at.q);
            let u = unpack4(dy[((at.n * p.oh + i) * p.ow + k) * channel_groups() + at.q]);
            v += select(vec4<acc>(), u, best.at == vec4(g));
        }
    }
    return v;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * 64u + lane;
    if g < p.groups {
        dx[g] = pack4(tail(epilogue(g, sum(g)), g, p.c));
    }
}
