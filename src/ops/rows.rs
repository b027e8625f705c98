//! How rows are shared out among invocations: what softmax, cross-entropy, normalisation of rows and sums of rows have in
//! common. The invocations of a row each take a part of it and then meet, as often as the kernel's file says.
//!
//! | a row to | how it is read | barriers each time that invocations meet |
//! |---|---|---|
//! | one invocation | once if held in registers | none |
//! | some invocations of a subgroup | the same | none: shuffles |
//! | a workgroup, or a part of one | the same | one |
//! | the same, where there are no subgroups | the same | one among up to 16 invocations, two among more |
//!
//! Few long rows are cut further, for several workgroups each: [`super::stretches`], of plain sums [`super::reduce`].

use super::gemm::{TURNS, busy};
use crate::{Caps, caps::Kind, dispatch::Dispatch};

/// How rows are shared out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rows {
    /// Invocations of a workgroup.
    pub threads: usize,
    /// Invocations that share a row.
    pub lanes: usize,
    /// Groups of its row that each of them holds in registers; 0 if those are too many.
    pub held: usize,
    /// The adapter's smallest subgroup; 0 where invocations meet in memory of the workgroup.
    pub subgroup: usize,
}

/// Groups that an invocation has registers for, of all arrays that it holds: 32 registers of 32 bits.
const HELD: usize = 8;
/// Groups of an invocation of a GPU, where rows are long enough: its neighbours read memory side by side.
pub(super) const EACH: usize = 4;
/// Invocations of the largest workgroup: WebGPU's default limit.
pub(super) const WIDEST: usize = 256;
/// Those of the smallest; a quarter of it on processors, where few rows are to make more than one.
const WORKGROUP: usize = 64;
/// Workgroups that few rows on a processor are to make, for its cores.
pub(super) const CORES: usize = 16;
/// Groups that a processor's invocations share a row for: neighbours gain nothing there, and only few rows leave it idle.
const SHARED: usize = 8;

/// Groups that one invocation of a processor may walk through: a kernel may take each three times.
pub(super) const FARTHEST: usize = TURNS / 4;

/// How so many rows of so many groups are shared out, of each of which a kernel holds `arrays` if it can.
pub(super) fn choose(caps: &Caps, rows: usize, groups: usize, arrays: usize) -> Rows {
    let (least, most) = (caps.subgroup.0 as usize, caps.subgroup.1 as usize);
    let subgroups = most > 0 && most <= WIDEST.min(caps.invocations as usize);
    let software = caps.kind == Kind::Software;
    let fits = |lanes: usize| groups.div_ceil(lanes) * arrays <= HELD;
    let wanted = match software {
        true => 1,
        false => groups.div_ceil(EACH).next_power_of_two(),
    };
    // Within a subgroup there is no barrier.
    let near = if subgroups && fits(least.max(1)) { wanted.min(least) } else { wanted };
    let useful = if software { groups / SHARED } else { groups };
    let bound = match (software, subgroups) {
        (true, true) => least,
        (true, false) => 16,
        (false, _) => WIDEST.min(caps.invocations as usize),
    };
    let bound = power_below(useful.min(bound));
    let mut lanes = near.min(bound);
    while rows * lanes < busy(caps.kind) && 2 * lanes <= bound {
        lanes *= 2;
    }
    while software && groups > lanes * FARTHEST && 2 * lanes <= WIDEST {
        lanes *= 2;
    }
    let workgroup = match software {
        true => (rows * lanes / CORES).next_power_of_two().clamp(WORKGROUP / 4, WORKGROUP),
        false => WORKGROUP,
    };
    Rows {
        threads: workgroup.max(lanes).max(if subgroups { most } else { 0 }),
        lanes,
        held: if software || arrays == 0 || !fits(lanes) { 0 } else { groups.div_ceil(lanes) },
        subgroup: if subgroups && lanes > 1 { least } else { 0 },
    }
}

/// The largest power of two that is not above `n`, and 1 for 0.
fn power_below(n: usize) -> usize {
    n.checked_ilog2().map_or(1, |bits| 1 << bits)
}

