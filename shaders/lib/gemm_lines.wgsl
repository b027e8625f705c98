// What the bodies without workgroup memory share: blocks of four lines, and their products in registers. The file that imports
// this says how the groups at step k of four lines are found: groups_at(lines, k).
#import gemm
#import plus

// The four lines of a block.
struct Lines {
    start: vec4<u32>,
    step: u32,
    first: vec4<u32>,
    end: vec4<u32>,
    whole: vec2<u32>, // the steps in which all four are there
}

fn lines(l0: Line, l1: Line, l2: Line, l3: Line) -> Lines {
    let first = vec4(l0.first, l1.first, l2.first, l3.first);
    let end = vec4(l0.end, l1.end, l2.end, l3.end);
    let whole = vec2(max(max(first.x, first.y), max(first.z, first.w)), min(min(end.x, end.y), min(end.z, end.w)));
    return Lines(vec4(l0.start, l1.start, l2.start, l3.start), l0.step, first, end, whole);
}

struct Spots {
    s0: Spot,
    s1: Spot,
    s2: Spot,
    s3: Spot,
}

// Of either operand, here and below: a, or else b.
fn spot_of(of_a: bool, i: u32, r: u32, member: u32) -> Spot {
    if of_a {
        return spot_a(i, r, member);
    }
    return spot_b(i, r, member);
}

fn line_of(of_a: bool, s: Spot, tap: u32) -> Line {
    if of_a {
        return line_a(s, tap);
    }
    return line_b(s, tap);
}

fn group_of(of_a: bool, at: u32) -> vec4<acc> {
    if of_a {
        return plain_unpack4(group_a(at));
    }
    return plain_unpack4(group_b(at));
}

fn spots_of(of_a: bool, i: u32, member: u32) -> Spots {
    return Spots(
        spot_of(of_a, i, 0u, member), spot_of(of_a, i, 1u, member), spot_of(of_a, i, 2u, member), spot_of(of_a, i, 3u, member),
    );
}

fn lines_of(of_a: bool, s: Spots, tap: u32) -> Lines {
    return lines(line_of(of_a, s.s0, tap), line_of(of_a, s.s1, tap), line_of(of_a, s.s2, tap), line_of(of_a, s.s3, tap));
}

// The groups at step k of the first `count` lines.
fn load_of(of_a: bool, l: Lines, k: u32, count: u32) -> block {
    let at = groups_at(l, k);
    var v = block();
    v[0] = group_of(of_a, at.x);
    if count > 1u {
        v[1] = group_of(of_a, at.y);
    }
    if count > 2u {
        v[2] = group_of(of_a, at.z);
        v[3] = group_of(of_a, at.w);
    }
    return mask(of_a, v, l, k);
}

// The block that four lines load, as `plus` takes it.
fn block_of(of_a: bool, v: block) -> block {
    if (of_a && ALONG_A == 0u) || (!of_a && ALONG_B == 1u) {
        return transpose(v);
    }
    return v;
}

fn mask(of_a: bool, v: block, l: Lines, k: u32) -> block {
    if (of_a && THERE_A == 2u) || (!of_a && THERE_B == 2u) || (k >= l.whole.x && k < l.whole.y) {
        return v;
    }
    let zero = vec4<acc>();
    let there = (vec4(k) >= l.first) & (vec4(k) < l.end);
    return block(
        select(zero, v[0], there.x), select(zero, v[1], there.y), select(zero, v[2], there.z), select(zero, v[3], there.w),
    );
}
