// Sums of all values up to each place of an axis, or from it on. An invocation has a row, or four neighbouring columns,
// and adds one value after the other: always in the same order, and only as fast as there are many of them.
#import epilogue
#import grid
#import tail

const ALONG_ROWS: u32 = 0u; // whether the axis is the last
const REVERSE: u32 = 0u;    // whether the sums run from the end

@group(0) @binding(0) var<storage, read> x: array<elem4>;       // [_, terms, inner]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [_, terms, inner]

struct Params {
    lines: u32, // invocations
    terms: u32, // groups that an invocation walks along
    inner: u32, // groups between two of them
    last: u32,  // length of the last axis
    first: u32, // where on the way this dispatch begins
    end: u32,   // and ends
}
@group(1) @binding(0) var<uniform> p: Params;

// What a dispatch that begins further on goes on from, and what it leaves to the next.
//: carry
fn carried(line: u32) -> vec4<acc> {
    return vec4<acc>();
}

fn carry(line: u32, v: vec4<acc>) {}
//: end

// The sums within a group, which `before` lies before.
fn sums(v: vec4<acc>, before: acc) -> vec4<acc> {
    if REVERSE == 1u {
        let w = before + v.w;
        let z = w + v.z;
        let y = z + v.y;
        return vec4(y + v.x, y, z, w);
    }
    let x = before + v.x;
    let y = x + v.y;
    let z = y + v.z;
    return vec4(x, y, z, z + v.w);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let line = invocation(workgroup, lane);
    if line >= p.lines {
        return;
    }
    let outer = quotient(line, p.inner, 1u);
    let column = line - outer * p.inner;
    let along = place_of(column, p.last).k;
    var v = carried(line);
    for (var k = p.first; k < p.end; k++) {
        let term = select(k, p.terms - 1u - k, REVERSE == 1u);
        let g = (outer * p.terms + term) * p.inner + column;
        if ALONG_ROWS == 1u {
            v = sums(unpack4(x[g]), select(v.w, v.x, REVERSE == 1u));
        } else {
            v += unpack4(x[g]);
        }
        y[g] = pack4(tail_along(epilogue(g, v), select(along, term, ALONG_ROWS == 1u), p.last));
    }
    carry(line, v);
}
