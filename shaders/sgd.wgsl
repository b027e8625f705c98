// Gradient descent: w ← w − η (g + λw).
#import update

struct Params {
    groups: u32,
    weight_decay: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_id(workgroup) * 64u + lane;
    if i < p.groups && clock.apply != 0u {
        let w = unpack4_wide(weights[i]);
        apply(i, w, acc(clock.learning_rate) * (unscaled(i) + acc(p.weight_decay) * w));
    }
    count(lane);
}
