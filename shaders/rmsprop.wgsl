// RMSProp: v ← αv + (1 − α)g², w ← w − η g / (√v + ε). The moment is stored as its square root.
#import update

@group(0) @binding(4) var<storage, read_write> second_root: array<wide4>; // [groups]: √v

struct Params {
    groups: u32,
    weight_decay: f32,
    alpha: f32,
    rest: f32, // 1 − α
    epsilon: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn direction(i: u32, w: vec4<acc>, gradient_of_loss: vec4<acc>) -> vec4<acc> {
    let g = gradient_of_loss + acc(p.weight_decay) * w;
    let root = unpack4_wide(second_root[i]);
    let v_root = sqrt(acc(p.alpha) * root * root + acc(p.rest) * g * g);
    second_root[i] = pack4_wide(v_root);
    // Where ε is 0, 0 / 0 would be NaN, also in the padding, which must stay zero.
    return select(g / (v_root + acc(p.epsilon)), vec4<acc>(), g == vec4<acc>());
}
