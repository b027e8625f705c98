// Elementwise work: an invocation takes a group of four, or those of several rows that are above each other. The planner
// puts a whole fused chain between the marks.
#import axis
#import grid
#import tail

const LANES: u32 = 64u; // invocations of a workgroup
const ROWS: u32 = 0u;   // whether an invocation takes several rows, which share what is loaded by column

@group(0) @binding(0) var<storage, read_write> y: array<elem4>; // [groups]

struct Params {
    groups: u32, // groups of the output
    last: u32,   // length of its last axis
    rows: u32,   // of an invocation; divides those of the output
}
@group(1) @binding(0) var<uniform> p: Params;

// What rows share of the chain's operands, at a group of columns.
//: columns
struct Columns {
    none: u32,
}

fn columns(k: u32) -> Columns {
    return Columns(0u);
}
//: end

fn map(g: u32, by_column: Columns) -> vec4<acc> {
    //: map
    return vec4<acc>();
    //: end
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = linear_id(workgroup) * LANES + lane;
    if ROWS == 0u {
        if id < p.groups {
            y[id] = pack4(tail(map(id, columns(0u)), id, p.last));
        }
        return;
    }
    let k = place_of(id, p.last).k;
    let first = (id - k) * p.rows + k;
    if first < p.groups {
        let by_column = columns(k);
        let across = groups(p.last);
        for (var row = 0u; row < p.rows; row++) {
            let g = first + row * across;
            y[g] = pack4(tail_along(map(g, by_column), k, p.last));
        }
    }
}
