// What attention and its gradients have in common: queries, keys and values, and how they are walked. A workgroup owns 16
// rows of one head, four a lane quarter, and walks along the others 64 at a time; scores are made in blocks of four by four, one an invocation. Rows past the end are read
// as the last one and hidden.
#import across
#import grid
#import labels
#import math

const CAUSAL: u32 = 0u; // whether a query sees only the keys up to its own place, counted from the end
const JOINED: u32 = 0u; // whether the heads of a place lie side by side: [batch, t, heads, d], not [batch, heads, t, d]
const WIDE: u32 = 1u;   // groups of a row of results an invocation: a sixteenth of them, rounded up
const FLOOR: f32 = -60000.0; // below every score, and within f16

alias block = mat4x4<acc>;

@group(0) @binding(0) var<storage, read> q: array<elem4>; // [members, t, d]
@group(0) @binding(1) var<storage, read> k: array<elem4>; // [members, s, d]
@group(0) @binding(2) var<storage, read> v: array<elem4>; // [members, s, d]

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

fn groups(n: u32) -> u32 {
    return (n + 3u) / 4u;
}

// The group where a row of `length` begins.
fn place(member: u32, row: u32, length: u32) -> u32 {
    if JOINED == 1u {
        let sample = member / p.heads;
        return ((sample * length + row) * p.heads + member - sample * p.heads) * p.d;
    }
    return (member * length + row) * p.d;
}

// Rows 4i to 4i + 3 of `length`.
fn four(member: u32, i: u32, length: u32) -> vec4<u32> {
    let row = min(vec4(4u * i) + vec4(0u, 1u, 2u, 3u), vec4(length - 1u));
    let first = place(member, 0u, length);
    return vec4(first) + row * (place(member, 1u, length) - first);
}

// Group n of four rows that begin at `at`.
fn four_q(at: vec4<u32>, n: u32) -> block {
    return block(unpack4(q[at.x + n]), unpack4(q[at.y + n]), unpack4(q[at.z + n]), unpack4(q[at.w + n]));
}

fn four_k(at: vec4<u32>, n: u32) -> block {
    return block(unpack4(k[at.x + n]), unpack4(k[at.y + n]), unpack4(k[at.z + n]), unpack4(k[at.w + n]));
}

fn four_v(at: vec4<u32>, n: u32) -> block {
    return block(unpack4(v[at.x + n]), unpack4(v[at.y + n]), unpack4(v[at.z + n]), unpack4(v[at.w + n]));
}

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

fn exp_acc(v: vec4<acc>) -> vec4<acc> {
    return vec4<acc>(exp4(vec4<f32>(v)));
}

// Groups of keys that the queries below `end` see.
fn keys_before(end: u32) -> u32 {
    if CAUSAL == 1u {
        return groups(min(p.s, max(end + p.s, p.t) - p.t));
    }
    return groups(p.s);
}
