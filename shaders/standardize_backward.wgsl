// What the gradient of y = (x − mean) · rstd · gain + bias sums over a run of axes: dy · (x − mean), and dy.
#import labels
#import parts
#import span
#import tail

const BY_TERM: u32 = 0u;  // whether mean and factor belong to the terms of columns; the factor is on the first sum
const WEIGHTED: u32 = 0u; // whether the factor belongs to the values of a row, and is on both sums

@group(0) @binding(0) var<storage, read> x: array<elem4>;             // over rows [rows, terms], else [_, terms, inner]
@group(0) @binding(1) var<storage, read> dy: array<elem4>;            // as x
@group(0) @binding(2) var<storage, read> mean: array<wide4>;          // [groups], by term [terms / lines]
@group(0) @binding(3) var<storage, read> factor: array<wide4>;        // weighted [last_in], by term as mean, else unused
@group(0) @binding(4) var<storage, read_write> of_rstd: array<wide4>; // [splits, groups]
@group(0) @binding(5) var<storage, read_write> of_bias: array<wide4>; // [splits, groups]

struct Params {
    groups: u32,    // groups of results
    terms: u32,     // groups of x that one result is made of
    inner: u32,     // groups of x between two terms of a column
    last_in: u32,   // length of x's last axis
    last_out: u32,  // length of the results' last axis
    splits: u32,    // parts in which the terms are taken
    chunk: u32,     // terms of a part
    lines: u32,     // terms that have one mean in common, by term
    last_mean: u32, // length of the mean's last axis, by term
}
@group(1) @binding(0) var<uniform> p: Params;

struct Sums {
    of_rstd: vec4<acc>,
    of_bias: vec4<acc>,
}

fn combine(u: vec4<acc>, v: vec4<acc>) -> vec4<acc> {
    return u + v;
}

fn across(v: vec4<acc>) -> acc {
    return (v.x + v.y) + (v.z + v.w);
}

// An invocation's terms of the row that is result i of its group.
fn of_row(s: Span, i: u32) -> vec2<acc> {
    let first = row_of(s.g, i) * p.terms;
    let m = unpack4_wide(mean[s.g])[i];
    var sums: Sums;
    for (var k = s.first; k < s.end; k += LANES) {
        var d = unpack4(dy[first + k]);
        if WEIGHTED == 1u {
            d *= unpack4_wide(factor[k % ((p.last_in + 3u) / 4u)]);
        }
        sums.of_rstd += d * (unpack4(x[first + k]) - m);
        sums.of_bias += d;
    }
    return vec2(across(sums.of_rstd), across(sums.of_bias));
}

// An invocation's terms of a group of columns.
fn of_columns(s: Span) -> Sums {
    var m: vec4<acc>;
    if BY_TERM == 0u {
        m = unpack4_wide(mean[s.g]);
    }
    var sums: Sums;
    for (var k = s.first; k < s.end; k += LANES) {
        let at = column(s.g, k);
        let d = unpack4(dy[at]);
        if BY_TERM == 1u {
            let place = label_place(k / p.lines, p.last_mean);
            let f = unpack4_wide(factor[place / 4u])[place % 4u];
            sums.of_rstd += d * ((unpack4(x[at]) - unpack4_wide(mean[place / 4u])[place % 4u]) * f);
        } else {
            sums.of_rstd += d * (unpack4(x[at]) - m);
        }
        sums.of_bias += d;
    }
    return sums;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let s = span(workgroup, lane);
    var sums: Sums;
    if s.live && OVER_ROWS == 1u {
        let a = of_row(s, 0u);
        let b = of_row(s, 1u);
        let c = of_row(s, 2u);
        let d = of_row(s, 3u);
        sums = Sums(vec4(a.x, b.x, c.x, d.x), vec4(a.y, b.y, c.y, d.y));
    } else if s.live {
        sums = of_columns(s);
    }
    let first = combined(sums.of_rstd, lane);
    workgroupBarrier(); // the parts of this were read
    let second = combined(sums.of_bias, lane);
    if s.part == 0u && s.live {
        of_rstd[s.at] = pack4_wide(tail(first, s.g, p.last_out));
        of_bias[s.at] = pack4_wide(tail(second, s.g, p.last_out));
    }
}
