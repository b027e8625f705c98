// What every optimizer shares: its bindings, the step's decision, how new values are rounded and stored, the count of
// what rounding loses. An optimizer's file declares its moments, its uniforms (`groups`, `stream`, `weight_decay`
// first) and
//   direction(i, w, g, decay, random): what is taken from the weights of group i, before the learning rate, given weights,
//   gradient and weight decay; `random` is for keeping moments.
#import clock
#import grid
#import half
#import random

// Whether changes that rounding loses can be counted in flags; the clock says when they are.
const COUNT: u32 = 0u;
// How what is stored in 16 bits is rounded: 1 to nearest, 2 stochastically, 3 with compensation. 0: it is f32.
const ROUNDING: u32 = 0u;
// What compensation is stored times, so as not to be subnormal: some devices flush such numbers.
const LIFT: f32 = 1024.0;

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read_write> flags: array<atomic<u32>>; // [8]: 1, 2 lost; 3, 4 all (low, high)
@group(0) @binding(2) var<storage, read_write> weights: array<wide4>;     // [groups]
@group(0) @binding(3) var<storage, read> gradient: array<elem4>;          // [groups], times the loss scale

var<workgroup> lost: atomic<u32>;
var<workgroup> moved: atomic<u32>;

// A moment as it is stored.
fn kept(v: vec4<acc>, random: vec4<u32>) -> wide4 {
    if ROUNDING == 2u {
        return pack4_wide(vec4<acc>(round_stochastic4(vec4<f32>(v), random)));
    }
    return pack4_wide(v);
}

// √(a² + b²), where the squares could be too small or too large for the type.
fn hypot4(a: vec4<acc>, b: vec4<acc>) -> vec4<acc> {
    let large = max(abs(a), abs(b));
    let ratio = min(abs(a), abs(b)) / select(large, vec4<acc>(1.0), large == vec4<acc>());
    return large * sqrt(vec4<acc>(1.0) + ratio * ratio);
}

// Factors of learning rate and weight decay for group i.
fn factors_of(i: u32) -> vec2<f32> {
    //: factors
    return vec2<f32>(1.0);
    //: end
}

// By bits: compilers may fold w - c == w to c == 0.
fn same(a: vec4<f32>, b: vec4<f32>) -> vec4<bool> {
    if ROUNDING == 1u {
        return half_bits4(a) == half_bits4(b);
    }
    return bitcast<vec4<u32>>(a) == bitcast<vec4<u32>>(b);
}

fn ones(v: vec4<bool>) -> u32 {
    let n = select(vec4(0u), vec4(1u), v);
    return n.x + n.y + n.z + n.w;
}

// w ← w − change
fn apply(g: u32, w: vec4<acc>, change: vec4<acc>, random: vec4<u32>) {
    var exact = vec4<f32>(w) - vec4<f32>(change);
    //: add missing
    //: end
    var rounded = exact;
    if ROUNDING == 2u {
        rounded = round_stochastic4(exact, random);
    } else if ROUNDING == 3u {
        rounded = half4(exact);
    }
    let stored = pack4_wide(vec4<acc>(rounded));
    weights[g] = stored;
    //: copy
    //: end
    if COUNT == 1u && clock.counting != 0u {
        let real = (bitcast<vec4<u32>>(vec4<f32>(change)) & vec4(0x7fffffffu)) != vec4(0u);
        atomicAdd(&moved, ones(real));
        // What is rounded stochastically or compensated arrives later, unless f32 has lost it already.
        atomicAdd(&lost, ones(real & same(exact, vec4<f32>(w))));
    }
}

// A counter of two words: integers, so the order of the additions does not matter.
fn add(at: u32, n: u32) {
    let before = atomicAdd(&flags[at], n);
    if before + n < before {
        atomicAdd(&flags[at + 1u], 1u);
    }
}

fn count(lane: u32) {
    if COUNT == 1u && clock.counting != 0u {
        workgroupBarrier();
        if lane == 0u {
            add(1u, atomicLoad(&lost));
            add(3u, atomicLoad(&moved));
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_id(workgroup) * 64u + lane;
    if i < p.groups && clock.apply != 0u {
        let w = unpack4_wide(weights[i]);
        let g = unpack4(gradient[i]) * acc(clock.unscale);
        let factors = factors_of(i);
        var random = vec4<u32>();
        if ROUNDING == 2u {
            random = random4(clock.seed, p.stream, clock.step, i);
        }
        let step = direction(i, w, g, acc(p.weight_decay * factors.y), random);
        apply(i, w, acc(clock.learning_rate * factors.x) * step, random);
    }
    count(lane);
}
