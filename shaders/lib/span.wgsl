// Who folds what of a run of axes. Neighbours in a workgroup take neighbouring groups of results, LANES of them share
// one, and workgroups may share it too: each then takes one of `splits` parts of the terms. The file that imports this
// has LANES, from `parts` or `gathered`, and x, over which it runs.
#import axis
#import grid

struct Params {
    groups: u32,   // groups of results
    terms: u32,    // groups of x that one result is made of
    inner: u32,    // groups of x between two terms of a column
    last_in: u32,  // length of x's last axis
    last_out: u32, // length of the results' last axis
    splits: u32,   // parts in which the terms are taken
    chunk: u32,    // terms of a part
}
@group(1) @binding(0) var<uniform> p: Params;

const OVER_ROWS: u32 = 1u; // whether the last axis is among those that vanish

struct Span {
    g: u32,     // group of results
    start: u32, // the first term of that group of columns
    part: u32,  // the invocation's number among its LANES
    first: u32, // its first term
    end: u32,   // behind the last of all LANES
    at: u32,    // where the result goes: [splits, groups]
    live: bool, // whether there is such a group
}

fn span(workgroup: vec3<u32>, lane: u32) -> Span {
    let across = 64u / LANES;
    let blocks = (p.groups + across - 1u) / across;
    let id = linear_id(workgroup);
    let split = id / blocks;
    let g = (id - split * blocks) * across + lane % across;
    let first = split * p.chunk + lane / across;
    let end = min((split + 1u) * p.chunk, p.terms);
    let start = column_start(g, p.terms, p.inner);
    return Span(g, start, lane / across, first, end, split * p.groups + g, g < p.groups && split < p.splits);
}
