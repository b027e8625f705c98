// A convolution's gradient to its image, or transposed convolution: rows are the image's pixels, the sum runs over taps
// and the result's channels.
//
// A weight meets a pixel where the stride divides the way back to the result. So the pixels along an axis have phases, the
// rests of that division: those of one meet the same weights, every `step`-th from a first one on, or none. Pixels whose
// phases differ belong to different members.
#import conv
#import gemm

const STRIDED: u32 = 1u; // whether a stride is not 1: else there is one phase

@group(0) @binding(0) var<storage, read> a: array<stored_a>; // result [n, oh, ow, o]
@group(0) @binding(1) var<storage, read> b: array<stored_b>; // weights [kh, kw, inner, o]
// y: image [n, h, w, c]

// The pixels along an axis that have one phase: the first, and each `stride` further.
struct Phase {
    first: u32,
    weight: u32, // the first that they meet
    taps: u32,   // weights that they meet
    seen: u32,   // of the result, by the first pixel with the first weight; may wrap below zero
}

fn phase(first: u32, window: u32, stride: u32, before: u32, dilation: u32, step: u32, inverse: u32) -> Phase {
    let at = quotient(first + before, stride, VAST);
    let rest = first + before - at * stride;
    // A weight meets them where weight · dilation leaves the same rest: none, unless what divides stride and dilation divides it.
    let divisor = quotient(stride, step, VAST);
    let steps = quotient(rest, divisor, VAST);
    let weight = steps * inverse - quotient(steps * inverse, step, VAST) * step;
    let taps = select(0u, quotient(window - 1u - weight, step, VAST) + 1u, weight < window && steps * divisor == rest);
    return Phase(first, weight, taps, at - quotient(max(weight * dilation, rest) - rest, stride, VAST));
}

struct Phases {
    channels: u32, // group of channels
    rows: Phase,
    columns: Phase,
}

fn phases(member: u32) -> Phases {
    if STRIDED == 0u {
        return Phases(member, Phase(0u, 0u, p.kh, p.before_h), Phase(0u, 0u, p.kw, p.before_w));
    }
    let high = min(p.stride_h, p.h);
    let wide = min(p.stride_w, p.w);
    let line = quotient(member, wide, MANY);
    let channels = quotient(line, high, MANY);
    return Phases(
        channels,
        phase(line - channels * high, p.kh, p.stride_h, p.before_h, p.dilation_h, p.step_h, p.inverse_h),
        phase(member - line * wide, p.kw, p.stride_w, p.before_w, p.dilation_w, p.step_w, p.inverse_w),
    );
}

fn extent() -> Extent {
    return Extent(p.members, p.down, p.wide, p.taps, p.steps, p.part, p.inner, p.n * p.h * p.w * groups(p.c));
}

fn taps(member: u32) -> u32 {
    let own = phases(member);
    return own.rows.taps * own.columns.taps;
}

fn spot_a(i: u32, r: u32, member: u32) -> Spot {
    let own = phases(member);
    let at = pixel(4u * i + r, p.pixels_h, p.pixels_w);
    let start = at.n * p.oh * p.ow * groups(p.o) + own.channels * groups(p.outer);
    return Spot(start, at.y + own.rows.seen, at.x + own.columns.seen, 0u, own.columns.taps);
}

fn line_a(s: Spot, tap: u32) -> Line {
    let i = quotient(tap, s.end, FAR);
    let k = tap - i * s.end;
    // Above and left of the result the numbers wrap to large ones.
    let row = s.row - i * p.hop_h;
    let column = s.column - k * p.hop_w;
    let there = (row < p.oh) & (column < p.ow);
    return Line(s.start + (row * p.ow + column) * groups(p.o), 1u, 0u, select(0u, p.steps, there));
}

fn spot_b(j: u32, r: u32, member: u32) -> Spot {
    let own = phases(member);
    let start = (4u * j + r) * groups(p.o) + own.channels * groups(p.outer);
    return Spot(start, own.rows.weight, own.columns.weight, 0u, own.columns.taps);
}

fn line_b(s: Spot, tap: u32) -> Line {
    let i = quotient(tap, s.end, FAR);
    let k = tap - i * s.end;
    let weight = (s.row + i * p.step_h) * p.kw + s.column + k * p.step_w;
    return Line(s.start + weight * p.inner * groups(p.o), 1u, 0u, p.steps);
}

fn place(i: u32, r: u32, j: u32, member: u32) -> u32 {
    let own = phases(member);
    let number = 4u * i + r;
    if STRIDED == 0u {
        let g = number * groups(p.c) + member * groups(p.inner) + j;
        return select(NOWHERE, g, number < p.n * p.h * p.w && j < p.wide);
    }
    let at = pixel(number, p.pixels_h, p.pixels_w);
    let row = own.rows.first + at.y * p.stride_h;
    let column = own.columns.first + at.x * p.stride_w;
    let g = ((at.n * p.h + row) * p.w + column) * groups(p.c) + own.channels * groups(p.inner) + j;
    return select(NOWHERE, g, at.n < p.n && row < p.h && column < p.w && j < p.wide);
}
