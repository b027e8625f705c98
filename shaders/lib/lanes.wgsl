// Rows that invocations share: LANES of a workgroup's THREADS, each of which takes every LANES-th group of one. The file
// that imports this has
//   work(workgroup, lane): what an invocation does, `lane` being its number in the workgroup
// The planner adds `lanes_subgroups` or `lanes_shared`, which have the entry point and say how invocations meet:
//   meet(v, lanes, largest): the sums, or the largest values, of `lanes` neighbours, for each of them and always in the same
//   order. The whole workgroup calls it at once.
#import axis
#import grid

const THREADS: u32 = 64u; // a multiple of every subgroup's size
const LANES: u32 = 1u;    // a power of two, at most THREADS; each has a group of its row
const HELD: u32 = 0u;     // groups of its row that an invocation holds in registers; 0: it reads them when it needs them

alias Held = array<vec4<acc>, max(HELD, 1u)>;

fn own_row(workgroup: u32, lane: u32) -> u32 {
    return workgroup * (THREADS / LANES) + lane / LANES;
}

// Groups that each invocation takes of a row; its last one may be beyond the row's end.
fn turns(groups: u32) -> u32 {
    if HELD > 0u {
        return HELD;
    }
    return (groups + LANES - 1u) / LANES;
}

fn together(v: vec4<acc>, largest: bool) -> vec4<acc> {
    return meet(v, LANES, largest);
}
