// How the values of two lengths of an axis belong together: each result is a mean of a span of places.
#import axis
#import quotient

const FAR: u32 = 0u; // whether image or result has 2^20 groups or more, or twice the product of two sizes of an axis is as large

// Which places, and with what weights.
const RULE: u32 = 0u; // WINDOWS, ADAPTIVE, NEAREST or BILINEAR
const WINDOWS: u32 = 0u;
const ADAPTIVE: u32 = 1u;
const NEAREST: u32 = 2u;
const BILINEAR: u32 = 3u;

struct Axis {
    size: u32,    // places
    results: u32,
    window: u32,  // places a window, padding included
    stride: u32,
    before: u32,  // padding before the first place
    first: u32,   // of the padded axis, the part that counts in a mean: from here
    end: u32,     // to here
}

// From `first` up to but not including `end`.
struct Span {
    first: u32,
    end: u32,
}

fn over(a: u32, b: u32) -> u32 {
    return quotient(a, b, FAR);
}

fn ceil_div(a: u32, b: u32) -> u32 {
    return over(a + b - 1u, b);
}

// a - b, or 0.
fn less_by(a: u32, b: u32) -> u32 {
    return a - min(a, b);
}

// The middle of a result as seen from the middle of the first place, in parts of which 2 · results make a place.
fn middle(a: Axis, result: u32) -> u32 {
    return less_by((2u * result + 1u) * a.size, a.results);
}

// The places that a result is made of.
fn places(a: Axis, result: u32) -> Span {
    switch RULE {
        case ADAPTIVE: {
            return Span(over(result * a.size, a.results), ceil_div((result + 1u) * a.size, a.results));
        }
        case NEAREST: {
            let place = over(result * a.size, a.results);
            return Span(place, place + 1u);
        }
        case BILINEAR: {
            let place = over(middle(a, result), 2u * a.results);
            return Span(place, min(place + 2u, a.size));
        }
        default: {
            let start = result * a.stride;
            return Span(less_by(start, a.before), min(start + a.window - a.before, a.size));
        }
    }
}

// The results that a place is part of.
fn results(a: Axis, place: u32) -> Span {
    switch RULE {
        case ADAPTIVE: {
            return Span(over(place * a.results, a.size), ceil_div((place + 1u) * a.results, a.size));
        }
        case NEAREST: {
            return Span(ceil_div(place * a.results, a.size), ceil_div((place + 1u) * a.results, a.size));
        }
        case BILINEAR: {
            let first = ceil_div(less_by(2u * place * a.results, a.results + a.size), 2u * a.size);
            let end = ceil_div(less_by((2u * place + 3u) * a.results, a.size), 2u * a.size);
            return Span(first, min(end, a.results));
        }
        default: {
            let at = place + a.before;
            return Span(ceil_div(less_by(at + 1u, a.window), a.stride), min(over(at, a.stride) + 1u, a.results));
        }
    }
}

// The share of a place in a result.
fn weight(a: Axis, place: u32, result: u32) -> f32 {
    switch RULE {
        case ADAPTIVE: {
            let span = places(a, result);
            return 1.0 / f32(span.end - span.first);
        }
        case NEAREST: {
            return 1.0;
        }
        case BILINEAR: {
            let at = middle(a, result);
            let first = over(at, 2u * a.results);
            let further = f32(at - first * 2u * a.results) / f32(2u * a.results);
            // Beyond the last place there is the last place.
            let here = select(0.0, 1.0 - further, place == first);
            return here + select(0.0, further, place == min(first + 1u, a.size - 1u));
        }
        default: {
            let start = result * a.stride;
            return 1.0 / f32(min(start + a.window, a.end) - max(start, a.first));
        }
    }
}

struct Params {
    groups: u32, // groups of the result
    c: u32,      // channels
    h: u32,      // image [n, h, w, c]
    oh: u32,     // result [n, oh, ow, c]
    window_h: u32,
    stride_h: u32,
    before_h: u32,
    first_h: u32,
    end_h: u32,
    w: u32,
    ow: u32,
    window_w: u32,
    stride_w: u32,
    before_w: u32,
    first_w: u32,
    end_w: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn vertical() -> Axis {
    return Axis(p.h, p.oh, p.window_h, p.stride_h, p.before_h, p.first_h, p.end_h);
}
fn horizontal() -> Axis {
    return Axis(p.w, p.ow, p.window_w, p.stride_w, p.before_w, p.first_w, p.end_w);
}

// Where group g of [n, height, width, c] lies: image, row, column, and which group of the channels.
struct Pixel {
    n: u32,
    y: u32,
    x: u32,
    q: u32,
}

fn pixel(g: u32, height: u32, width: u32) -> Pixel {
    let number = over(g, groups(p.c));
    let row = over(number, width);
    let n = over(row, height);
    return Pixel(n, row - n * height, number - row * width, g - number * groups(p.c));
}
