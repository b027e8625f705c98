// What softmax is made of, for both of its passes.
#import axis

@group(0) @binding(0) var<storage, read> x: array<elem4>; // [rows, last]

struct Params {
    rows: u32,
    last: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn load(row: u32, k: u32) -> vec4<acc> {
    return unpack4(x[row * groups(p.last) + k]);
}
