// Where the largest value of each row is, the first of equal ones; NaN is larger than any number. Four results are four rows, which
// LANES invocations share. They meet once for each.
#import axis
#import lanes
#import nan

@group(0) @binding(0) var<storage, read> x: array<elem4>;           // [rows, d]
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>; // [_, last] = [rows]

struct Params {
    groups: u32, // groups of y
    d: u32,
    last: u32,   // length of y's last axis
}
@group(1) @binding(0) var<uniform> p: Params;

// The largest values so far, of four columns each, and where they were.
struct Best {
    value: vec4<acc>,
    at: vec4<u32>,
}

fn group_of(row: u32, k: u32) -> vec4<acc> {
    return unpack4(x[row * groups(p.d) + k]);
}

// The first column's value is a start for all four: of equal ones the place decides.
fn start(row: u32) -> Best {
    return Best(vec4(group_of(row, 0u).x), vec4<u32>());
}

fn with_group(best: Best, row: u32, k: u32) -> Best {
    let v = group_of(row, k);
    let at = numbers(k);
    let wins = ((v > best.value) | (is_nan(v) & !is_nan(best.value))) & (at < vec4(p.d));
    return Best(select(best.value, v, wins), select(best.at, at, wins));
}

// A value and its place, in two numbers that f32 holds.
fn candidate(best: Best, i: u32) -> vec4<acc> {
    return vec4(best.value[i], acc(best.at[i] >> 16u), acc(best.at[i] & 0xffffu), acc());
}

fn combine(u: vec4<acc>, v: vec4<acc>, largest: bool) -> vec4<acc> {
    let u_is_nan = is_nan(u).x;
    let v_is_nan = is_nan(v).x;
    let larger = v.x > u.x || (v_is_nan && !u_is_nan);
    let equal = v.x == u.x || (v_is_nan && u_is_nan);
    let before = v.y < u.y || (v.y == u.y && v.z < u.z);
    return select(u, v, larger || (equal && before));
}

fn argmax(best: Best) -> u32 {
    var v = candidate(best, 0u);
    for (var i = 1u; i < 4u; i++) {
        v = combine(v, candidate(best, i), true);
    }
    v = together(v, true);
    return u32(v.y) << 16u | u32(v.z);
}

fn work(workgroup: u32, lane: u32) {
    let g = own_row(workgroup, lane);
    let part = lane % LANES;
    // Invocations past the end take the last results along, since all must meet.
    let row = four_of(min(g, p.groups - 1u), p.last);
    var a = start(row.x);
    var b = start(row.y);
    var c = start(row.z);
    var d = start(row.w);
    for (var k = part; k < groups(p.d); k += LANES) {
        a = with_group(a, row.x, k);
        b = with_group(b, row.y, k);
        c = with_group(c, row.z, k);
        d = with_group(d, row.w, k);
    }
    let found = vec4(argmax(a), argmax(b), argmax(c), argmax(d));
    if part == 0u && g < p.groups {
        y[g] = select(vec4<u32>(), found, unpadded(g, p.last));
    }
}
