// Products of blocks of four by four, added up in registers. The file that imports this has `alias block = mat4x4<acc>`.
#import accumulate

// y + b * a, a multiply-add a term: compilers make mul, fma and add of the matrix product and the sum.
fn plus(y: block, b: block, a: block) -> block {
    return block(plus_row(y[0], b, a[0]), plus_row(y[1], b, a[1]), plus_row(y[2], b, a[2]), plus_row(y[3], b, a[3]));
}

fn plus_row(y: vec4<acc>, b: block, a: vec4<acc>) -> vec4<acc> {
    if SUM_IN_F16 == 1u {
        return running(a.w * b[3] + running(a.z * b[2] + running(a.y * b[1] + running(a.x * b[0] + y))));
    }
    return a.w * b[3] + (a.z * b[2] + (a.y * b[1] + (a.x * b[0] + y)));
}
