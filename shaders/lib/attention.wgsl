// What the kernels that hold a tile of attention have in common: queries, keys and values, and how they are walked. A workgroup
// owns 16 rows of one head, four a lane quarter, and walks along the others 64 at a time; scores are made in blocks of four by
// four, one an invocation. Rows past the end are read as the last one and hidden.
//
// The file that imports this has gradients(at), a group of those of the results, and says what memory the workgroup has beside
// that for the rows it walks along: ROOM, 4 or 16.
#import across
#import attention_sees
#import axis
#import grid
#import plus

const JOINED: u32 = 0u; // whether the heads of a place lie side by side: [batch, t, heads, d], not [batch, heads, t, d]
const WIDE: u32 = 1u;   // groups of a row of results an invocation: a sixteenth of them, rounded up

alias block = mat4x4<acc>;

// Kinds of rows.
const QUERIES: u32 = 0u;
const KEYS: u32 = 1u;
const VALUES: u32 = 2u;
const GRADIENTS: u32 = 3u; // of the results

@group(0) @binding(0) var<storage, read> q: array<elem4>; // [members, t, d]
@group(0) @binding(1) var<storage, read> k: array<elem4>; // [members, s, d]
@group(0) @binding(2) var<storage, read> v: array<elem4>; // [members, s, d]

// While products are made, four groups of rows: group m of row 4 · quarter + r of those that are owned is [r][quarter][m], and of row
// 4 · part + r of those that are walked along [r][m][part ^ m]; sixteen neighbours read other banks there, and so do four that
// store a row. Then what came of the products, for row r of lane 16 · quarter + part: [r][quarter][part].
var<workgroup> walked: array<array<array<vec4<acc>, 16>, 4>, 4>;
var<workgroup> owned: array<array<array<vec4<acc>, ROOM>, 4>, 4>;

fn group_of(kind: u32, at: u32) -> vec4<acc> {
    if kind == QUERIES {
        return unpack4(q[at]);
    }
    if kind == KEYS {
        return unpack4(k[at]);
    }
    if kind == VALUES {
        return unpack4(v[at]);
    }
    return gradients(at);
}

// How many rows there are of a kind.
fn length_of(kind: u32) -> u32 {
    return select(p.s, p.t, kind == QUERIES || kind == GRADIENTS);
}

// The group where a row of `length` begins.
fn place(member: u32, row: u32, length: u32) -> u32 {
    if JOINED == 1u {
        let sample = member / p.heads;
        return ((sample * length + row) * p.heads + member - sample * p.heads) * p.d;
    }
    return (member * length + row) * p.d;
}

// The same of four rows.
fn places(member: u32, rows: vec4<u32>, length: u32) -> vec4<u32> {
    let first = place(member, 0u, length);
    return vec4(first) + min(rows, vec4(length - 1u)) * (place(member, 1u, length) - first);
}

// Group n of four rows that begin at `at`.
fn four_groups(kind: u32, at: vec4<u32>, n: u32) -> block {
    return block(group_of(kind, at.x + n), group_of(kind, at.y + n), group_of(kind, at.z + n), group_of(kind, at.w + n));
}

// Products of the rows `own` from block `top` on, four of each lane quarter, times a scale, and of `other` from block `first` on,
// four of each of its lanes: a column for each own row. Loads are of 16 rows side by side, four lanes each, and serve all
// quarters. The whole workgroup calls this at once.
fn products(member: u32, own: u32, top: u32, other: u32, first: u32, lane: u32, scale: acc) -> block {
    let row = lane / 4u;
    let m = lane % 4u;
    let r = row % 4u;
    let part = lane % 16u;
    let quarter = lane / 16u;
    let at_own = place(member, min(4u * top + row, length_of(own) - 1u), length_of(own)) + m;
    let at = places(member, vec4(4u * first + row) + vec4(0u, 16u, 32u, 48u), length_of(other)) + vec4(m);
    var x = block();
    for (var n = 0u; n < p.d; n += 4u) {
        let u = group_of(own, at_own + n) * scale;
        let w = four_groups(other, at, n);
        workgroupBarrier(); // what was here was read
        owned[r][quarter][m] = u;
        walked[r][m][quarter ^ m] = w[0];
        walked[r][m][(quarter + 4u) ^ m] = w[1];
        walked[r][m][(quarter + 8u) ^ m] = w[2];
        walked[r][m][(quarter + 12u) ^ m] = w[3];
        workgroupBarrier();
        for (var i = 0u; i < min(4u, p.d - n); i++) {
            x = plus(x, transpose(four_walked(i, part ^ i)), four_owned(quarter, i));
        }
    }
    workgroupBarrier();
    return x;
}

fn four_owned(quarter: u32, at: u32) -> block {
    return block(owned[0][quarter][at], owned[1][quarter][at], owned[2][quarter][at], owned[3][quarter][at]);
}

fn four_walked(i: u32, at: u32) -> block {
    return block(walked[0][i][at], walked[1][i][at], walked[2][i][at], walked[3][i][at]);
}
