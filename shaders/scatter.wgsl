// The gradient of a gather: each row of the table sums the rows of dy that were taken from it, in their order, so that
// the same comes out each time. A workgroup has PARTS times 64 groups of one row. It looks through all indices, 2048 at
// a time, and each invocation notes in a word which of its 32 are this row.
#import axis
#import epilogue
#import grid
#import tail

const PARTS: u32 = 1u; // groups of each invocation

@group(0) @binding(0) var<storage, read> dy: array<elem4>;          // [_, last, d]
@group(0) @binding(1) var<storage, read> indices: array<vec4<u32>>; // [_, last]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>;     // [rows, d]

struct Params {
    rows: u32,
    d: u32,
    last: u32,  // length of the indices' last axis
    count: u32, // groups of indices
}
@group(1) @binding(0) var<uniform> p: Params;

var<workgroup> found: array<u32, 64>;
var<workgroup> words: array<atomic<u32>, 2>; // which of them are not zero

// Of eight groups of indices from `first` on, those that are `row`, a bit each.
fn search(row: u32, first: u32) -> u32 {
    let across = groups(p.last);
    var column = place_of(first, p.last).k;
    var bits = 0u;
    for (var k = 0u; k < 8u && first + k < p.count; k++) {
        // Padding holds zeros, which are no indices.
        let is_row = (indices[first + k] == vec4(row)) & inside(column, p.last);
        let one = select(vec4(0u), vec4(1u, 2u, 4u, 8u), is_row);
        bits |= (one.x | one.y | one.z | one.w) << (4u * k);
        column = select(column + 1u, 0u, column + 1u == across);
    }
    return bits;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = groups(p.d);
    let shares = (across + 64u * PARTS - 1u) / (64u * PARTS);
    let row = linear_id(workgroup) / shares;
    let start = linear_id(workgroup) % shares * 64u * PARTS + lane;
    let padded = groups(p.last) * 4u;
    var v: array<vec4<acc>, PARTS>;
    for (var first = 0u; first < p.count; first += 512u) {
        workgroupBarrier(); // what was found before was used
        let bits = search(row, first + 8u * lane);
        found[lane] = bits;
        if lane < 2u {
            atomicStore(&words[lane], 0u);
        }
        workgroupBarrier();
        if bits != 0u {
            atomicOr(&words[lane / 32u], 1u << (lane % 32u));
        }
        workgroupBarrier();
        for (var half = 0u; half < 2u; half++) {
            for (var some = atomicLoad(&words[half]); some != 0u; some &= some - 1u) {
                let word = 32u * half + firstTrailingBit(some);
                for (var these = found[word]; these != 0u; these &= these - 1u) {
                    let place = 4u * first + 32u * word + firstTrailingBit(these);
                    let i = place - place / padded * (padded - p.last);
                    for (var k = 0u; k < PARTS; k++) {
                        let q = start + 64u * k;
                        if q < across {
                            v[k] += unpack4(dy[i * across + q]);
                        }
                    }
                }
            }
        }
    }
    for (var k = 0u; k < PARTS; k++) {
        let q = start + 64u * k;
        if q < across && row < p.rows {
            let g = row * across + q;
            y[g] = pack4(tail_along(epilogue(g, v[k]), q, p.d));
        }
    }
}
