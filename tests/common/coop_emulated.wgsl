// `lib/coop16.wgsl` (or 8) and `lib/coop.wgsl` without the hardware: a fragment of an operand is where it starts, one of sums
// stays in `tile_y`, and each invocation of a subgroup has its share of it, as in hardware.
alias left = u32;
alias right = u32;
alias total = u32;

fn left_at(at: u32) -> left {
    return at;
}

fn right_at(at: u32) -> right {
    return at;
}

fn plus(u: left, v: right, y: total) -> total {
    let first = subgroupExclusiveAdd(1u);
    let all = subgroupAdd(1u);
    for (var i = first; i < SIZE * SIZE; i += all) {
        let row = i / SIZE;
        let column = i % SIZE;
        var sum = tile_y[y + row * 64u + column];
        for (var k = 0u; k < SIZE; k++) {
            let a_at = u + select(k * STRIDE_A + row, row * STRIDE_A + k, ALONG_A == 1u);
            let b_at = v + select(k * STRIDE_B + column, column * STRIDE_B + k, ALONG_B == 1u);
            sum += f32(tile_a[a_at]) * f32(tile_b[b_at]);
        }
        tile_y[y + row * 64u + column] = sum;
    }
    return y;
}

fn total_at(at: u32) -> total {
    return at;
}

// They go back to where they came from, or all is wrong.
fn keep_total(at: u32, y: total) {
    if at != y {
        tile_y[at] = 1e30;
    }
}
