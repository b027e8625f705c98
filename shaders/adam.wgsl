// Adam (arXiv 1412.6980), AdamW when decoupled (arXiv 1711.05101).
#import math
#import update

// What is kept of the second moment: 0 √v; 1 v, as in the textbook; 2 v, with ε as a floor under it.
const FORM: u32 = 0u;

@group(0) @binding(3) var<storage, read_write> first: array<wide4>;  // [groups]: m
@group(0) @binding(4) var<storage, read_write> second: array<wide4>; // [groups]: √v or v

struct Params {
    groups: u32,
    stream: u32,
    weight_decay: f32,
    decoupled: u32,
    keep1: f32, // β₁
    take1: f32, // 1 − β₁
    keep2: f32, // β₂ and 1 − β₂, or their roots where √v is kept
    take2: f32,
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

// v as the textbook's form has it in 16 bits: what is stored, not what registers hold.
fn as_stored(v: vec4<acc>) -> vec4<acc> {
    if ROUNDING != 0u {
        return vec4<acc>(half4(vec4<f32>(v)));
    }
    return v;
}

// 1 / (1 − β₁ᵗ) and 1 / (1 − β₂ᵗ), or its root where √v is kept: one division for all weights.
var<private> unbias: vec2<acc>;

fn prepare() {
    let t = f32(clock.updates);
    var biased = vec2(one_minus_exp(t * p.ln_beta1), one_minus_exp(t * p.ln_beta2));
    if FORM == 0u {
        biased.y = sqrt(biased.y);
    }
    unbias = vec2<acc>(1.0 / biased);
}

fn direction(i: u32, w: vec4<acc>, gradient_of_loss: vec4<acc>, decay: acc, random: vec4<u32>) -> vec4<acc> {
    let decoupled = p.decoupled != 0u;
    let g = gradient_of_loss + select(decay * w, vec4<acc>(), decoupled);
    let m = acc(p.keep1) * unpack4_wide(first[i]) + acc(p.take1) * g;
    first[i] = kept(m, random.yzwx);

    let before = unpack4_wide(second[i]);
    var divisor: vec4<acc>;
    if FORM == 0u {
        let root = hypot4(acc(p.keep2) * before, acc(p.take2) * g);
        second[i] = kept(root, random.zwxy);
        divisor = root * unbias.y + acc(p.epsilon);
    } else {
        let exact = acc(p.keep2) * before + acc(p.take2) * g * g;
        let v = as_stored(exact);
        // The textbook's is stored to nearest, as others do it, to show what that does.
        if FORM == 2u {
            second[i] = kept(exact, random.zwxy);
        } else {
            second[i] = pack4_wide(v);
        }
        divisor = select(sqrt(v * unbias.y) + acc(p.epsilon), sqrt(max(v * unbias.y, vec4(acc(p.epsilon)))), FORM == 2u);
    }
    // Where ε is 0, 0 / 0 would be NaN, also in the padding, which must stay zero.
    let step = select(m * unbias.x / divisor, vec4<acc>(), m == vec4<acc>());
    return step + select(vec4<acc>(), decay * w, decoupled);
}
