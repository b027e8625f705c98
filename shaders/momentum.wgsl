// Gradient descent with momentum: m ← μm + g + λw; w ← w − ηm, or w ← w − η (g + λw + μm) in Nesterov's form.
#import update

@group(0) @binding(3) var<storage, read_write> moment: array<wide4>; // [groups]

struct Params {
    groups: u32,
    stream: u32,
    weight_decay: f32,
    momentum: f32,
    nesterov: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn prepare() {}

fn direction(i: u32, w: vec4<acc>, gradient_of_loss: vec4<acc>, decay: acc, random: vec4<u32>) -> vec4<acc> {
    let g = gradient_of_loss + decay * w;
    let m = acc(p.momentum) * unpack4_wide(moment[i]) + g;
    moment[i] = kept(m, random.yzwx);
    return select(m, g + acc(p.momentum) * m, p.nesterov != 0u);
}
