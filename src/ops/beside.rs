//! The sum over the rows of a product's right operand, by workgroups of their own behind those of the product
//! (`lib/beside.wgsl`): the gradient of a bias beside that of weights, in one dispatch.

use super::reduce::{shares, sum_of_parts};
use crate::{
    Shape,
    dispatch::{Access, Dispatch, Program},
    op::Io,
    shape::GROUP,
};

/// Terms for each invocation, at least, before more workgroups share a column.
const TERMS: usize = 256;

/// Appends a product of so many `workgroups`, all else set, and with it the sum that [`Io::beside`] wants.
pub(super) fn push(io: &Io, program: &mut Program, product: Dispatch, workgroups: usize) {
    let Some(y) = io.beside else { return program.push(product.workgroups(workgroups)) };
    let b = io.inputs[1].shape;
    let (rows, groups) = (b.len() / b.last(), b.last().div_ceil(GROUP));
    let across = groups.next_power_of_two().min(16);
    let blocks = groups.div_ceil(across);
    let (splits, chunk) = shares(rows, 64 / across * TERMS, blocks);
    let (acc, flops) = (product.shader.acc, product.flops as usize + b.len());
    let (kept, four, wide) = match splits {
        1 => (y, "elem4", ""),
        n => (program.scratch(Shape::from([n, groups * GROUP]), acc), "wide4", "_wide"),
    };
    let table = [[workgroups, rows, groups, splits], [chunk, across, 0, 0]];
    program.push(
        product
            .wide(acc)
            .import("beside")
            .table(table.map(|line| line.map(|n| n as u32)))
            .extra(kept, Access::Write, &format!("sums: array<{four}>"))
            .declare(&format!("fn keep_sum(g: u32, v: vec4<acc>) {{ sums[g] = pack4{wide}(v); }}\n"))
            .flops(flops)
            .splice("beside", "    if beside(workgroup, lane) { return; }\n")
            .workgroups(workgroups + blocks * splits),
    );
    if splits > 1 {
        program.push(sum_of_parts(io, kept, y));
    }
}
