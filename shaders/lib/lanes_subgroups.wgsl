// How invocations meet that share a row, in their subgroup, whatever its size: by shuffles, without a barrier; and if they
// are more than that, what the subgroups made in memory of the workgroup, with one barrier.
const LEAST: u32 = 1u; // no subgroup of the adapter has fewer invocations

// Of each subgroup.
var<workgroup> parts: array<array<vec4<acc>, THREADS / LEAST>, 2>;
// The half that is written next: a barrier stands between the readers of a half and those who write it again.
var<private> half_in_use: u32;
var<private> place: u32;
var<private> size: u32; // of this subgroup

fn meet(v: vec4<acc>, lanes: u32, largest: bool) -> vec4<acc> {
    var all = v;
    for (var apart = 1u; apart < lanes; apart *= 2u) {
        if apart < size {
            all = combine(all, vec4<acc>(subgroupShuffleXor(vec4<f32>(all), apart)), largest);
        }
    }
    if lanes > LEAST && lanes > size {
        let side = half_in_use;
        half_in_use = 1u - side;
        if place % size == 0u {
            parts[side][place / size] = all;
        }
        workgroupBarrier();
        let first = (place - place % lanes) / size;
        all = parts[side][first];
        for (var i = 1u; i < lanes / size; i++) {
            all = combine(all, parts[side][first + i], largest);
        }
    }
    return all;
}

// Neighbours are those of a subgroup: `local_invocation_index` need not follow them.
@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) subgroup_size: u32,
    @builtin(subgroup_invocation_id) invocation: u32,
) {
    size = subgroup_size;
    place = subgroup * subgroup_size + invocation;
    work(linear_id(workgroup), place);
}
