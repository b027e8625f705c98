// Counts what a tensor holds: zeros, Inf and NaN, the largest magnitude, and magnitudes by their exponents. Integers all of
// it, so the order of the additions does not matter. A lane counts in bytes of registers, since atomics for each value
// would take longer than the step that is looked at.
#import axis
#import grid

@group(0) @binding(0) var<storage, read> x: array<elem4>;                   // [rows, last]
@group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;  // [tensors · 36]

struct Params {
    groups: u32,
    last: u32,  // length of a row
    first: u32, // where this tensor's counts begin
}
@group(1) @binding(0) var<uniform> p: Params;

const BINS: u32 = 32u;      // bin b: 2^(2b - 40) ≤ |x| < 2^(2b - 38); the outer ones are open
const ZEROS: u32 = 32u;
const NOT_FINITE: u32 = 33u;
const LARGEST: u32 = 34u;   // as bits, which are ordered as magnitudes are
const GROUPS: u32 = 16u;    // a lane's: 64 values, which a byte can count, and those of a workgroup sixteen bits

// Bins two to a word: 4w and 4w + 2 in word 2w, 4w + 1 and 4w + 3 behind it.
const PAIRS: u32 = 16u;
var<workgroup> found: array<atomic<u32>, 19>; // the pairs, then zeros, what is not finite, the largest

// Four bytes, of the bins 4w to 4w + 3 for the w that `words` has, to which the one of this bin adds 1.
fn tally(bin: u32, counts: bool, words: vec4<u32>) -> vec4<u32> {
    let one = select(0u, 1u << (bin % 4u * 8u), counts);
    return select(vec4(0u), vec4(one), vec4(bin / 4u) == words);
}

fn tally4(bin: vec4<u32>, counts: vec4<bool>, words: vec4<u32>) -> vec4<u32> {
    return tally(bin.x, counts.x, words) + tally(bin.y, counts.y, words)
        + tally(bin.z, counts.z, words) + tally(bin.w, counts.w, words);
}

// Adds a lane's counts of the bins from 16 · half on to those of the workgroup.
fn share(bytes: vec4<u32>, half: u32) {
    for (var w = 0u; w < 4u; w++) {
        let even = bytes[w] & 0x00ff00ffu;
        let odd = (bytes[w] >> 8u) & 0x00ff00ffu;
        if even != 0u {
            atomicAdd(&found[8u * half + 2u * w], even);
        }
        if odd != 0u {
            atomicAdd(&found[8u * half + 2u * w + 1u], odd);
        }
    }
}

fn ones(v: vec4<bool>) -> u32 {
    let n = select(vec4(0u), vec4(1u), v);
    return (n.x + n.y) + (n.z + n.w);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let low = vec4(0u, 1u, 2u, 3u);
    var bytes_low = vec4(0u);
    var bytes_high = vec4(0u);
    var zeros = 0u;
    var not_finite = 0u;
    var largest = vec4(0u);
    for (var i = 0u; i < GROUPS; i++) {
        let g = (linear_id(workgroup) * GROUPS + i) * 64u + lane;
        if g < p.groups {
            let magnitude = bitcast<vec4<u32>>(vec4<f32>(unpack4(x[g]))) & vec4(0x7fffffffu);
            // What fills the last group of a row is no value.
            let there = unpadded(g, p.last);
            let zero = magnitude == vec4(0u);
            let finite = magnitude < vec4(0x7f800000u);
            let counts = there & finite & !zero;
            zeros += ones(there & zero);
            not_finite += ones(there & !finite);
            largest = max(largest, select(vec4(0u), magnitude, counts));
            // The exponent's bias is 127, the first bin starts at -40.
            let exponent = max(magnitude >> vec4(23u), vec4(87u)) - 87u;
            let bin = min(exponent / 2u, vec4(BINS - 1u));
            bytes_low += tally4(bin, counts, low);
            bytes_high += tally4(bin, counts, low + 4u);
        }
    }
    share(bytes_low, 0u);
    share(bytes_high, 1u);
    atomicAdd(&found[PAIRS], zeros);
    atomicAdd(&found[PAIRS + 1u], not_finite);
    atomicMax(&found[PAIRS + 2u], max(max(largest.x, largest.y), max(largest.z, largest.w)));
    workgroupBarrier();
    if lane < BINS {
        let pair = atomicLoad(&found[lane / 4u * 2u + lane % 2u]);
        let n = (pair >> (lane % 4u / 2u * 16u)) & 0xffffu;
        if n > 0u {
            atomicAdd(&counts[p.first + lane], n);
        }
    } else if lane < LARGEST {
        atomicAdd(&counts[p.first + lane], atomicLoad(&found[PAIRS + lane - ZEROS]));
    } else if lane == LARGEST {
        atomicMax(&counts[p.first + lane], atomicLoad(&found[PAIRS + 2u]));
    }
}
