// Mean and variance over a run of axes, by Welford's recurrence in each invocation and in pairs across them.
#import gathered
#import span
#import tail

@group(0) @binding(0) var<storage, read> x: array<elem4>;              // over rows [rows, terms], else [_, terms, inner]
@group(0) @binding(1) var<storage, read_write> variance: array<wide4>; // [splits, groups]
@group(0) @binding(2) var<storage, read_write> mean: array<wide4>;     // [splits, groups]

// An invocation's terms of a row; all four members are the same.
fn of_row(row: u32, s: Span) -> Part {
    var q: Part;
    for (var k = s.first; k < s.end; k += LANES) {
        q = with_value(q, unpack4(x[row * p.terms + k]), unpadded(k, p.last_in));
    }
    return as_one(q);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let s = span(workgroup, lane);
    var all: Part;
    if s.live && OVER_ROWS == 1u {
        let rows = four_of(s.g, p.last_out);
        for (var i = 0u; i <= rows.w - rows.x; i++) {
            let q = of_row(rows.x + i, s);
            let here = vec4(i) == vec4(0u, 1u, 2u, 3u);
            all.n = select(all.n, q.n, here);
            all.mean = select(all.mean, q.mean, here);
            all.variance = select(all.variance, q.variance, here);
        }
    } else if s.live {
        for (var k = s.first; k < s.end; k += LANES) {
            all = with_value(all, unpack4(x[s.start + k * p.inner]), vec4(true));
        }
    }
    all = gathered(all, lane);
    if s.part == 0u && s.live {
        variance[s.at] = pack4_wide(tail(all.variance, s.g, p.last_out));
        mean[s.at] = pack4_wide(tail(all.mean, s.g, p.last_out));
    }
}
