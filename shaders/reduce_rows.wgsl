// Sum or largest value over a run of axes that ends with the last: four results are four rows, which LANES invocations
// share. They meet once.
#import accumulate
#import epilogue
#import lanes
#import larger
#import tail

const MAX: u32 = 0u; // largest value instead of sum

@group(0) @binding(0) var<storage, read> x: array<wide4>;       // [rows, terms]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [groups]

struct Params {
    groups: u32,   // groups of results
    terms: u32,    // groups of a row
    last_in: u32,  // length of x's last axis
    last_out: u32, // length of y's last axis
    factor: f32,   // on the sum
}
@group(1) @binding(0) var<uniform> p: Params;

fn combine(u: vec4<acc>, v: vec4<acc>, largest: bool) -> vec4<acc> {
    if largest {
        return larger(u, v);
    }
    return joined(u, v);
}

// The values of one group of a row, as one; its padding is zero, which a largest value must not see.
fn across(row: u32, k: u32) -> acc {
    let v = unpack4_wide(x[row * p.terms + k]);
    if MAX == 1u {
        let w = select(vec4(v.x), v, unpadded(k, p.last_in));
        let pairs = larger(vec4(w.xy, w.xy), vec4(w.zw, w.zw));
        return larger(pairs, pairs.yxwz).x;
    }
    let pairs = running(vec4<acc>(v.xz + v.yw, vec2<acc>()));
    return running(vec4<acc>(pairs.x + pairs.y)).x;
}

// Term k of four rows.
fn term(row: vec4<u32>, k: u32) -> vec4<acc> {
    return vec4(across(row.x, k), across(row.y, k), across(row.z, k), across(row.w, k));
}

fn work(workgroup: u32, lane: u32) {
    let g = own_row(workgroup, lane);
    let part = lane % LANES;
    // Invocations past the end take the last results along, since all must meet.
    let rows = four_of(min(g, p.groups - 1u), p.last_out);
    var sum = Sum();
    if MAX == 1u {
        sum.part = term(rows, part);
    }
    for (var k = part; k < p.terms; k += LANES) {
        if MAX == 1u {
            sum.part = larger(sum.part, term(rows, k));
        } else {
            sum = added(sum, term(rows, k));
        }
    }
    let v = together(whole(sum), MAX == 1u);
    if part == 0u && g < p.groups {
        y[g] = pack4(tail(epilogue(g, v * acc(p.factor)), g, p.last_out));
    }
}
