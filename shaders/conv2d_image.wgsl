// A convolution's gradient to its image, or transposed convolution: rows are the image's pixels, the sum runs over taps
// and the result's channels. A tap counts where the stride divides the way back to the result.
#import conv
#import gemm

@group(0) @binding(0) var<storage, read> a: array<elem4>;       // result [n, oh, ow, o]
@group(0) @binding(1) var<storage, read> b: array<elem4>;       // weights [kh, kw, c / members, o]
// y: image [n, h, w, c]

const STRIDED: u32 = 1u; // whether a stride is not 1

fn extent() -> Extent {
    return Extent(p.members, p.down, p.wide, p.taps, p.steps, p.part, p.c, p.n * p.h * p.w * groups(p.c));
}

fn spot_a(i: u32, r: u32, member: u32) -> Spot {
    let at = pixel(4u * i + r, p.h, p.w);
    let start = at.n * p.oh * p.ow * groups(p.o) + member * groups(outer());
    return Spot(start, at.y + p.before_h, at.x + p.before_w, 0u, 0u);
}

fn line_a(s: Spot, tap: u32) -> Line {
    let i = quotient(tap, p.kw);
    // Above and left of the result the numbers wrap to large ones.
    let down = s.row - i * p.dilation_h;
    let right = s.column - (tap - i * p.kw) * p.dilation_w;
    var row = down;
    var column = right;
    if STRIDED == 1u {
        row = down / p.stride_h;
        column = right / p.stride_w;
    }
    let meets = (row * p.stride_h == down) & (column * p.stride_w == right);
    let there = (row < p.oh) & (column < p.ow) & (meets | (STRIDED == 0u));
    return Line(s.start + (row * p.ow + column) * groups(p.o), 1u, 0u, select(0u, p.steps, there));
}

fn spot_b(j: u32, r: u32, member: u32) -> Spot {
    return Spot((4u * j + r) * groups(p.o) + member * groups(outer()), 0u, 0u, 0u, 0u);
}

fn line_b(s: Spot, tap: u32) -> Line {
    return Line(s.start + tap * inner() * groups(p.o), 1u, 0u, p.steps);
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let pixel = 4u * i + r;
    let g = pixel * groups(p.c) + member * groups(inner()) + j;
    return select(NOWHERE, g, pixel < p.n * p.h * p.w && j < p.wide);
}
