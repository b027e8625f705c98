// Invocations that work on one row together: LANES neighbours in a workgroup of 64.
const LANES: u32 = 1u; // a power of two, at most 64

var<workgroup> parts: array<vec2<acc>, 64>;

// What `lanes` neighbours hold, as one that each of them gets: the sums, or the largest. Always in the same order, so
// that the same comes out each time. The whole workgroup calls this at once.
fn together(v: vec2<acc>, lane: u32, lanes: u32, largest: bool) -> vec2<acc> {
    if lanes == 1u {
        return v;
    }
    workgroupBarrier(); // the call before this one was read
    var all = v;
    parts[lane] = all;
    for (var half = lanes / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane % lanes < half {
            let other = parts[lane + half];
            all = select(all + other, max(all, other), largest);
            parts[lane] = all;
        }
    }
    workgroupBarrier();
    return parts[lane - lane % lanes];
}
