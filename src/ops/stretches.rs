//! Few long rows, cut in stretches so that an adapter has more to do than one workgroup for each (`lib/stretches.wgsl`): a first
//! pass leaves of each stretch what the sums of its row are made of, and a second joins that, in order, and writes.

use super::{
    gemm::busy,
    rows::{EACH, FARTHEST, WIDEST, choose},
};
use crate::{
    Caps, Shape,
    caps::Kind,
    dispatch::{Access, Dispatch, Operand, Program},
    op::Io,
    shape::GROUP,
};

/// Groups of a row that is cut, at least.
const LONG: usize = 4096;
/// Stretches of a row, at most, since all who write a part of the row join them: more only of rows that would else be walked
/// too far.
const MOST: usize = 512;

/// Which pass over rows a dispatch is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pass {
    /// The only one.
    Only,
    /// The first of two.
    First,
    /// The second.
    Second,
}

impl Pass {
    /// A result as the pass binds it: the first writes none, but has the same bindings.
    pub fn result(self, y: Operand) -> Operand {
        if self == Pass::First { y.seen_as(Shape::default()) } else { y }
    }

    /// Its part of so many operations.
    pub fn flops(self, all: usize) -> usize {
        if self == Pass::Only { all } else { all / 2 }
    }
}

/// Rows in stretches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cut {
    /// Stretches of a row.
    pub each: usize,
    /// Those of all rows.
    all: usize,
    /// Groups of each; the last of a row may have fewer.
    groups: usize,
}

impl Cut {
    /// How so many rows of so many groups are cut, if that helps.
    pub fn new(caps: &Caps, rows: usize, groups: usize) -> Option<Self> {
        // Each invocation of a processor has a stretch to itself, and joins all of the row; those of a GPU hold one together.
        let (idle, least) = match caps.kind {
            Kind::Software => (rows < busy(caps.kind) || groups > FARTHEST, LONG / 2),
            kind => (rows * WIDEST < busy(kind), WIDEST * EACH),
        };
        let length = least.max(groups.div_ceil(MOST).next_power_of_two()).min(FARTHEST);
        let each = groups.div_ceil(length);
        (idle && groups >= LONG).then_some(Cut { each, all: rows * each, groups: length })
    }

    /// Appends a first pass, and says what it leaves.
    pub fn first(&self, io: &Io, program: &mut Program, arrays: usize, dispatch: Dispatch) -> Operand {
        let left = program.scratch(Shape::from([self.all, GROUP]), dispatch.shader.wide);
        let line = "        stretches_left[i] = pack4_wide(v);\n";
        let dispatch = self.pass(1, dispatch, left, Access::Write).splice("leave", line);
        program.push(choose(io.caps, self.all, self.groups, arrays).over(self.all, dispatch));
        left
    }

    /// Makes a dispatch a second pass, which takes what was left.
    pub fn second(&self, dispatch: Dispatch, left: Operand) -> Dispatch {
        let line = "    return unpack4_wide(stretches_left[i]);\n";
        self.pass(2, dispatch, left, Access::Read).splice("left", line).second_pass()
    }

    fn pass(&self, number: u32, dispatch: Dispatch, left: Operand, access: Access) -> Dispatch {
        let dispatch = dispatch.constant("STRETCH", self.groups as u32).constant("PASS", number);
        dispatch.extra(left, access, "stretches_left: array<wide4>")
    }
}

/// Appends a kernel over so many rows of so many groups, of each of which it holds `arrays` if it can, with what is fused behind
/// it: one dispatch, or two where rows are cut.
pub(super) fn push(
    io: &Io,
    program: &mut Program,
    [rows, groups, arrays]: [usize; 3],
    kernel: impl Fn(Pass) -> Dispatch,
) {
    let (count, shared, dispatch) = match Cut::new(io.caps, rows, groups) {
        None => (rows, choose(io.caps, rows, groups, arrays), kernel(Pass::Only)),
        Some(cut) => {
            let left = cut.first(io, program, arrays, kernel(Pass::First));
            (cut.all, choose(io.caps, cut.all, cut.groups, 0), cut.second(kernel(Pass::Second), left))
        }
    };
    program.push(shared.over(count, dispatch.fuse("epilogue", io.chain)));
}

#[cfg(test)]
mod tests {
    use super::{super::gemm::tests::adapters, *};

    #[test]
    fn few_long_rows_are_cut() {
        for caps in adapters() {
            // A million values; a vocabulary in batches of 1, 8, 32, 64, 128; the same in f16 of a longer row; a short
            // row.
            let batches = [1, 8, 32, 64, 128].map(|rows| (rows, 32_000));
            let sizes = [&[(1, 250_000)], &batches[..], &[(1, 1 << 24), (1, 4095)]].concat();
            let each = |&(rows, groups): &(usize, usize)| Cut::new(&caps, rows, groups).map_or(1, |cut| cut.each);
            let found: Vec<usize> = sizes.iter().map(each).collect();
            let expected = match caps.kind {
                Kind::Software => [123, 16, 16, 16, 16, 16, 1024, 1],
                Kind::Discrete => [245, 32, 32, 32, 32, 1, 1024, 1],
                _ => [245, 32, 32, 1, 1, 1, 1024, 1],
            };
            assert_eq!(found, expected, "{}", caps.adapter);
        }
    }

    #[test]
    fn each_group_is_in_one_stretch_and_no_invocation_walks_too_far() {
        for caps in adapters() {
            for rows in [1, 3, 63, 1000] {
                for groups in [1, 4095, 4096, 4097, 16_384, 16_385, 100_003, 8 << 20] {
                    let cut = Cut::new(&caps, rows, groups);
                    let why = format!("{} {rows} {groups}: {cut:?}", caps.adapter);
                    let (count, each) = cut.map_or((rows, groups), |cut| (cut.all, cut.groups));
                    if let Some(cut) = cut {
                        assert!(cut.all == rows * cut.each && cut.each * each >= groups, "{why}");
                        assert!((cut.each - 1) * each < groups, "{why}");
                    }
                    let turns = each.div_ceil(choose(&caps, count, each, 1).lanes);
                    assert!(caps.kind != Kind::Software || turns <= FARTHEST, "{why}");
                }
            }
        }
    }
}
