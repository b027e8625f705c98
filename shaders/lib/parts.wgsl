// LANES invocations of a workgroup share one result: those whose number leaves the same rest. Their parts are combined
// in a fixed order, so that the same comes out each time. The file that imports this says how: combine(u, v).
const THREADS: u32 = 64u; // invocations of a workgroup: a power of two
const LANES: u32 = 1u;    // a power of two, at most THREADS
const RESULTS: u32 = THREADS / LANES;

var<workgroup> parts: array<vec4<acc>, THREADS>;

// The whole result, for the first of the invocations that share it. The whole workgroup calls this at once.
fn combined(part: vec4<acc>, lane: u32) -> vec4<acc> {
    var v = part;
    if LANES > 1u {
        parts[lane] = v;
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if lane < half * RESULTS {
                v = combine(v, parts[lane + half * RESULTS]);
                parts[lane] = v;
            }
        }
    }
    return v;
}
