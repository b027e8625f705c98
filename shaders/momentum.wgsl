// Gradient descent with momentum: m ← μm + g + λw; w ← w − ηm, or w ← w − η (g + λw + μm) in Nesterov's form.
#import update

@group(0) @binding(4) var<storage, read_write> moment: array<wide4>; // [groups]

struct Params {
    groups: u32,
    weight_decay: f32,
    momentum: f32,
    nesterov: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_id(workgroup) * 64u + lane;
    if i < p.groups && clock.apply != 0u {
        let w = unpack4_wide(weights[i]);
        let g = unscaled(i) + acc(p.weight_decay) * w;
        let m = acc(p.momentum) * unpack4_wide(moment[i]) + g;
        moment[i] = pack4_wide(m);
        apply(i, w, acc(clock.learning_rate) * select(m, g + acc(p.momentum) * m, p.nesterov != 0u));
    }
    count(lane);
}
