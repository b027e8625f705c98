// A convolution's gradient to its image, or transposed convolution: rows are the image's pixels, the sum runs over taps
// and the result's channels. A tap counts where the stride divides the way back to the result.
#import conv
#import gemm

@group(0) @binding(0) var<storage, read> a: array<elem4>;       // result [n, oh, ow, o]
@group(0) @binding(1) var<storage, read> b: array<elem4>;       // weights [kh, kw, c / members, o]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // image [n, h, w, c]

fn lines_a(i: u32, tap: u32, member: u32) -> Lines {
    let number = vec4(4u * i) + LANE;
    let at = pixels(number, p.h, p.w);
    let down = at.y + p.before_h - tap / p.kw * p.dilation_h;
    let right = at.x + p.before_w - tap % p.kw * p.dilation_w;
    let row = down / p.stride_h;
    let column = right / p.stride_w;
    let meets = (row * p.stride_h == down) & (column * p.stride_w == right);
    let there = meets & (number < vec4(p.n * p.h * p.w)) & (row < vec4(p.oh)) & (column < vec4(p.ow));
    return along(((at.n * p.oh + row) * p.ow + column) * groups(p.o) + member * groups(outer()), there);
}

fn lines_b(j: u32, tap: u32, member: u32) -> Lines {
    let channel = vec4(4u * j) + LANE;
    let start = (tap * inner() + channel) * groups(p.o) + member * groups(outer());
    return along(start, channel < vec4(inner()));
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let pixel = 4u * i + r;
    let g = pixel * groups(p.c) + member * groups(inner()) + j;
    return select(NOWHERE, g, pixel < p.n * p.h * p.w && j < p.wide);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(linear_id(workgroup) * 64u + lane, p.members, p.down, p.wide, p.taps, p.steps, p.c);
}
