// Two sums side by side, in a fixed order. Those that several workgroups leave of them lie as [2, splits, groups] in the
// binding `sums` of the file that imports this, whose `struct Params` has groups and splits.
#import grid
#import parts

struct Sums {
    first: vec4<acc>,
    second: vec4<acc>,
}

fn combine(u: vec4<acc>, v: vec4<acc>) -> vec4<acc> {
    return u + v;
}

// As `combined`: both sums, for the first of the invocations that share them.
fn both(own: Sums, lane: u32) -> Sums {
    let first = combined(own.first, lane);
    workgroupBarrier(); // the parts of this were read
    return Sums(first, combined(own.second, lane));
}

// The parts of group g as one.
fn of_parts(g: u32, lane: u32) -> Sums {
    var own: Sums;
    if g < p.groups {
        for (var k = lane / RESULTS; k < p.splits; k += LANES) {
            own.first += unpack4_wide(sums[k * p.groups + g]);
            own.second += unpack4_wide(sums[(p.splits + k) * p.groups + g]);
        }
    }
    return both(own, lane);
}
