// The largest value of each window, or what another tensor holds in its place.
#import epilogue
#import grid
#import tail
#import winner

@group(0) @binding(0) var<storage, read> x: array<elem4>;       // image [n, h, w, c]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // result [n, oh, ow, c]

fn pick(best: Winner) -> vec4<acc> {
    //: pick
    return best.value;
    //: end
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g < p.groups {
        let at = pixel(g, p.oh, p.ow);
        let best = winner(at.n, places(vertical(), at.y), places(horizontal(), at.x), at.q);
        y[g] = pack4(tail(epilogue(g, pick(best)), g, p.c));
    }
}
