// Gradient descent: w ← w − η (g + λw).
#import update

struct Params {
    groups: u32,
    stream: u32,
    weight_decay: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn prepare() {}

fn direction(i: u32, w: vec4<acc>, g: vec4<acc>, decay: acc, random: vec4<u32>) -> vec4<acc> {
    return g + decay * w;
}
