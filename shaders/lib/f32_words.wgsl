// Storage of f32 two to a scalar, for processors. `acc`, the type of arithmetic, is an alias that the composition defines
// before.
#import word64

alias elem4 = vec2<u64>;

fn unpack4(v: elem4) -> vec4<acc> {
    return vec4<acc>(bitcast<vec4<f32>>(vec4<u32>(words_of(v.x), words_of(v.y))));
}

fn plain_unpack4(v: elem4) -> vec4<acc> {
    return unpack4(v);
}

fn pack4(v: vec4<acc>) -> elem4 {
    let u = bitcast<vec4<u32>>(vec4<f32>(v));
    return vec2<u64>(pair_from(u.xy), pair_from(u.zw));
}

// Value o of an array, of which o / 4 is a group, and v its scalar o % 4 / SCALAR: no more is loaded for it.
const SCALAR: u32 = 2u;

fn lone(v: u64, o: u32) -> acc {
    return acc(bitcast<f32>(u32(v >> (32u * (o % 2u)))));
}
