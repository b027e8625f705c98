// 1 where the label is the class, else 0.
#import axis
#import grid
#import labels

@group(0) @binding(0) var<storage, read> labels: array<u32>;    // [_, last]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [_, last, classes]

struct Params {
    groups: u32,  // groups of y
    classes: u32,
    last: u32,    // length of the labels' last axis
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g < p.groups {
        let place = place_of(g, p.classes);
        let label = labels[label_place(place.line, p.last)];
        let is_label = (numbers(place.k) == vec4(label)) & inside(place.k, p.classes);
        y[g] = pack4(select(vec4<acc>(), vec4(acc(1.0)), is_label));
    }
}
