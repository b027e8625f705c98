// What softmax and cross-entropy need to know of a row before they look at its values. The file that imports this
// has `fn load(row: u32, k: u32) -> vec4<acc>`, group k of a row with whatever its padding holds.
#import across
#import lanes
#import math

struct Exponentials {
    largest: acc,
    sum: acc,   // of exp(x - largest): from 1 to the row's length
    total: acc, // of x - largest
}

// Which values of group k belong to a row of this length.
fn inside(k: u32, length: u32) -> vec4<bool> {
    return vec4(4u * k) + vec4(0u, 1u, 2u, 3u) < vec4(length);
}

// Of a row of `length` values; `part` is the invocation's number among the row's LANES.
fn exponentials(row: u32, length: u32, part: u32, lane: u32) -> Exponentials {
    let groups = (length + 3u) / 4u;
    var m = load(row, 0u).x;
    for (var k = part; k < groups; k += LANES) {
        let v = load(row, k);
        let w = select(vec4(v.x), v, inside(k, length));
        m = max(m, max(max(w.x, w.y), max(w.z, w.w)));
    }
    m = together(vec2(m), lane, LANES, true).x;
    var sums = vec4<acc>();
    var totals = vec4<acc>();
    for (var k = part; k < groups; k += LANES) {
        let z = load(row, k) - m;
        let own = inside(k, length);
        sums += select(vec4<acc>(), vec4<acc>(exp4(vec4<f32>(z))), own);
        totals += select(vec4<acc>(), z, own);
    }
    let s = together(vec2(across(sums), across(totals)), lane, LANES, false);
    return Exponentials(m, s.x, s.y);
}

fn log1(x: acc) -> acc {
    return acc(log4(vec4(f32(x))).x);
}
