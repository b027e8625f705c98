// Adam (arXiv 1412.6980), AdamW when decoupled (arXiv 1711.05101). The second moment is stored as its square root.
#import math
#import update

@group(0) @binding(4) var<storage, read_write> first: array<wide4>;       // [groups]: m
@group(0) @binding(5) var<storage, read_write> second_root: array<wide4>; // [groups]: √v

struct Params {
    groups: u32,
    weight_decay: f32,
    decoupled: u32,
    beta1: f32,
    beta2: f32,
    rest1: f32, // 1 − β₁
    rest2: f32,
    ln_beta1: f32,
    ln_beta2: f32,
    epsilon: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

// 1 − eˣ for x ≤ 0: by its series where the difference would cancel.
fn one_minus_exp(x: f32) -> f32 {
    let series = -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0)))));
    return select(1.0 - exp4(vec4(x)).x, series, x > -0.125);
}

fn direction(i: u32, w: vec4<acc>, gradient_of_loss: vec4<acc>) -> vec4<acc> {
    let decay = acc(p.weight_decay) * w;
    let decoupled = p.decoupled != 0u;
    let g = gradient_of_loss + select(decay, vec4<acc>(), decoupled);
    let root = unpack4_wide(second_root[i]);
    let m = acc(p.beta1) * unpack4_wide(first[i]) + acc(p.rest1) * g;
    let v = acc(p.beta2) * root * root + acc(p.rest2) * g * g;
    first[i] = pack4_wide(m);
    second_root[i] = pack4_wide(sqrt(v));

    let t = f32(clock.updates);
    let m_hat = m / acc(one_minus_exp(t * p.ln_beta1));
    let v_hat = v / acc(one_minus_exp(t * p.ln_beta2));
    // Where ε is 0, 0 / 0 would be NaN, also in the padding, which must stay zero.
    let step = select(m_hat / (sqrt(v_hat) + acc(p.epsilon)), vec4<acc>(), m_hat == vec4<acc>());
    return step + select(vec4<acc>(), decay, decoupled);
}
