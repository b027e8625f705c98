// Moves values unchanged: each value of the result finds its place in one of the sources, or is zero. Values are
// numbered row by row without padding; a number is permuted first, and then looked up among rows laid side by side.
//
// Bits move, not numbers: so NaNs, subnormals and labels arrive as they were, on every adapter.
#import grid

const HALVES: u32 = 0u;  // whether a word holds two f16 values, or one of 32 bits
const WHOLE: u32 = 0u;   // whether groups stay together: then "value" means a group of four, and nothing is padded
const KEEP: u32 = 0u;    // whether what is not found stays as it was
const RANK: u32 = 0u;    // axes that are permuted, besides the first
const SOURCES: u32 = 1u;

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

struct Place {
    source: u32,
    at: u32, // in memory
}

fn find(number: u32) -> Place {
    var rest = number;
    var origin = 0u;
    for (var k = RANK; k > 0u; k--) {
        let axis = table[SOURCES + k];
        let next = rest / axis.x;
        origin += (rest - next * axis.x) * axis.y;
        rest = next;
    }
    origin += rest * table[SOURCES].y;

    let row = origin / p.width;
    let column = origin - row * p.width;
    for (var s = 0u; s < SOURCES; s++) {
        let entry = table[s];
        // Wraps to something large where the source starts further on; starts before the result wrap back.
        let inside = column - entry.y;
        if inside < entry.x {
            let i = row * entry.x + inside;
            return Place(s, select(i + i / entry.z * entry.w, i, WHOLE == 1u));
        }
    }
    return Place(SOURCES, 0u);
}

// The bits of one value.
fn value(place: Place) -> u32 {
    if HALVES == 1u {
        let pair = load(place.source, place.at / 4u);
        return (select(pair.x, pair.y, (place.at & 2u) != 0u) >> (place.at % 2u * 16u)) & 0xffffu;
    }
    let pair = load(place.source, place.at / 2u);
    return select(pair.x, pair.y, (place.at & 1u) != 0u);
}

fn move_group(g: u32) {
    let place = find(g);
    for (var i = 0u; i < 2u - HALVES; i++) {
        let at = (2u - HALVES) * g + i;
        if place.source < SOURCES {
            y[at] = load(place.source, (2u - HALVES) * place.at + i);
        } else if KEEP == 0u {
            y[at] = vec2(0u);
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
    let across = (p.last + 3u) / 4u;
    let row = g / across;
    let first = (g - row * across) * 4u;
    for (var lane = 0u; lane < 4u; lane++) {
        if first + lane < p.last {
            let place = find(row * p.last + first + lane);
            if place.source < SOURCES {
                v[lane] = value(place);
            }
        }
    }
    if HALVES == 1u {
        y[g] = v.xz | (v.yw << vec2(16u));
    } else {
        y[2u * g] = v.xy;
        y[2u * g + 1u] = v.zw;
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * 64u + lane;
    if g < p.groups {
        if WHOLE == 1u {
            move_group(g);
        } else {
            gather_group(g);
        }
    }
}
