// What every optimizer shares: its bindings, the step's decision, the store, the count of what rounding loses. An
// optimizer's file declares its moments, its uniforms (`groups` first) and
//   direction(i, w, g): what is taken from the weights of group i, before the learning rate, given weights and gradient.
#import clock
#import grid
#import half

// Whether changes that rounding loses can be counted in flags; the clock says when they are.
const COUNT: u32 = 0u;
// Whether the weights that the optimizer works on are of 16 bits.
const HALVES: u32 = 0u;

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read_write> flags: array<atomic<u32>>; // [8]: 1, 2 lost; 3, 4 all (low, high)
@group(0) @binding(2) var<storage, read_write> weights: array<wide4>;     // [groups]
@group(0) @binding(3) var<storage, read> gradient: array<elem4>;          // [groups], times the loss scale

var<workgroup> lost: atomic<u32>;
var<workgroup> moved: atomic<u32>;

// What is stored of a value, as bits: compilers may fold w - c == w to c == 0, but not this.
fn bits(v: vec4<acc>) -> vec4<u32> {
    if HALVES == 1u {
        return half_bits4(vec4<f32>(v)) << vec4(16u);
    }
    return bitcast<vec4<u32>>(vec4<f32>(v));
}

fn ones(v: vec4<bool>) -> u32 {
    let n = select(vec4(0u), vec4(1u), v);
    return n.x + n.y + n.z + n.w;
}

// w ← w − change
fn apply(g: u32, w: vec4<acc>, change: vec4<acc>) {
    let stored = pack4_wide(w - change);
    weights[g] = stored;
    //: copy
    //: end
    if COUNT == 1u && clock.counting != 0u {
        let real = (bits(change) & vec4(0x7fffffffu)) != vec4(0u);
        atomicAdd(&moved, ones(real));
        atomicAdd(&lost, ones(real & (bits(w - change) == bits(w))));
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
        apply(i, w, acc(clock.learning_rate) * direction(i, w, g));
    }
    count(lane);
}
