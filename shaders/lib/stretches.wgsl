// Rows, or stretches of rows: few long ones are cut, so that more workgroups share in them than there are rows. A first pass
// leaves of each stretch what the row's sums are made of; a second has that to sum, in the order of the stretches, in the place of
// values, and then writes. The file that imports this has rows in its `struct Params`; where there are two passes the planner
// binds what the first leaves.
#import lanes

const STRETCH: u32 = 0u; // groups of each stretch, of which the last of a row may have fewer; 0: rows are whole
const PASS: u32 = 0u;    // the first or the second of two; 0: there is one

struct Stretch {
    row: u32,
    part: u32,  // the invocation's number among the LANES that share it
    first: u32, // its first group
    end: u32,   // behind its last
    at: u32,    // its number among those of all rows
    live: bool, // whether there is such a row
}

fn stretches(groups: u32) -> u32 {
    if STRETCH == 0u {
        return 1u;
    }
    return (groups + STRETCH - 1u) / max(STRETCH, 1u);
}

// Of rows of so many groups. Invocations past the end take the last one along, since all must meet.
fn own_stretch(workgroup: u32, lane: u32, groups: u32) -> Stretch {
    let id = own_row(workgroup, lane);
    let part = lane % LANES;
    let each = stretches(groups);
    let at = min(id, p.rows * each - 1u);
    if STRETCH == 0u {
        return Stretch(at, part, 0u, groups, at, id < p.rows);
    }
    let row = at / each;
    let first = (at - row * each) * STRETCH;
    return Stretch(row, part, first, min(first + STRETCH, groups), at, id < p.rows * each);
}

// All of a row, for whoever takes rows otherwise.
fn whole_row(row: u32, part: u32, groups: u32) -> Stretch {
    return Stretch(row, part, 0u, groups, row, true);
}

fn longest(groups: u32) -> u32 {
    if STRETCH == 0u {
        return groups;
    }
    return STRETCH;
}

// Turns in which each invocation sums values of its stretch, and those in which it writes.
fn summing_turns(groups: u32) -> u32 {
    if PASS == 2u {
        return 0u;
    }
    return turns(longest(groups));
}

fn writing_turns(groups: u32) -> u32 {
    if PASS == 1u {
        return 0u;
    }
    return turns(longest(groups));
}

// The group of a stretch that an invocation takes in turn i; it may be beyond the end.
fn group_of(s: Stretch, i: u32) -> u32 {
    return s.first + s.part + i * LANES;
}

// Which values of group k belong to a stretch of a row of this length.
fn within(s: Stretch, k: u32, length: u32) -> vec4<bool> {
    if STRETCH == 0u {
        return inside(k, length);
    }
    return inside(k, min(length, 4u * s.end));
}

// What was left of stretch k of the row.
fn left(s: Stretch, groups: u32, k: u32) -> vec4<acc> {
    let i = s.row * stretches(groups) + k;
    //: left
    return vec4<acc>();
    //: end
}

// How many values it has.
fn length_of(k: u32, length: u32) -> f32 {
    let first = 4u * STRETCH * k;
    return f32(min(length - first, 4u * STRETCH));
}

// How many values those have who meet: of a stretch in a first pass, else of the row.
fn length_met(s: Stretch, length: u32) -> f32 {
    if PASS == 1u {
        return f32(min(length, 4u * s.end) - 4u * s.first);
    }
    return f32(length);
}

fn leave(s: Stretch, v: vec4<acc>) {
    if PASS == 1u && s.part == 0u && s.live {
        let i = s.at;
        //: leave
        //: end
    }
}

// The sums of a row, given what the invocation has of its own stretch, for each of those that share it.
fn sums_of_row(s: Stretch, groups: u32, own: vec4<acc>) -> vec4<acc> {
    var v = own;
    if PASS == 2u {
        for (var k = s.part; k < stretches(groups); k += LANES) {
            v += left(s, groups, k);
        }
    }
    v = together(v, false);
    leave(s, v);
    return v;
}
