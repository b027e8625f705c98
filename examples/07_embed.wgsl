// The app's own shader: which of ten probabilities is the largest.
@group(0) @binding(0) var<storage, read> probabilities: array<f32>; // [1, 10], padded to 12
@group(0) @binding(1) var<storage, read_write> best: array<f32>;    // [4], the first is used

@compute @workgroup_size(1)
fn main() {
    var at = 0u;
    for (var i = 1u; i < 10u; i++) {
        if probabilities[i] > probabilities[at] {
            at = i;
        }
    }
    best[0] = f32(at);
}
