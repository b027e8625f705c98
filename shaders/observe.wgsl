// Counts what a tensor holds: zeros, Inf and NaN, the largest magnitude, and magnitudes by their exponents. Integers all of
// it, so the order of the additions does not matter.
#import grid

@group(0) @binding(0) var<storage, read> x: array<elem4>;                   // [rows · row]
@group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;  // [tensors · 36]

struct Params {
    groups: u32,
    row: u32,  // groups of a row
    last: u32, // values in a row's last group
    first: u32, // where this tensor's counts begin
}
@group(1) @binding(0) var<uniform> p: Params;

const BINS: u32 = 32u;      // bin b: 2^(2b - 40) ≤ |x| < 2^(2b - 38); the outer ones are open
const ZEROS: u32 = 32u;
const NOT_FINITE: u32 = 33u;
const LARGEST: u32 = 34u;   // as bits, which are ordered as magnitudes are
const WORDS: u32 = 36u;
const GROUPS: u32 = 4u;     // a lane's

var<workgroup> found: array<atomic<u32>, WORDS>;

fn look_at(v: f32) {
    let magnitude = bitcast<u32>(v) & 0x7fffffffu;
    if magnitude == 0u {
        atomicAdd(&found[ZEROS], 1u);
    } else if magnitude >= 0x7f800000u {
        atomicAdd(&found[NOT_FINITE], 1u);
    } else {
        // The exponent's bias is 127, the first bin starts at -40.
        let exponent = max(magnitude >> 23u, 87u) - 87u;
        atomicAdd(&found[min(exponent / 2u, BINS - 1u)], 1u);
        atomicMax(&found[LARGEST], magnitude);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = 0u; i < GROUPS; i++) {
        let g = (linear_id(workgroup) * GROUPS + i) * 64u + lane;
        if g < p.groups {
            let v = vec4<f32>(unpack4(x[g]));
            // What fills the last group of a row is no value.
            let values = select(4u, p.last, g % p.row == p.row - 1u);
            for (var k = 0u; k < values; k++) {
                look_at(v[k]);
            }
        }
    }
    workgroupBarrier();
    if lane < WORDS {
        let n = atomicLoad(&found[lane]);
        if lane == LARGEST {
            atomicMax(&counts[p.first + lane], n);
        } else if n > 0u {
            atomicAdd(&counts[p.first + lane], n);
        }
    }
}
