// As lib/parts.wgsl, for the moments of lib/moments.wgsl.
#import moments

const LANES: u32 = 1u; // invocations that share a group of results: a power of two, at most 64

var<workgroup> parts: array<Part, 64>;

// The whole result, for the first of the invocations that share it.
fn gathered(own: Part, lane: u32) -> Part {
    var all = own;
    parts[lane] = all;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half * (64u / LANES) {
            all = joined(all, parts[lane + half * (64u / LANES)]);
            parts[lane] = all;
        }
    }
    return all;
}
