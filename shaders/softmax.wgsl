// Softmax along the last axis, or its logarithm. Reads a row once if its invocations can hold it, and meets twice; of rows that
// are cut it is the second pass, behind `row_exponentials`.
#import axis
#import epilogue
#import exponentials
#import logits
#import tail

const LOG: u32 = 0u; // whether it is the logarithm
const HOLDS_EXPONENTIALS: bool = LOG == 0u;

@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [rows, last]

fn work(workgroup: u32, lane: u32) {
    let width = groups(p.last);
    let s = own_stretch(workgroup, lane, width);
    var held: Held;
    let e = exponentials(s, p.last, &held);
    for (var i = 0u; i < writing_turns(width); i++) {
        let k = group_of(s, i);
        if s.live && k < s.end {
            var v: vec4<acc>;
            if HELD > 0u {
                v = held[i];
            } else {
                v = load(s.row, k) - e.largest;
                if HOLDS_EXPONENTIALS {
                    v = exp_acc(v);
                }
            }
            if LOG == 1u {
                v -= log1(e.sum);
            } else {
                v /= e.sum;
            }
            let g = s.row * width + k;
            y[g] = pack4(tail_along(epilogue(g, v), k, p.last));
        }
    }
}
