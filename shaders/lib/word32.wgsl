// Two words of 32 bits in storage, and two such pairs.
alias pair = vec2<u32>;
alias two_pairs = vec4<u32>;

fn words_of(v: pair) -> vec2<u32> {
    return v;
}

fn pair_from(w: vec2<u32>) -> pair {
    return w;
}

fn pairs_of(v: two_pairs) -> array<pair, 2> {
    return array<pair, 2>(v.xy, v.zw);
}
