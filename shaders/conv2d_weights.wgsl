// A convolution's gradient to its weights: rows are (tap, channel of the image), columns the result's channels. The
// matrices summed are the result's pixels, and each is summed over images; or they are its rows of pixels, and each is
// summed over columns.
#import conv
#import gemm

@group(0) @binding(0) var<storage, read> a: array<stored_a>; // image [n, h, w, c]
@group(0) @binding(1) var<storage, read> b: array<stored_b>; // result [n, oh, ow, o]
// y: weights [kh, kw, inner, o]

const BY_IMAGE: u32 = 0u; // whether each matrix is summed over images

fn extent() -> Extent {
    return Extent(p.members, p.down, p.wide, p.taps, p.steps, p.part, p.outer, p.kh * p.kw * p.inner * groups(p.o));
}

fn taps(member: u32) -> u32 {
    return p.taps;
}

// Ceiling of a / b for a that may be negative, at least 0.
fn ceil_div(a: i32, b: i32) -> u32 {
    return quotient(u32(max(a + b - 1, 0)), u32(b), VAST);
}

fn spot_a(i: u32, r: u32, member: u32) -> Spot {
    let weight = quotient(i, groups(p.inner), MANY);
    let down = quotient(weight, p.kw, MANY);
    let right = weight - down * p.kw;
    let row = down * p.dilation_h - p.before_h;
    let channels = member * groups(p.inner) + i - weight * groups(p.inner);
    if BY_IMAGE == 1u {
        let column = right * p.dilation_w - p.before_w;
        return Spot(((r * p.h + row) * p.w + column) * groups(p.c) + channels, row, column, 0u, (p.n + 3u - r) / 4u);
    }
    // Pixel 4k + r of the result's row sees column 4k · stride + column.
    let column = i32(r * p.stride_w + right * p.dilation_w) - i32(p.before_w);
    let start = (row * p.w + u32(column)) * groups(p.c) + channels;
    let stride = 4 * i32(p.stride_w);
    let first = ceil_div(-column, stride);
    let end = min(ceil_div(i32(p.w) - column, stride), (p.ow + 3u - r) / 4u);
    return Spot(start, row, 0u, first, max(first, end));
}

fn line_a(s: Spot, tap: u32) -> Line {
    if BY_IMAGE == 1u {
        let y = quotient(tap, p.ow, FAR);
        let down = y * p.stride_h;
        let right = (tap - y * p.ow) * p.stride_w;
        let there = (s.row + down < p.h) & (s.column + right < p.w);
        return Line(s.start + (down * p.w + right) * groups(p.c), 4u * p.h * p.w * groups(p.c), 0u, select(0u, s.end, there));
    }
    let n = quotient(tap, p.oh, FAR);
    let down = (tap - n * p.oh) * p.stride_h;
    let start = s.start + (n * p.h + down) * (p.w * groups(p.c));
    return Line(start, 4u * p.stride_w * groups(p.c), s.first, select(s.first, s.end, s.row + down < p.h));
}

fn spot_b(j: u32, r: u32, member: u32) -> Spot {
    let channels = member * groups(p.outer) + j;
    if BY_IMAGE == 1u {
        return Spot(r * p.oh * p.ow * groups(p.o) + channels, 0u, 0u, 0u, (p.n + 3u - r) / 4u);
    }
    return Spot(r * groups(p.o) + channels, 0u, 0u, 0u, (p.ow + 3u - r) / 4u);
}

fn line_b(s: Spot, tap: u32) -> Line {
    if BY_IMAGE == 1u {
        return Line(s.start + tap * groups(p.o), 4u * p.oh * p.ow * groups(p.o), 0u, s.end);
    }
    return Line(s.start + tap * (p.ow * groups(p.o)), 4u * groups(p.o), 0u, s.end);
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let weight = quotient(i, groups(p.inner), MANY);
    let channel = (i - weight * groups(p.inner)) * 4u + r;
    let g = (weight * p.inner + channel) * groups(p.o) + member * groups(p.outer) + j;
    return select(NOWHERE, g, weight < p.kh * p.kw && channel < p.inner && j < p.wide);
}
