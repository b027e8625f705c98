// What the kernels that hold a tile of attention have in common: queries, keys and values, and how they are walked. A workgroup
// owns 16 rows of one head, four a lane quarter, and walks along the others 64 at a time; scores are made in blocks of four by
// four, one an invocation. Rows past the end are read as the last one and hidden.
#import across
#import attention_sees
#import axis
#import grid

const JOINED: u32 = 0u; // whether the heads of a place lie side by side: [batch, t, heads, d], not [batch, heads, t, d]
const WIDE: u32 = 1u;   // groups of a row of results an invocation: a sixteenth of them, rounded up

alias block = mat4x4<acc>;

@group(0) @binding(0) var<storage, read> q: array<elem4>; // [members, t, d]
@group(0) @binding(1) var<storage, read> k: array<elem4>; // [members, s, d]
@group(0) @binding(2) var<storage, read> v: array<elem4>; // [members, s, d]

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
    let row = min(numbers(i), vec4(length - 1u));
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
