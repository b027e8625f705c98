// Convolution as an implicit product: rows are the result's pixels, the sum runs over taps and the image's channels.
#import conv
#import gemm

@group(0) @binding(0) var<storage, read> a: array<elem4>;       // image [n, h, w, c]
@group(0) @binding(1) var<storage, read> b: array<elem4>;       // weights [kh, kw, c / members, o]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // result [n, oh, ow, o]

fn lines_a(i: u32, tap: u32, member: u32) -> Lines {
    let number = vec4(4u * i) + LANE;
    let at = pixels(number, p.oh, p.ow);
    // Above and left of the image the numbers wrap to large ones.
    let row = at.y * p.stride_h + tap / p.kw * p.dilation_h - p.before_h;
    let column = at.x * p.stride_w + tap % p.kw * p.dilation_w - p.before_w;
    let there = (number < vec4(p.n * p.oh * p.ow)) & (row < vec4(p.h)) & (column < vec4(p.w));
    return along(((at.n * p.h + row) * p.w + column) * groups(p.c) + member * groups(inner()), there);
}

fn lines_b(j: u32, tap: u32, member: u32) -> Lines {
    return across(tap * inner() * groups(p.o) + member * groups(outer()) + j, groups(p.o), inner());
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let pixel = 4u * i + r;
    let g = pixel * groups(p.o) + member * groups(outer()) + j;
    return select(NOWHERE, g, pixel < p.n * p.oh * p.ow && j < p.wide);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(linear_id(workgroup) * 64u + lane, p.members, p.down, p.wide, p.taps, p.steps, p.o);
}
