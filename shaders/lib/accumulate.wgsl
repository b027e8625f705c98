// How a running sum is kept: `Accumulate` of src/precision.rs. In f16 it is rounded to binary16, by integers, after each
// addition; the addition itself is f32's, and a product of two halves is exact before it. So it runs on every adapter.
#import half

const SUM_IN_F16: u32 = 0u; // whether it is rounded; else it is what registers hold
const CHUNK: u32 = 0u;      // after so many additions it goes to a total in f32 and starts again; 0: never

// A running sum as it is kept.
fn running(v: vec4<acc>) -> vec4<acc> {
    if SUM_IN_F16 == 1u {
        return vec4<acc>(half4(vec4<f32>(v)));
    }
    return v;
}

// Four sums under way.
struct Sum {
    part: vec4<acc>,
    total: vec4<acc>, // of the chunks that are full
    terms: u32,       // in the part
}

fn added(s: Sum, v: vec4<acc>) -> Sum {
    let part = running(s.part + v);
    if CHUNK == 0u {
        return Sum(part, s.total, 0u);
    }
    if s.terms + 1u < CHUNK {
        return Sum(part, s.total, s.terms + 1u);
    }
    return Sum(vec4<acc>(), s.total + part, 0u);
}

fn whole(s: Sum) -> vec4<acc> {
    if CHUNK == 0u {
        return s.part;
    }
    return s.total + s.part;
}

// Two sums as one: those of chunks are f32 by then.
fn joined(u: vec4<acc>, v: vec4<acc>) -> vec4<acc> {
    if CHUNK == 0u {
        return running(u + v);
    }
    return u + v;
}
