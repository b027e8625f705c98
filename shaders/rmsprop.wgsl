// RMSProp: v ← αv + (1 − α)g², w ← w − η g / (√v + ε). The moment is stored as its square root.
#import update

@group(0) @binding(3) var<storage, read_write> second_root: array<wide4>; // [groups]: √v

struct Params {
    groups: u32,
    stream: u32,
    weight_decay: f32,
    keep: f32, // √α
    take: f32, // √(1 − α)
    epsilon: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn prepare() {}

fn direction(i: u32, w: vec4<acc>, gradient_of_loss: vec4<acc>, decay: acc, random: vec4<u32>) -> vec4<acc> {
    let g = gradient_of_loss + decay * w;
    let root = hypot4(acc(p.keep) * unpack4_wide(second_root[i]), acc(p.take) * g);
    second_root[i] = kept(root, random.yzwx);
    // Where ε is 0, 0 / 0 would be NaN, also in the padding, which must stay zero.
    return select(g / (root + acc(p.epsilon)), vec4<acc>(), g == vec4<acc>());
}
