// How the values of an axis lie: the last in groups of four, of which the last may be padded.
#import quotient

// The number along the last axis, of this length, of group g of all.
fn place_along(g: u32, length: u32) -> u32 {
    let groups = (length + 3u) / 4u;
    return g - quotient(g, groups, 1u) * groups;
}

// Which values of group k of that axis belong to it.
fn inside(k: u32, length: u32) -> vec4<bool> {
    return vec4(4u * k) + vec4(0u, 1u, 2u, 3u) < vec4(length);
}

// The numbers of the four values of group g, padding left out: there the last one is repeated.
fn four_of(g: u32, length: u32) -> vec4<u32> {
    let groups = (length + 3u) / 4u;
    let line = quotient(g, groups, 1u);
    return vec4(line * length) + min(vec4(4u * (g - line * groups)) + vec4(0u, 1u, 2u, 3u), vec4(length - 1u));
}

// Where group g of columns starts in [_, terms, inner] groups.
fn column_start(g: u32, terms: u32, inner: u32) -> u32 {
    let outer = quotient(g, inner, 1u);
    return outer * terms * inner + g - outer * inner;
}
