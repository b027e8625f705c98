// A convolution's gradient to its weights: rows are (tap, channel of the image), columns the result's channels. The
// matrices summed are the result's rows of pixels, and each is summed over its columns.
#import conv
#import gemm

@group(0) @binding(0) var<storage, read> a: array<elem4>;       // image [n, h, w, c]
@group(0) @binding(1) var<storage, read> b: array<elem4>;       // result [n, oh, ow, o]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // weights [kh, kw, c / members, o]

// Ceiling of a / b for a that may be negative, at least 0.
fn ceil_div(a: vec4<i32>, b: i32) -> vec4<u32> {
    return vec4<u32>(max(a + vec4(b - 1), vec4(0))) / vec4(u32(b));
}

fn lines_a(i: u32, tap: u32, member: u32) -> Lines {
    let weight = i / groups(inner());
    let n = tap / p.oh;
    let row = (tap - n * p.oh) * p.stride_h + weight / p.kw * p.dilation_h - p.before_h;
    // Pixel 4k + r of the row sees column (4k + r) · stride + offset.
    let offset = i32(weight % p.kw * p.dilation_w) - i32(p.before_w);
    let stride = i32(p.stride_w);
    let lane = vec4<i32>(LANE);
    let column = lane * stride + vec4(offset);
    let start = vec4<u32>((vec4(i32((n * p.h + row) * p.w)) + column) * i32(groups(p.c)))
        + vec4(member * groups(inner()) + i % groups(inner()));
    let first = ceil_div(-column, 4 * stride);
    let width = select(0, i32(p.w), row < p.h);
    let end = min(ceil_div(vec4(width) - column, 4 * stride), (vec4(p.ow + 3u) - LANE) / 4u);
    let whole = vec2(first.x, min(min(end.x, end.y), min(end.z, end.w)));
    return Lines(start, 4u * p.stride_w * groups(p.c), first, select(vec4(0u), end, vec4(width > 0)), select(vec2(0u), whole, width > 0));
}

fn lines_b(j: u32, tap: u32, member: u32) -> Lines {
    return across(tap * p.ow * groups(p.o) + member * groups(outer()) + j, groups(p.o), p.ow);
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let weight = i / groups(inner());
    let channel = i % groups(inner()) * 4u + r;
    let g = (weight * inner() + channel) * groups(p.o) + member * groups(outer()) + j;
    return select(NOWHERE, g, weight < p.kh * p.kw && channel < inner() && j < p.wide);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(linear_id(workgroup) * 64u + lane, p.members, p.down, p.wide, p.taps, p.steps, p.o);
}
