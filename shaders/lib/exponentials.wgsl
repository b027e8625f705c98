// What softmax and cross-entropy need to know of a row before they look at its values. The file that imports this has
//   load(row, k): group k of a row, with whatever its padding holds
//   HOLDS_EXPONENTIALS: whether an invocation holds exp(x - largest) afterwards, else x - largest
#import across
#import combine
#import lanes
#import math

struct Exponentials {
    largest: acc,
    sum: acc,   // of exp(x - largest): from 1 to the row's length
    total: acc, // of x - largest
}

fn exponential(z: vec4<acc>) -> vec4<acc> {
    return vec4<acc>(exp4(vec4<f32>(z)));
}

// Of a row of `length` values; `part` is the invocation's number among the row's LANES.
fn exponentials(row: u32, length: u32, part: u32, held: ptr<function, Held>) -> Exponentials {
    let groups = (length + 3u) / 4u;
    var m = vec4(load(row, part).x);
    for (var i = 0u; i < turns(groups); i++) {
        // Beyond the end the last group once more.
        let k = min(part + i * LANES, groups - 1u);
        let v = load(row, k);
        if HELD > 0u {
            (*held)[i] = v;
        }
        m = max(m, select(vec4(v.x), v, inside(k, length)));
    }
    let largest = together(vec4(max(max(m.x, m.y), max(m.z, m.w)), vec3<acc>()), true).x;
    var sums = vec4<acc>();
    var totals = vec4<acc>();
    for (var i = 0u; i < turns(groups); i++) {
        let k = part + i * LANES;
        var v: vec4<acc>;
        if HELD > 0u {
            v = (*held)[i];
        } else {
            v = load(row, min(k, groups - 1u));
        }
        let z = v - largest;
        let e = exponential(z);
        if HELD > 0u {
            (*held)[i] = select(z, e, HOLDS_EXPONENTIALS);
        }
        let own = inside(k, length);
        sums += select(vec4<acc>(), e, own);
        totals += select(vec4<acc>(), z, own);
    }
    let s = together(vec4(across(sums), across(totals), vec2<acc>()), false);
    return Exponentials(largest, s.x, s.y);
}

fn log1(x: acc) -> acc {
    return acc(log4(vec4(f32(x))).x);
}
