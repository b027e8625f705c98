// What a query sees, and the sizes of attention.
#import axis
#import labels
#import math

const CAUSAL: u32 = 0u; // whether a query sees only the keys up to its own place, counted from the end

struct Params {
    members: u32,    // batch · heads
    heads: u32,
    t: u32,          // queries
    s: u32,          // keys
    d: u32,          // groups of a row
    scale: f32,      // on the products of queries and keys
    mask_batch: u32, // values of the mask between two samples, and between two heads
    mask_head: u32,
    mask_last: u32,  // length of the mask's last axis in memory
}
@group(1) @binding(0) var<uniform> p: Params;

fn visible(member: u32, row: u32, column: u32) -> bool {
    if row >= p.t || column >= p.s {
        return false;
    }
    if CAUSAL == 1u && column + p.t > row + p.s {
        return false;
    }
    //: mask
    //: end
    return true;
}

// Which keys of group k a query sees.
fn sees(member: u32, row: u32, k: u32) -> vec4<bool> {
    return vec4(
        visible(member, row, 4u * k), visible(member, row, 4u * k + 1u),
        visible(member, row, 4u * k + 2u), visible(member, row, 4u * k + 3u),
    );
}

// Groups of keys that the queries below `end` see.
fn keys_before(end: u32) -> u32 {
    if CAUSAL == 1u {
        return groups(min(p.s, max(end + p.s, p.t) - p.t));
    }
    return groups(p.s);
}
