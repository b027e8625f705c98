// Where the largest value of each row is. An invocation has four rows, whose indices are a group of the result, and walks along
// all of them in one loop: llvmpipe ends a shader's loops after 65,535 turns in all.
#import grid
#import quotient

@group(0) @binding(0) var<storage, read> x: array<elem4>;           // [rows, d]
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>; // [_, last] = [rows]

struct Params {
    groups: u32, // groups of y
    d: u32,
    last: u32,   // length of y's last axis
}
@group(1) @binding(0) var<uniform> p: Params;

// Of four columns of a row: every fourth value.
struct Best {
    value: vec4<acc>,
    at: vec4<u32>,
}

fn first_of(row: u32) -> Best {
    return Best(vec4(unpack4(x[row * ((p.d + 3u) / 4u)]).x), vec4<u32>());
}

// With group k. NaN wins over all, to stay visible.
fn with_group(best: Best, row: u32, k: u32) -> Best {
    let v = unpack4(x[row * ((p.d + 3u) / 4u) + k]);
    let at = vec4(4u * k) + vec4(0u, 1u, 2u, 3u);
    let wins = ((v > best.value) | (v != v)) & (at < vec4(p.d));
    return Best(select(best.value, v, wins), select(best.at, at, wins));
}

// Of equal values the first wins.
fn argmax(best: Best) -> u32 {
    var value = best.value.x;
    var at = best.at.x;
    for (var i = 1u; i < 4u; i++) {
        let v = best.value[i];
        if v > value || v != v || (v == value && best.at[i] < at) {
            value = v;
            at = best.at[i];
        }
    }
    return at;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * 64u + lane;
    if g >= p.groups {
        return;
    }
    let across = (p.last + 3u) / 4u;
    let line = quotient(g, across, 1u);
    let columns = vec4((g - line * across) * 4u) + vec4(0u, 1u, 2u, 3u);
    let row = vec4(line * p.last) + min(columns, vec4(p.last - 1u));
    var a = first_of(row.x);
    var b = first_of(row.y);
    var c = first_of(row.z);
    var d = first_of(row.w);
    for (var k = 0u; k < (p.d + 3u) / 4u; k++) {
        a = with_group(a, row.x, k);
        b = with_group(b, row.y, k);
        c = with_group(c, row.z, k);
        d = with_group(d, row.w, k);
    }
    let found = vec4(argmax(a), argmax(b), argmax(c), argmax(d));
    y[g] = select(vec4<u32>(), found, columns < vec4(p.last));
}
