// Storage of f32. `acc`, the type of arithmetic, is an alias that the composition defines before.
alias elem4 = vec4<f32>;

fn unpack4(v: elem4) -> vec4<acc> {
    return vec4<acc>(v);
}

fn plain_unpack4(v: elem4) -> vec4<acc> {
    return unpack4(v);
}

fn pack4(v: vec4<acc>) -> elem4 {
    return vec4<f32>(v);
}

// Value o of an array, of which o / 4 is a group, and v its scalar o % 4 / SCALAR: no more is loaded for it.
const SCALAR: u32 = 1u;

fn lone(v: f32, o: u32) -> acc {
    return acc(v);
}
