// The sum of the squares of all gradients, in f32: a part of it from each workgroup.

@group(0) @binding(0) var<storage, read> x: array<elem4>;           // [groups]
@group(0) @binding(1) var<storage, read_write> norms: array<f32>;   // [parts of all chunks]

struct Params {
    groups: u32,
    first: u32, // where this chunk's parts begin
}
@group(1) @binding(0) var<uniform> p: Params;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = vec4<f32>();
    for (var g = workgroup.x * 64u + lane; g < p.groups; g += workgroups.x * 64u) {
        let v = vec4<f32>(unpack4(x[g]));
        sum += v * v;
    }
    sums[lane] = sum.x + sum.y + sum.z + sum.w;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane] += sums[lane + half];
        }
    }
    if lane == 0u {
        norms[p.first + workgroup.x] = sums[0];
    }
}
