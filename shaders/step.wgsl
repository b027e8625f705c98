// Settles a step between the backward pass and the update: keeps the loss for the host, decides whether the update
// is applied and how far it goes, moves the loss scale. One invocation; where gradients are clipped by their norm, as
// many as add up the parts of its square.
#import clock

const RUNS: u32 = 1u;    // runs whose gradients make one update
const THREADS: u32 = 1u; // invocations

const LEAST_SCALE: f32 = 0x1p-14; // what overflows with this one does so with any

@group(0) @binding(0) var<storage, read_write> clock: Clock;
@group(0) @binding(1) var<storage, read_write> flags: array<u32>;   // [4]: overflow, and whether a loss of earlier runs was not finite
@group(0) @binding(2) var<storage, read_write> scale: array<elem4>; // []: the loss scale
@group(0) @binding(3) var<storage, read> loss: array<elem4>;        // []
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;  // [1024], a ring
@group(0) @binding(5) var<storage, read> rates: array<f32>;         // the learning rate of each step; the last one stays

var<workgroup> parts: array<f32, THREADS>;

// The sum of the squares of all gradients, for the first invocation; 0 where nobody asked.
fn sum_of_squares(lane: u32) -> f32 {
    var own = 0.0;
    //: norm
    //: end
    if THREADS == 1u {
        return own;
    }
    parts[lane] = own;
    workgroupBarrier();
    var all = parts[0];
    for (var i = 1u; i < THREADS; i++) {
        all += parts[i];
    }
    return all;
}

fn settle(squares: f32) {
    let at = clock.step % arrayLength(&losses);
    if clock.halted == 0u {
        losses[at] = f32(unpack4(loss[0]).x);
    }
    // By bits, and read back from memory: compilers may assume that there are no infinities.
    var finite = (bitcast<u32>(losses[at]) & 0x7f800000u) != 0x7f800000u;
    let overflow = flags[0] != 0u;
    if !finite && clock.stop != 0u && clock.halted == 0u {
        clock.halted = clock.step + 1u;
    }
    if RUNS > 1u {
        // One run of those that make an update is enough to spoil it.
        if (clock.step + 1u) % RUNS != 0u {
            clock.apply = 0u;
            clock.follows = u32(finite && !overflow && clock.halted == 0u);
            flags[1] |= u32(!finite);
            clock.step++;
            return;
        }
        finite = finite && flags[1] == 0u;
        flags[1] = 0u;
    }
    flags[0] = 0u;

    let s = f32(unpack4(scale[0]).x);
    clock.unscale = 1.0 / s;
    if clock.scheduled != 0u {
        clock.learning_rate = rates[min(clock.step / RUNS, arrayLength(&rates) - 1u)];
    }
    // Clipping by the norm is a smaller factor on the gradients.
    clock.norm = sqrt(squares) / s;
    if clock.norm > clock.clip && clock.clip > 0.0 {
        clock.unscale *= clock.clip / clock.norm;
    }
    let bounded = (bitcast<u32>(clock.norm) & 0x7f800000u) != 0x7f800000u;
    let apply = finite && bounded && !overflow && clock.halted == 0u;
    clock.apply = u32(apply);
    clock.follows = clock.apply;
    clock.step++;
    if apply {
        clock.updates++;
        clock.clean++;
    } else if clock.halted == 0u {
        clock.skipped++;
    }
    if clock.dynamic != 0u && clock.halted == 0u {
        if !apply {
            clock.clean = 0u;
            scale[0] = pack4(vec4(acc(max(s * clock.backoff, LEAST_SCALE)), acc(), acc(), acc()));
        } else if clock.clean >= clock.interval {
            clock.clean = 0u;
            // It stays where the next would be too large for its type.
            let next = s * clock.growth;
            scale[0] = pack4(vec4(acc(select(s, next, next < min(1.0e30, -f32(LOWEST)))), acc(), acc(), acc()));
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) lane: u32) {
    let squares = sum_of_squares(lane);
    if lane == 0u {
        settle(squares);
    }
}