impl Rows {
    /// The variant of a dispatch's shader.
    pub fn apply(&self, dispatch: Dispatch) -> Dispatch {
        let dispatch = dispatch
            .constant("THREADS", self.threads as u32)
            .constant("LANES", self.lanes as u32)
            .constant("HELD", self.held as u32);
        match self.subgroup {
            0 => dispatch.import("lanes_shared"),
            least => dispatch.import("lanes_subgroups").constant("LEAST", least as u32),
        }
    }

    /// The same for a kernel that wants few workgroups.
    pub fn gathered(self) -> Self {
        Rows { threads: self.threads.max(WORKGROUP), ..self }
    }

    /// Rows that a workgroup takes at once.
    pub fn each(&self) -> usize {
        self.threads / self.lanes
    }

    /// The same of a dispatch that takes each of so many rows once.
    pub fn over(&self, rows: usize, dispatch: Dispatch) -> Dispatch {
        self.apply(dispatch).unzeroed().workgroups(rows.div_ceil(self.each()))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::gemm::tests::adapters, *};

    #[test]
    fn each_adapter_gets_what_suits_it() {
        for caps in adapters() {
            let name = caps.adapter.as_str();
            // Ten classes; a head of attention; a layer of a transformer; a vocabulary and one row of it.
            let sizes = [(65536, 3), (65536, 16), (4096, 256), (1 << 16, 4096), (1, 4096)];
            let found = sizes.map(|(rows, groups)| choose(&caps, rows, groups, 1));
            let lanes = found.map(|r| r.lanes);
            let expected = match name {
                "llvmpipe" => [1, 1, 1, 1, 8],
                "SwiftShader" => [1, 1, 1, 1, 4],
                // A subgroup of 32 holds a row of 1024 values.
                _ if caps.subgroup.0 == 32 => [1, 4, 32, 256, 256],
                _ => [1, 4, 64, 256, 256],
            };
            assert_eq!(lanes, expected, "{name}");
            let held = found.map(|r| r.held);
            let none = caps.kind == Kind::Software;
            assert_eq!(held, if none { [0; 5] } else { [3, 4, 256 / lanes[2], 0, 0] }, "{name}");
            assert_eq!(found[1].subgroup, if none { 0 } else { caps.subgroup.0 as usize }, "{name}");
        }
    }

    #[test]
    fn variants_stay_within_limits_and_every_invocation_has_a_group() {
        for caps in adapters() {
            for rows in [1, 2, 5, 17, 64, 1000, 65536] {
                for groups in [1, 2, 3, 7, 8, 16, 33, 64, 250, 256, 1000, 5000] {
                    for arrays in [0, 1, 2] {
                        let r = choose(&caps, rows, groups, arrays);
                        let why = format!("{} {rows} {groups} {arrays}: {r:?}", caps.adapter);
                        assert!(r.lanes.is_power_of_two() && r.lanes <= groups && r.lanes <= r.threads, "{why}");
                        assert!(r.threads <= caps.invocations as usize && r.threads.is_multiple_of(r.lanes), "{why}");
                        assert!(
                            r.held == 0 || r.held * r.lanes >= groups && (1..=HELD).contains(&(r.held * arrays)),
                            "{why}"
                        );
                        if r.subgroup > 0 {
                            // Whatever size the driver takes, workgroups are whole subgroups.
                            assert_eq!(r.threads % caps.subgroup.1 as usize, 0, "{why}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn without_subgroups_memory_of_the_workgroup_serves() {
        for caps in adapters() {
            let without = Caps { subgroup: (0, 0), ..caps };
            let r = choose(&without, 4096, 256, 1);
            assert_eq!((r.subgroup, r.threads), (0, 64), "{}", without.adapter);
            // Of the longest rows too: two halves of `near` and of `far`, and what cross-entropy counts.
            let threads = choose(&without, 1, 1 << 20, 1).threads as u32;
            let bytes = 2 * 16 * (threads + threads / 16) + 16;
            assert!(bytes <= Caps::LEAST_WORKGROUP_BYTES, "{}: {bytes}", without.adapter);
        }
    }
}
