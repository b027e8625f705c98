// What a subgroup does with its fragments, for `gemm_coop`. naga's names end in T where rows lie in memory as rows.

fn left_at(at: u32) -> left {
    if ALONG_A == 1u {
        return coopLoadT<left>(&tile_a[at], STRIDE_A);
    }
    return coopLoad<left>(&tile_a[at], STRIDE_A);
}

fn right_at(at: u32) -> right {
    if ALONG_B == 1u {
        return coopLoad<right>(&tile_b[at], STRIDE_B);
    }
    return coopLoadT<right>(&tile_b[at], STRIDE_B);
}

fn plus(u: left, v: right, y: total) -> total {
    return coopMultiplyAdd(u, v, y);
}

fn total_at(at: u32) -> total {
    return coopLoadT<total>(&tile_y[at], 64u);
}

fn keep_total(at: u32, y: total) {
    coopStoreT(y, &tile_y[at], 64u);
}
