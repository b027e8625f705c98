// How the values of an axis lie: the last in groups of four, of which the last may be padded.
#import quotient

// Groups of an axis.
fn groups(length: u32) -> u32 {
    return (length + 3u) / 4u;
}

// Group `k` of a line along the last axis.
struct Place {
    line: u32,
    k: u32,
}

// Where group g of all is, if the last axis has this length.
fn place_of(g: u32, length: u32) -> Place {
    let across = groups(length);
    let line = quotient(g, across, 1u);
    return Place(line, g - line * across);
}

// The numbers of the values of group k of an axis.
fn numbers(k: u32) -> vec4<u32> {
    return vec4(4u * k) + vec4(0u, 1u, 2u, 3u);
}

// Which values of group k of that axis belong to it.
fn inside(k: u32, length: u32) -> vec4<bool> {
    return numbers(k) < vec4(length);
}

// Which values of group g of all are no padding.
fn unpadded(g: u32, length: u32) -> vec4<bool> {
    return inside(place_of(g, length).k, length);
}

// The numbers of the four values of group g, padding left out: there the last one is repeated.
fn four_of(g: u32, length: u32) -> vec4<u32> {
    let place = place_of(g, length);
    return vec4(place.line * length) + min(numbers(place.k), vec4(length - 1u));
}

// Where group g of columns starts in [_, terms, inner] groups.
fn column_start(g: u32, terms: u32, inner: u32) -> u32 {
    let outer = quotient(g, inner, 1u);
    return outer * terms * inner + g - outer * inner;
}
