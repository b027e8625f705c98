// The gradient of normalised rows to their values: with d = dy · gain and h = (x − mean) · rstd, what is left of d without
// its parts along h and along ones, times rstd. Reads rows once if their invocations can hold them, and meets once.
#import across
#import axis
#import combine
#import epilogue
#import stretches
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

fn work(workgroup: u32, lane: u32) {
    let width = groups(p.last);
    let s = own_stretch(workgroup, lane, width);
    let of_row = unpack4_wide(statistics[s.row]);
    var held_h: Held;
    var held_d: Held;
    var along = vec4<acc>();
    var all = vec4<acc>();
    for (var i = 0u; i < summing_turns(width); i++) {
        let k = group_of(s, i);
        let in_row = min(k, s.end - 1u);
        let g = s.row * width + in_row;
        let h = (unpack4(x[g]) - of_row.x) * of_row.y;
        let d = select(vec4<acc>(), weighted(unpack4(dy[g]), in_row), vec4(k < s.end));
        if HELD > 0u {
            held_h[i] = h;
            held_d[i] = d;
        }
        along += d * h;
        all += d;
    }
    // Divided first, since f16 may hold neither the sum over a long row nor its length.
    let own = vec2(f32(across(along)), f32(across(all))) / f32(p.last);
    let means = sums_of_row(s, width, vec4(vec2<acc>(own), vec2<acc>())).xy;
    for (var i = 0u; i < writing_turns(width); i++) {
        let k = group_of(s, i);
        if s.live && k < s.end {
            let g = s.row * width + k;
            var h: vec4<acc>;
            var v: vec4<acc>;
            if HELD > 0u {
                h = held_h[i];
                v = held_d[i];
            } else {
                h = (unpack4(x[g]) - of_row.x) * of_row.y;
                v = weighted(unpack4(dy[g]), k);
            }
            v -= h * means.x;
            if CENTRED == 1u {
                v -= means.y;
            }
            dx[g] = pack4(tail_along(epilogue(g, v * of_row.y), k, p.last));
        }
    }
}
