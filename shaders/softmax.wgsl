// Softmax along the last axis, or its logarithm. Reads a row once if its invocations can hold it, and meets twice.
#import epilogue
#import exponentials
#import tail

const LOG: u32 = 0u; // whether it is the logarithm
const HOLDS_EXPONENTIALS: bool = LOG == 0u;

@group(0) @binding(0) var<storage, read> x: array<elem4>;       // [rows, last]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [rows, last]

struct Params {
    rows: u32,
    last: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn load(row: u32, k: u32) -> vec4<acc> {
    return unpack4(x[row * ((p.last + 3u) / 4u) + k]);
}

fn work(workgroup: u32, lane: u32) {
    let row = own_row(workgroup, lane);
    let part = lane % LANES;
    // Invocations past the end take the last row along, since all must meet.
    let at = min(row, p.rows - 1u);
    var held: Held;
    let e = exponentials(at, p.last, part, &held);
    let groups = (p.last + 3u) / 4u;
    for (var i = 0u; i < turns(groups); i++) {
        let k = part + i * LANES;
        if row < p.rows && k < groups {
            var v: vec4<acc>;
            if HELD > 0u {
                v = held[i];
            } else {
                v = load(row, k) - e.largest;
                if HOLDS_EXPONENTIALS {
                    v = exponential(v);
                }
            }
            if LOG == 1u {
                v -= log1(e.sum);
            } else {
                v /= e.sum;
            }
            let g = row * groups + k;
            y[g] = pack4(tail(epilogue(g, v), g, p.last));
        }
    }
}
