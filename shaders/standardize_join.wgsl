// The parts that `standardize_backward.wgsl` left of its sums, as one, and what they mean: the gradients of
// y = (x − mean) · rstd · gain + bias with rstd = 1 / √(variance + ε). That of x is dy · scale.
#import sums
#import tail

@group(0) @binding(0) var<storage, read> sums: array<wide4>;              // [2, splits, groups]
@group(0) @binding(1) var<storage, read> variance: array<wide4>;          // [groups]
@group(0) @binding(2) var<storage, read_write> scale: array<wide4>;       // [groups]
@group(0) @binding(3) var<storage, read_write> of_mean: array<wide4>;     // [groups]
@group(0) @binding(4) var<storage, read_write> of_variance: array<wide4>; // [groups]

struct Params {
    groups: u32,
    splits: u32,  // parts
    last: u32,    // length of the results' last axis
    gains: u32,   // groups of the gain
    epsilon: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn gain_of(g: u32) -> vec4<acc> {
    //: gain
    return vec4<acc>(1.0);
    //: end
}

fn store(g: u32, of_gain: vec4<acc>, of_bias: vec4<acc>) {
    //: store
    //: end
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * RESULTS + lane % RESULTS;
    let all = of_parts(g, lane);
    if lane < RESULTS && g < p.groups {
        let gain = gain_of(g);
        let rstd = inverseSqrt(unpack4_wide(variance[g]) + acc(p.epsilon));
        scale[g] = pack4_wide(tail(rstd * gain, g, p.last));
        of_mean[g] = pack4_wide(tail(-(all.second * (rstd * gain)), g, p.last));
        of_variance[g] = pack4_wide(tail(acc(-0.5) * (all.first * gain) * rstd * rstd * rstd, g, p.last));
        store(g, tail(all.first * rstd, g, p.last), tail(all.second, g, p.last));
    }
}
