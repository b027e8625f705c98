//! The sum over the rows of a product's right operand, by workgroups of their own among those of the product
//! (`lib/beside.wgsl`): the gradient of a bias beside that of weights, in one dispatch.

use super::{
    far,
    reduce::{abreast, shares, sum_of_parts},
};
use crate::{
    Shape,
    dispatch::{Access, Dispatch, Program},
    op::Io,
    shape::GROUP,
};

/// Terms for each invocation, at least, before more workgroups share a column.
const TERMS: usize = 256;

/// Appends a product of so many `workgroups` of `threads` each, all else set, and with it the sum that [`Io::beside`] wants.
pub(super) fn push(io: &Io, program: &mut Program, product: Dispatch, [workgroups, threads]: [usize; 2]) {
    let Some(y) = io.beside else { return program.push(product.workgroups(workgroups)) };
    let b = io.inputs[1].shape;
    let (rows, groups) = (b.len() / b.last(), b.last().div_ceil(GROUP));
    let summing = threads.min(64);
    let across = abreast(groups).min(summing);
    let blocks = groups.div_ceil(across);
    let (splits, chunk) = shares(rows, summing / across * TERMS, blocks);
    let (acc, flops) = (product.shader.acc, product.flops as usize + b.len());
    let (kept, four, wide) = match splits {
        1 => (y, "elem4", ""),
        n => (program.scratch(Shape::from([n, groups * GROUP]), acc), "wide4", "_wide"),
    };
    let (sums, all) = (blocks * splits, workgroups + blocks * splits);
    let table = [[workgroups, rows, groups, splits], [chunk, across, sums, all / sums.min(workgroups)]];
    program.push(
        product
            .wide(acc)
            .import("beside")
            .table(table.map(|line| line.map(|n| n as u32)))
            .extra(kept, Access::Write, &format!("sums: array<{four}>"))
            .declare(&format!("fn keep_sum(g: u32, v: vec4<acc>) {{ sums[g] = pack4{wide}(v); }}\n"))
            .flops(flops)
            .constant("SUMMING", summing as u32)
            .constant("MANY_WORKGROUPS", far(all))
            .splice("beside", "    let own = beside(workgroup, lane);\n    if own == NOWHERE { return; }\n")
            .workgroups(all),
    );
    if splits > 1 {
        program.push(sum_of_parts(io, kept, y));
    }
}
