// Matrix products where nothing is shared: an invocation loads what it uses, for ROWS × COLUMNS blocks in registers. For
// processors, where a load costs the same wherever it goes, and for products of few rows.
#import gemm_lines

const ROWS: u32 = 1u;    // blocks of rows an invocation, 1 or 2
const COLUMNS: u32 = 1u; // blocks of columns an invocation, 1 or 2
const LONE: u32 = 0u;    // whether a is one line, which the sum runs along
const LANES: u32 = 64u;  // invocations of a workgroup

fn groups_at(l: Lines, k: u32) -> vec4<u32> {
    return l.start + vec4(k * l.step);
}

fn load_lines_a(l: Lines, k: u32) -> block {
    return block_of(true, load_of(true, l, k, select(4u, 1u, LONE == 1u)));
}

// y + b * a.
fn added_product(y: block, b: block, a: block) -> block {
    if LONE == 1u {
        return block(plus_row(y[0], b, a[0]), y[1], y[2], y[3]);
    }
    return plus(y, b, a);
}

fn store_lines(i: u32, j: u32, member: u32, part: u32, e: Extent, v: block) {
    if LONE == 1u {
        store_row(i, 0u, j, member, part, e, v[0]);
    } else {
        store(i, j, member, part, e, v);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    //: beside
    let own = linear_id(workgroup);
    //: end
    let e = extent();
    let id = own * LANES + lane;
    let blocks_down = (e.down + ROWS - 1u) / ROWS;
    let blocks_wide = (e.wide + COLUMNS - 1u) / COLUMNS;
    let line = quotient(id, blocks_wide, MANY);
    let all = quotient(line, blocks_down, MANY);
    let part = quotient(all, e.members, MANY);
    let member = all - part * e.members;
    let i = (line - all * blocks_down) * ROWS;
    let j = (id - line * blocks_wide) * COLUMNS;
    if part * e.part >= e.taps * e.steps {
        return;
    }
    let start = part * e.part;
    let stop = end_of(part, member, e);

    let rows0 = spots_of(true, i, member);
    let columns0 = spots_of(false, j, member);
    var rows1 = rows0;
    var columns1 = columns0;
    if ROWS == 2u {
        rows1 = spots_of(true, i + 1u, member);
    }
    if COLUMNS == 2u {
        columns1 = spots_of(false, j + 1u, member);
    }
    var y00 = block();
    var y01 = block();
    var y10 = block();
    var y11 = block();
    // Totals of the chunks that are full, where sums are kept so.
    var t00 = block();
    var t01 = block();
    var t10 = block();
    var t11 = block();
    for (var tap = quotient(start, e.steps, MANY); tap * e.steps < stop; tap++) {
        let a0 = lines_of(true, rows0, tap);
        let b0 = lines_of(false, columns0, tap);
        var a1 = a0;
        var b1 = b0;
        if ROWS == 2u {
            a1 = lines_of(true, rows1, tap);
        }
        if COLUMNS == 2u {
            b1 = lines_of(false, columns1, tap);
        }
        let first = max(start, tap * e.steps) - tap * e.steps;
        let end = min(stop - tap * e.steps, e.steps);
        for (var k = first; k < end; k++) {
            let u0 = load_lines_a(a0, k);
            let v0 = block_of(false, load_of(false, b0, k, 4u));
            y00 = added_product(y00, v0, u0);
            var u1 = block();
            if ROWS == 2u {
                u1 = load_lines_a(a1, k);
                y10 = added_product(y10, v0, u1);
            }
            if COLUMNS == 2u {
                let v1 = block_of(false, load_of(false, b1, k, 4u));
                y01 = added_product(y01, v1, u0);
                if ROWS == 2u {
                    y11 = added_product(y11, v1, u1);
                }
            }
            if CHUNK > 0u && (tap * e.steps + k + 1u) * 4u % max(CHUNK, 1u) < 4u {
                t00 += y00;
                t01 += y01;
                t10 += y10;
                t11 += y11;
                y00 = block();
                y01 = block();
                y10 = block();
                y11 = block();
            }
        }
    }
    if CHUNK > 0u {
        y00 += t00;
        y01 += t01;
        y10 += t10;
        y11 += t11;
    }
    store_lines(i, j, member, part, e, y00);
    if COLUMNS == 2u {
        store_lines(i, j + 1u, member, part, e, y01);
    }
    if ROWS == 2u {
        store_lines(i + 1u, j, member, part, e, y10);
        if COLUMNS == 2u {
            store_lines(i + 1u, j + 1u, member, part, e, y11);
        }
    }
}
