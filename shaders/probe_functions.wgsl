// Elementary functions of every half: WGSL's own in `acc`, and those of lib/math.wgsl, which compute in f32. The columns
// are those of src/gpu/probe/functions.rs.
#import grid
#import math

@group(0) @binding(0) var<storage, read> operands: array<elem4>;      // [3][groups]: x, a divisor, an exponent
@group(0) @binding(1) var<storage, read_write> results: array<wide4>; // [columns][groups]

const OWN: u32 = 0u; // whether those of lib/math.wgsl are wanted, else WGSL's own

struct Params {
    groups: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = invocation(workgroup, lane);
    if i >= p.groups {
        return;
    }
    let x = unpack4(operands[i]);
    let exponent = unpack4(operands[i + 2u * p.groups]);
    var columns = array<vec4<acc>, 10>();
    if OWN == 1u {
        let v = vec4<f32>(x);
        columns[0] = vec4<acc>(exp4(v));
        columns[1] = vec4<acc>(log4(v));
        columns[2] = vec4<acc>(tanh4(v));
        columns[3] = vec4<acc>(pow4(abs(v), vec4<f32>(exponent)));
        columns[4] = vec4<acc>(erf4(v));
        columns[5] = vec4<acc>(sigmoid4(v));
        columns[6] = vec4<acc>(softplus4(v));
    } else {
        columns[0] = exp(x);
        columns[1] = log(x);
        columns[2] = tanh(x);
        columns[3] = pow(abs(x), exponent);
        columns[4] = sqrt(x);
        columns[5] = inverseSqrt(x);
        columns[6] = x / unpack4(operands[i + p.groups]);
        columns[7] = sin(x);
        columns[8] = cos(x);
        columns[9] = x;
    }
    for (var k = 0u; k < 10u; k++) {
        results[i + k * p.groups] = pack4_wide(columns[k]);
    }
}
