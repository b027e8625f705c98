// What softmax and cross-entropy need to know of a row before they look at its values. The file that imports this has
//   load(row, k): group k of a row, with whatever its padding holds
//   HOLDS_EXPONENTIALS: whether an invocation holds exp(x - largest) afterwards, else x - largest
#import across
#import axis
#import combine
#import math
#import stretches

struct Exponentials {
    largest: acc,
    sum: acc,  // of exp(x - largest): from 1 to the row's length
    mean: acc, // of x - largest
}

// Of a row of `length` values, or in a first pass of a stretch of it, which is then left.
fn exponentials(s: Stretch, length: u32, held: ptr<function, Held>) -> Exponentials {
    let width = groups(length);
    var m: vec4<acc>;
    if PASS == 2u {
        m = vec4(left(s, width, min(s.part, stretches(width) - 1u)).x);
        for (var k = s.part; k < stretches(width); k += LANES) {
            m = max(m, vec4(left(s, width, k).x));
        }
    } else {
        m = vec4(load(s.row, min(group_of(s, 0u), s.end - 1u)).x);
    }
    for (var i = 0u; i < summing_turns(width); i++) {
        // Beyond the end the last group once more.
        let k = min(group_of(s, i), s.end - 1u);
        let v = load(s.row, k);
        if HELD > 0u {
            (*held)[i] = v;
        }
        m = max(m, select(vec4(v.x), v, inside(k, length)));
    }
    let largest = together(vec4(max(max(m.x, m.y), max(m.z, m.w)), vec3<acc>()), true).x;
    // A stretch of nothing but -inf has no exponentials; a row that has more than that still has a sum.
    let origin = select(largest, acc(), PASS == 1u && f32(largest) < -3.4e38);
    var sums = vec4<acc>();
    var totals = vec4<acc>();
    for (var i = 0u; i < summing_turns(width); i++) {
        let k = group_of(s, i);
        var v: vec4<acc>;
        if HELD > 0u {
            v = (*held)[i];
        } else {
            v = load(s.row, min(k, s.end - 1u));
        }
        let z = v - origin;
        let e = exp_acc(z);
        if HELD > 0u {
            (*held)[i] = select(z, e, HOLDS_EXPONENTIALS);
        }
        let own = within(s, k, length);
        sums += select(vec4<acc>(), e, own);
        totals += select(vec4<acc>(), z, own);
    }
    // f16 may not hold the total of a long row.
    var own = vec4(across(sums), acc(f32(across(totals)) / f32(length)), vec2<acc>());
    if PASS == 2u {
        for (var k = s.part; k < stretches(width); k += LANES) {
            let l = left(s, width, k);
            let apart = l.x - largest;
            let mean = f32(l.z) + length_of(k, length) / f32(length) * f32(apart);
            own += vec4(l.y * exp_acc(vec4(apart)).x, acc(mean), vec2<acc>());
        }
    }
    let of_row = together(own, false);
    leave(s, vec4(largest, of_row.xy, acc()));
    return Exponentials(largest, of_row.x, of_row.y);
}

fn log1(x: acc) -> acc {
    return acc(log4(vec4(f32(x))).x);
}
