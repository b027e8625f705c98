// The gradient of normalised rows to their values: with d = dy · gain and h = (x − mean) · rstd, what is left of d without
// its parts along h and along ones, times rstd. LANES neighbours share a row.
#import across
#import epilogue
#import grid
#import lanes
#import tail

const CENTRED: u32 = 1u; // whether a mean was taken off

@group(0) @binding(0) var<storage, read> x: array<elem4>;          // [rows, last]
@group(0) @binding(1) var<storage, read> dy: array<elem4>;         // [rows, last]
@group(0) @binding(2) var<storage, read> statistics: array<wide4>; // [rows] of (mean, rstd, _, _)
@group(0) @binding(3) var<storage, read_write> dx: array<elem4>;   // [rows, last]

struct Params {
    rows: u32,
    last: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn weighted(d: vec4<acc>, k: u32) -> vec4<acc> {
    //: gain
    return d;
    //: end
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_id(workgroup) * (64u / LANES) + lane / LANES;
    let part = lane % LANES;
    let groups = (p.last + 3u) / 4u;
    // Invocations past the end take the last row along, since all must meet at the barriers.
    let at = min(row, p.rows - 1u);
    let s = unpack4_wide(statistics[at]);
    var sums: vec2<acc>;
    for (var k = part; k < groups; k += LANES) {
        let g = at * groups + k;
        let d = weighted(unpack4(dy[g]), k);
        sums += vec2(across(d * ((unpack4(x[g]) - s.x) * s.y)), across(d));
    }
    let means = together(sums, lane, LANES, false) / acc(p.last);
    if row >= p.rows {
        return;
    }
    for (var k = part; k < groups; k += LANES) {
        let g = at * groups + k;
        var v = weighted(unpack4(dy[g]), k) - (unpack4(x[g]) - s.x) * s.y * means.x;
        if CENTRED == 1u {
            v -= means.y;
        }
        dx[g] = pack4(tail(epilogue(g, v * s.y), g, p.last));
    }
}
