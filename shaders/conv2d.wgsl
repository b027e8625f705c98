// Convolution as an implicit product: rows are the result's pixels, the sum runs over taps and the image's channels.
#import conv
#import gemm

@group(0) @binding(0) var<storage, read> a: array<stored_a>; // image [n, h, w, c]
@group(0) @binding(1) var<storage, read> b: array<stored_b>; // weights [kh, kw, inner, o]
// y: result [n, oh, ow, o]

fn extent() -> Extent {
    return Extent(p.members, p.down, p.wide, p.taps, p.steps, p.part, p.outer, p.n * p.oh * p.ow * groups(p.o));
}

fn taps(member: u32) -> u32 {
    return p.taps;
}

fn spot_a(i: u32, r: u32, member: u32) -> Spot {
    let at = pixel(4u * i + r, p.oh, p.ow);
    // Above and left of the image the numbers wrap to large ones.
    let row = at.y * p.stride_h - p.before_h;
    let column = at.x * p.stride_w - p.before_w;
    let start = ((at.n * p.h + row) * p.w + column) * groups(p.c) + member * groups(p.inner);
    return Spot(start, row, column, 0u, 0u);
}

fn line_a(s: Spot, tap: u32) -> Line {
    let i = quotient(tap, p.kw, FAR);
    let down = i * p.dilation_h;
    let right = (tap - i * p.kw) * p.dilation_w;
    let there = (s.row + down < p.h) & (s.column + right < p.w);
    return Line(s.start + (down * p.w + right) * groups(p.c), 1u, 0u, select(0u, p.steps, there));
}

fn spot_b(j: u32, r: u32, member: u32) -> Spot {
    return Spot(r * groups(p.o) + member * groups(p.outer) + j, 0u, 0u, 0u, (p.inner + 3u - r) / 4u);
}

fn line_b(s: Spot, tap: u32) -> Line {
    return Line(s.start + tap * p.inner * groups(p.o), 4u * groups(p.o), 0u, s.end);
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let pixel = 4u * i + r;
    let g = pixel * groups(p.o) + member * groups(p.outer) + j;
    return select(NOWHERE, g, pixel < p.n * p.oh * p.ow && j < p.wide);
}
