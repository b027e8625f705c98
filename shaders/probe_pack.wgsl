// Stores values as halves, to be compared with what IEEE asks.
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;   // [n], n a multiple of 64
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [n]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    y[id.x] = pack4(x[id.x]);
}
