// The first pass of softmax and cross-entropy over rows that are cut: see `lib/stretches.wgsl`. Reads a stretch once if its
// invocations can hold it, and meets twice.
#import exponentials

const HOLDS_EXPONENTIALS: bool = false;

@group(0) @binding(0) var<storage, read> x: array<elem4>; // [rows, last]

struct Params {
    rows: u32,
    last: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn load(row: u32, k: u32) -> vec4<acc> {
    return unpack4(x[row * ((p.last + 3u) / 4u) + k]);
}

fn work(workgroup: u32, lane: u32) {
    var held: Held;
    _ = exponentials(own_stretch(workgroup, lane, (p.last + 3u) / 4u), p.last, &held);
}
