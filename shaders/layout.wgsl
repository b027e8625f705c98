// Moves values unchanged: each value of the result finds its place in one of the sources, or is zero. Values are
// numbered row by row without padding; a number is permuted first, and then looked up among rows laid side by side.
//
// Bits move, not numbers: so NaNs, subnormals and labels arrive as they were, on every adapter.
#import axis
#import grid
#import quotient

const HALVES: u32 = 0u;  // whether a word holds two f16 values, or one of 32 bits
const WHOLE: u32 = 0u;   // whether groups stay together: then "value" means a group of four, and nothing is padded
const KEEP: u32 = 0u;    // whether what is not found stays as it was
const RANK: u32 = 0u;    // axes that are permuted, besides the first
const SOURCES: u32 = 1u;
const LANES: u32 = 64u;  // invocations of a workgroup
const FAR: u32 = 0u;     // whether the result, or a source, has 2^20 values or more

@group(0) @binding(0) var<storage, read_write> y: array<vec2<u32>>; // [outer, width]
@group(0) @binding(1) var<storage, read> x_0: array<vec2<u32>>;     // [outer, width of this source]

struct Params {
    groups: u32, // groups of the result
    last: u32,   // length of its last axis
    width: u32,  // values of the result in a row
}
@group(1) @binding(0) var<uniform> p: Params;

// For each source: values in its row, the column of the result where its row starts, length of its last axis, padding
// behind that. Then for each permuted axis of the result, or for all values as one axis: length, and distance of
// neighbours in the source.
@group(1) @binding(1) var<uniform> table: array<vec4<u32>, SOURCES + 1u + RANK>;

fn load(source: u32, at: u32) -> vec2<u32> {
    //: more
    //: end
    return x_0[at];
}

// Where numbers of the result lie in the permuted operand.
fn origins(numbers: vec4<u32>) -> vec4<u32> {
    var rest = numbers;
    var origin = vec4<u32>();
    for (var k = RANK; k > 0u; k--) {
        let axis = table[SOURCES + k];
        let next = quotients(rest, axis.x, FAR);
        origin += (rest - next * axis.x) * axis.y;
        rest = next;
    }
    return origin + rest * table[SOURCES].y;
}

// Where a source has values of the result, if it has them.
struct Places {
    at: vec4<u32>, // in memory, of what moves as one
    there: vec4<bool>,
}

fn places(source: u32, row: vec4<u32>, column: vec4<u32>) -> Places {
    let entry = table[source];
    // Wraps to something large where the source starts further on; starts before the result wrap back.
    let inside = column - entry.y;
    let i = row * entry.x + inside;
    let padding = select(quotients(i, entry.z, FAR) * entry.w, vec4<u32>(), WHOLE == 1u);
    return Places(i + padding, inside < vec4(entry.x));
}

// The bits of one value.
fn value(source: u32, at: u32) -> u32 {
    if HALVES == 1u {
        let pair = load(source, at / 4u);
        return (select(pair.x, pair.y, (at & 2u) != 0u) >> (at % 2u * 16u)) & 0xffffu;
    }
    let pair = load(source, at / 2u);
    return select(pair.x, pair.y, (at & 1u) != 0u);
}

fn move_group(g: u32) {
    let words = 2u - HALVES;
    let origin = origins(vec4(g));
    let row = quotients(origin, p.width, FAR);
    var done = KEEP == 1u;
    for (var s = 0u; s < SOURCES; s++) {
        let place = places(s, row, origin - row * p.width);
        if place.there.x {
            for (var i = 0u; i < words; i++) {
                y[words * g + i] = load(s, words * place.at.x + i);
            }
            done = true;
        }
    }
    if !done {
        for (var i = 0u; i < words; i++) {
            y[words * g + i] = vec2(0u);
        }
    }
}

fn gather_group(g: u32) {
    var v = vec4<u32>();
    if KEEP == 1u {
        if HALVES == 1u {
            v = vec4(y[g] & vec2(0xffffu), y[g] >> vec2(16u)).xzyw;
        } else {
            v = vec4(y[2u * g], y[2u * g + 1u]);
        }
    }
    let across = groups(p.last);
    let line = quotient(g, across, FAR);
    let first = (g - line * across) * 4u;
    let lanes = vec4(first) + vec4(0u, 1u, 2u, 3u);
    let counts = lanes < vec4(p.last);
    let origin = origins(line * p.last + lanes);
    let row = quotients(origin, p.width, FAR);
    for (var s = 0u; s < SOURCES; s++) {
        let place = places(s, row, origin - row * p.width);
        let there = place.there & counts;
        let at = select(vec4<u32>(), place.at, there);
        v = select(v, vec4(value(s, at.x), value(s, at.y), value(s, at.z), value(s, at.w)), there);
    }
    if HALVES == 1u {
        y[g] = v.xz | (v.yw << vec2(16u));
    } else {
        y[2u * g] = v.xy;
        y[2u * g + 1u] = v.zw;
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * LANES + lane;
    if g < p.groups {
        if WHOLE == 1u {
            move_group(g);
        } else {
            gather_group(g);
        }
    }
}
