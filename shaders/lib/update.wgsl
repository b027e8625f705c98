// What every optimizer shares: its bindings, the step's decision, how new values are rounded and stored, the count of
// what rounding loses. An optimizer's file declares its moments, its uniforms (`groups`, `stream`, `weight_decay`
// first) and
//   prepare(): computes what is the same for all groups;
//   direction(i, w, g, decay, random): what is taken from the weights of group i, before the learning rate, given weights,
//   gradient and weight decay; `random` is for keeping moments.
#import clock
#import grid
#import half
#import random

// Whether what becomes of changes can be recorded; the clock says when it is.
const RECORD: u32 = 0u;
// How what is stored in 16 bits is rounded: 1 to nearest, 2 stochastically, 3 with compensation. 0: it is f32.
const ROUNDING: u32 = 0u;
// Whether registers are f16.
const NARROW: u32 = 0u;
// Groups that each invocation takes, side by side; 1 where changes are recorded.
const TURNS: u32 = 1u;
// What compensation is stored times, so as not to be subnormal: some devices flush such numbers.
const LIFT: f32 = 1024.0;

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read_write> weights: array<wide4>; // [groups]
@group(0) @binding(2) var<storage, read> gradient: array<elem4>;      // [groups], times the loss scale

// Of each invocation's group: ⟨applied, intended⟩, ⟨intended, intended⟩, changes lost, changes that count.
var<workgroup> records: array<vec4<f32>, 64>;

// A moment as it is stored.
fn kept(v: vec4<acc>, random: vec4<u32>) -> wide4 {
    //: kept
    return pack4_wide(v);
    //: end
}

// √(a² + b²), for a that is a root itself. Squares would be too small or too large for f16 registers, where a division helps.
// f32 registers hold squares of up to 1e19; where those of both vanish, below 1e-19, the larger stands for the root, so that
// nothing is divided by zero.
fn hypot4(a: vec4<acc>, b: vec4<acc>) -> vec4<acc> {
    let large = max(a, abs(b));
    if NARROW == 0u {
        return max(sqrt(a * a + b * b), large);
    }
    let ratio = min(a, abs(b)) / select(large, vec4<acc>(1.0), large == vec4<acc>());
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
    return bitcast<vec4<u32>>(a) == bitcast<vec4<u32>>(b);
}

fn ones(v: vec4<bool>) -> f32 {
    return dot(select(vec4<f32>(), vec4<f32>(1.0), v), vec4<f32>(1.0));
}

// w ← w − change
fn apply(g: u32, lane: u32, w: vec4<acc>, change: vec4<acc>, random: vec4<u32>) {
    let before = vec4<f32>(w);
    var exact = before - vec4<f32>(change);
    //: add missing
    //: end
    var for_good = ROUNDING == 1u; // whether what rounding takes is lost
    //: stored
    let rounded = exact;
    let stored = pack4_wide(vec4<acc>(rounded));
    //: end
    weights[g] = stored;
    //: copy
    //: end
    if RECORD == 1u && clock.recording != 0u {
        let intended = -vec4<f32>(change);
        // What f32 itself cannot add to the weight says nothing of 16 bit: momentum that dies away under a dead unit.
        let real = abs(intended) > 0x1p-25 * abs(before);
        // What is rounded stochastically or compensated arrives later, unless f32 has lost it already.
        let arrives = select(exact, rounded, for_good);
        let lost = real & same(arrives, before);
        records[lane] =
            vec4<f32>(dot(rounded - before, intended), dot(intended, intended), ones(lost), ones(real));
    }
}

// Adds the sums over each 32 groups, which belong to one weight, to those of earlier steps: always in the same order.
fn record(first: u32, lane: u32) {
    //: record
    //: end
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Before the loop, in which processors would load them again at each turn.
    let learning_rate = clock.learning_rate;
    let seed = clock.seed;
    let now = clock.step;
    let unscale = clock.unscale;
    let applies = clock.apply != 0u;
    prepare();
    for (var turn = 0u; turn < TURNS; turn++) {
        let i = invocation(workgroup, lane) * TURNS + turn;
        if i < p.groups && applies {
            let w = unpack4_wide(weights[i]);
            // In f32: one over a loss scale is subnormal in f16.
            let g = vec4<acc>(vec4<f32>(unpack4(gradient[i])) * unscale);
            let factors = factors_of(i);
            var random = vec4<u32>();
            if ROUNDING == 2u {
                random = random4(seed, p.stream, now, i);
            }
            let step = direction(i, w, g, acc(p.weight_decay * factors.y), random);
            apply(i, lane, w, acc(learning_rate * factors.x) * step, random);
        }
    }
    if RECORD == 1u {
        record(linear_id(workgroup) * 64u, lane);
    }
}
