// The sum of the squares of all gradients, a part of it from each workgroup; registers are f32 in every precision.
#import across

@group(0) @binding(0) var<storage, read> x: array<elem4>;           // [groups]
@group(0) @binding(1) var<storage, read_write> norms: array<f32>;   // [parts of all chunks]

struct Params {
    groups: u32,
    first: u32, // where this chunk's parts begin
}
@group(1) @binding(0) var<uniform> p: Params;

var<workgroup> parts: array<vec4<acc>, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = vec4<acc>();
    for (var g = workgroup.x * 64u + lane; g < p.groups; g += workgroups.x * 64u) {
        let v = unpack4(x[g]);
        sum += v * v;
    }
    parts[lane] = sum;
    workgroupBarrier();
    if lane == 0u {
        for (var i = 1u; i < 64u; i++) {
            sum += parts[i];
        }
        norms[p.first + workgroup.x] = across(sum);
    }
}
