// Mean cross-entropy of rows of logits. Each workgroup takes some rows and leaves the mean of their losses and how many labels
// count; one that is alone leaves the loss, and so does one that runs after the others and takes what they left for rows. Reads
// a row once if its invocations can hold it; meets twice for it, and once at the end. Of rows that are cut it is the second pass,
// behind `row_exponentials`.
#import axis
#import exponentials
#import labels

const LOGITS: u32 = 1u; // whether the rows are logits, and not what other workgroups left
const ALONE: u32 = 1u;  // whether there is one workgroup
const HOLDS_EXPONENTIALS: bool = false;

@group(0) @binding(0) var<storage, read> logits: array<elem4>;           // [rows, classes]
@group(0) @binding(1) var<storage, read> labels: array<u32>;             // [_, last]
@group(0) @binding(2) var<storage, read_write> rows: array<wide4>;       // [rows, 4], see `line`
@group(0) @binding(3) var<storage, read_write> loss: array<wide4>;       // [], or [workgroups, 4] like rows
@group(0) @binding(4) var<storage, read_write> count: array<vec4<u32>>;  // []

struct Params {
    rows: u32,
    classes: u32,
    last: u32,      // length of the labels' last axis
    ignore: u32,    // a label that does not count
    smoothing: f32, // share of the target that all classes have in common
    stride: u32,    // rows that all workgroups take at once
}
@group(1) @binding(0) var<uniform> p: Params;

var<workgroup> counted: atomic<u32>;

fn load(row: u32, k: u32) -> vec4<acc> {
    return unpack4(logits[row * groups(p.classes) + k]);
}

// A row as the backward pass and the sum need it: the largest logit, the logarithm of the sum of exp(logit - largest),
// the loss, and how many labels count.
fn line(row: u32, part: u32) -> vec4<acc> {
    if LOGITS == 0u {
        return unpack4_wide(rows[row]);
    }
    var held: Held;
    let e = exponentials(whole_row(row, part, groups(p.classes)), p.classes, &held);
    let log_sum = log1(e.sum);
    let label = labels[label_place(row, p.last)];
    if is_ignored(label, p.ignore) {
        return vec4(e.largest, log_sum, acc(), acc());
    }
    // All relative to the largest logit, so that large logits do not cancel.
    let at = min(label, p.classes - 1u);
    var l = log_sum - acc(1.0 - p.smoothing) * (load(row, at / 4u)[at % 4u] - e.largest);
    if p.smoothing > 0.0 {
        l -= acc(p.smoothing) * e.mean;
    }
    if label >= p.classes {
        l = acc(bitcast<f32>(0x7fc00000u | label)); // NaN, which no constant may be
    }
    return vec4(e.largest, log_sum, l, acc(1.0));
}

// How many labels count: of one row, or of all that a workgroup took, in two numbers that f16 holds.
fn labels_of(v: vec4<acc>) -> u32 {
    if LOGITS == 1u {
        return u32(v.w);
    }
    return (u32(v.x) << 11u) | u32(v.y);
}

fn work(workgroup: u32, lane: u32) {
    let part = lane % LANES;
    var sum = 0.0; // beyond f16 where the mean is not
    var n = 0u;
    for (var first = workgroup * (THREADS / LANES); first < p.rows; first += p.stride) {
        let row = first + lane / LANES;
        // Invocations past the end take the last row along, since all must meet.
        let v = line(min(row, p.rows - 1u), part);
        if part == 0u && row < p.rows {
            if LOGITS == 1u {
                rows[row] = pack4_wide(v);
            }
            let counts = labels_of(v);
            sum += f32(v.z) * f32(counts);
            n += counts;
        }
    }
    atomicAdd(&counted, n);
    workgroupBarrier();
    n = atomicLoad(&counted);
    let mean = meet(vec4(acc(sum / f32(max(n, 1u))), vec3<acc>()), THREADS, false).x;
    if lane == 0u {
        if ALONE == 1u {
            loss[0] = pack4_wide(vec4(mean, acc(), acc(), acc()));
            count[0] = vec4(n, 0u, 0u, 0u);
        } else {
            loss[workgroup] = pack4_wide(vec4(acc(n >> 11u), acc(n & 2047u), mean, acc()));
        }
    }
}
