// The same as `word32` in scalars of 64 bits, for processors: those pay for each scalar that they load or store.
alias pair = u64;
alias two_pairs = vec2<u64>;

fn words_of(v: pair) -> vec2<u32> {
    return vec2<u32>(u32(v), u32(v >> 32u));
}

fn pair_from(w: vec2<u32>) -> pair {
    return u64(w.x) | (u64(w.y) << 32u);
}

fn pairs_of(v: two_pairs) -> array<pair, 2> {
    return array<pair, 2>(v.x, v.y);
}
