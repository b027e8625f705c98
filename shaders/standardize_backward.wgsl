// What the gradient of y = (x − mean) · rstd · gain + bias sums over a run of axes: dy · (x − mean), and dy. Or the same
// over all rows, dy · (x − mean) · rstd, where each row has a mean and rstd of its own.
#import across
#import span
#import sums
#import tail

const BY_TERM: u32 = 0u; // whether each term of columns, a row, has its mean and rstd

@group(0) @binding(0) var<storage, read> x: array<elem4>;          // over rows [rows, terms], else [_, terms, inner]
@group(0) @binding(1) var<storage, read> dy: array<elem4>;         // as x
@group(0) @binding(2) var<storage, read> mean: array<wide4>;       // [groups], by term [terms] of (mean, rstd, _, _)
@group(0) @binding(3) var<storage, read_write> sums: array<wide4>; // [2, splits, groups]

fn with_term(sums: Sums, at: u32, m: vec4<acc>, f: acc) -> Sums {
    let d = unpack4(dy[at]);
    return Sums(sums.first + d * ((unpack4(x[at]) - m) * f), sums.second + d);
}

// An invocation's terms of the row that is result i of its group.
fn of_row(s: Span, i: u32) -> vec2<acc> {
    let first = four_of(s.g, p.last_out)[i] * p.terms;
    let m = vec4(unpack4_wide(mean[s.g])[i]);
    var sums: Sums;
    for (var k = s.first; k < s.end; k += LANES) {
        sums = with_term(sums, first + k, m, acc(1.0));
    }
    return vec2(across(sums.first), across(sums.second));
}

// An invocation's terms of a group of columns.
fn of_columns(s: Span) -> Sums {
    var m: vec4<acc>;
    var f = acc(1.0);
    if BY_TERM == 0u {
        m = unpack4_wide(mean[s.g]);
    }
    var sums: Sums;
    for (var k = s.first; k < s.end; k += LANES) {
        if BY_TERM == 1u {
            let of_row = unpack4_wide(mean[k]);
            m = vec4(of_row.x);
            f = of_row.y;
        }
        sums = with_term(sums, s.start + k * p.inner, m, f);
    }
    return sums;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let s = span(workgroup, lane);
    var all: Sums;
    if s.live && OVER_ROWS == 1u {
        let a = of_row(s, 0u);
        let b = of_row(s, 1u);
        let c = of_row(s, 2u);
        let d = of_row(s, 3u);
        all = Sums(vec4(a.x, b.x, c.x, d.x), vec4(a.y, b.y, c.y, d.y));
    } else if s.live {
        all = of_columns(s);
    }
    all = both(all, lane);
    if s.part == 0u && s.live {
        sums[s.at] = pack4_wide(tail(all.first, s.g, p.last_out));
        sums[p.splits * p.groups + s.at] = pack4_wide(tail(all.second, s.g, p.last_out));
    }
}
