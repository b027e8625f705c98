// What arithmetic in `acc` does: each expression on each row of operands. Operands come from memory, so that no compiler
// knows them; what they show is for src/gpu/probe/arithmetic.rs to say, whose columns these are.
#import grid

@group(0) @binding(0) var<storage, read> operands: array<elem4>;      // [3][groups]: a, b, c
@group(0) @binding(1) var<storage, read_write> results: array<elem4>; // [columns][groups]

struct Params {
    groups: u32,
    updates: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn flag(v: vec4<bool>) -> vec4<acc> {
    return select(vec4<acc>(), vec4<acc>(1.0), v);
}

// What a + b loses (Knuth).
fn two_sum(a: vec4<acc>, b: vec4<acc>) -> vec4<acc> {
    let s = a + b;
    let v = s - a;
    return (a - (s - v)) + (b - v);
}

fn sum(first: vec4<acc>, change: vec4<acc>) -> vec4<acc> {
    var w = first;
    for (var i = 0u; i < p.updates; i++) {
        w += change;
    }
    return w;
}

fn kahan(first: vec4<acc>, change: vec4<acc>) -> vec4<acc> {
    var w = first;
    var c = vec4<acc>();
    for (var i = 0u; i < p.updates; i++) {
        let y = change - c;
        let s = w + y;
        c = (s - w) - y;
        w = s;
    }
    return w;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = invocation(workgroup, lane);
    if i >= p.groups {
        return;
    }
    let a = unpack4(operands[i]);
    let b = unpack4(operands[i + p.groups]);
    let c = unpack4(operands[i + 2u * p.groups]);
    let bits = bitcast<vec4<u32>>(vec4<f32>(a));
    var columns = array<vec4<acc>, 16>(
        a,
        a + b,
        a * b,
        a * b + c,
        fma(a, b, c),
        (a + b) - b,
        two_sum(a, b),
        flag(a != a),
        flag(a == a),
        flag(abs(a) > c),
        flag(abs(a * b) > c),
        flag((bits & vec4(0x7f800000u)) == vec4(0x7f800000u)),
        max(a, b),
        select(a, b, a < b),
        vec4<acc>(),
        vec4<acc>(),
    );
    // The updates are in the first rows.
    if i == 0u {
        columns[14] = sum(a, b);
        columns[15] = kahan(a, b);
    }
    for (var k = 0u; k < 16u; k++) {
        results[i + k * p.groups] = pack4(columns[k]);
    }
}
