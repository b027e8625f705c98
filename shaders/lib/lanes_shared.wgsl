// How invocations meet that share a row, in memory of the workgroup: 16 neighbours each, then what these made. One barrier
// among 16, two among more.
var<workgroup> near: array<array<vec4<acc>, THREADS>, 2>;
var<workgroup> far: array<array<vec4<acc>, THREADS / 16u>, 2>;
// The half that is written next: a barrier stands between the readers of a half and those who write it again.
var<private> half_in_use: u32;
var<private> place: u32;

fn meet(v: vec4<acc>, lanes: u32, largest: bool) -> vec4<acc> {
    if lanes == 1u {
        return v;
    }
    let side = half_in_use;
    half_in_use = 1u - side;
    near[side][place] = v;
    workgroupBarrier();
    let n = min(lanes, 16u);
    let first = place - place % n;
    var all = near[side][first];
    for (var i = 1u; i < n; i++) {
        all = combine(all, near[side][first + i], largest);
    }
    if lanes <= 16u {
        return all;
    }
    if place % 16u == 0u {
        far[side][place / 16u] = all;
    }
    workgroupBarrier();
    let start = (place - place % lanes) / 16u;
    all = far[side][start];
    for (var i = 1u; i < lanes / 16u; i++) {
        all = combine(all, far[side][start + i], largest);
    }
    return all;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    place = lane;
    work(linear_id(workgroup), lane);
}
