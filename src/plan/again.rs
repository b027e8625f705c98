//! Gradient checkpointing: what the backward pass computes again, so that a plan fits a number of bytes.
//!
//! A function of the graph alone. The forward pass is cut into segments of about equal bytes, where little crosses; of the first of
//! them only what crosses is kept (arXiv 1604.06174). Beside that or alone, what is cheap to compute from the rest is kept nowhere. Plans
//! are tried with more and more segments, each with as few of them computed again as will do; the one of fewest operations is taken.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Error, Graph, Result,
    dispatch::{bytes, count},
    graph::{Origin, Value},
    lower::Lowered,
    op::Kind,
};

/// Numbers of segments that are tried.
const SEGMENTS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

/// The ops that a loss depends on, in their order.
pub struct Forward {
    steps: Vec<Step>,
}

struct Step {
    node: usize,
    /// Of its results.
    bytes: u64,
    /// Whether it, or what it is a view of, lies in memory.
    stored: bool,
    /// Whether it is cheap to compute from what lies in memory, by what is fused as it is forward: then its bits are the same.
    free: bool,
    /// Whether a kernel of its own begins here: where it does not, a cut would part what is fused.
    begins: bool,
    /// The last step that reads it.
    until: usize,
}

/// Which segments are computed again.
struct Choice<'a> {
    /// Where segments end, the last one aside.
    cuts: &'a [usize],
    /// Whether nothing is kept that is free.
    lean: bool,
}

impl Forward {
    /// The ops that `loss` depends on; of these `stored` lie in memory where nothing is computed again.
    pub fn of(graph: &Graph, loss: Value, stored: &BTreeSet<usize>) -> Self {
        let mut reached = BTreeSet::from([loss.node]);
        let mut todo = vec![loss.node];
        while let Some(n) = todo.pop() {
            todo.extend(graph.node(n).inputs.iter().map(|v| v.node).filter(|&n| reached.insert(n)));
        }
        let (mut steps, mut at): (Vec<Step>, BTreeMap<usize, usize>) = Default::default();
        for n in reached {
            let node = graph.node(n);
            let (Origin::Op(op), Some(kind)) = (&node.origin, node.kind()) else { continue };
            let view = kind == Kind::View;
            let inputs: Vec<&Step> = node.inputs.iter().filter_map(|v| Some(&steps[*at.get(&v.node)?])).collect();
            let step = Step {
                node: n,
                bytes: if view { 0 } else { node.outputs.iter().map(|t| bytes(t.shape, t.dtype)).sum() },
                stored: if view {
                    inputs.iter().all(|s| s.stored)
                } else {
                    stored.contains(&n) || node.inputs.is_empty()
                },
                free: op.is_cheap() && inputs.iter().all(|s| s.stored || s.free),
                begins: !matches!(kind, Kind::Map(_) | Kind::View),
                until: steps.len(),
            };
            at.insert(n, steps.len());
            steps.push(step);
        }
        // Who reads a view reads what it is a view of.
        for k in (0..steps.len()).rev() {
            let node = graph.node(steps[k].node);
            let until = if node.kind() == Some(Kind::View) { steps[k].until } else { k };
            for v in node.inputs.iter().filter_map(|v| at.get(&v.node)) {
                steps[*v].until = steps[*v].until.max(until);
            }
        }
        Forward { steps }
    }

    /// Where `segments` of about equal bytes end, the last aside: in the middle half between its neighbours each, where least
    /// crosses.
    fn cuts(&self, segments: usize) -> Vec<usize> {
        let total: u64 = self.steps.iter().map(|s| s.bytes).sum();
        let before: Vec<u64> =
            self.steps.iter().scan(0, |sum, s| Some(std::mem::replace(sum, *sum + s.bytes))).collect();
        let across = |cut: usize| self.steps[..cut].iter().filter(move |s| s.until >= cut);
        let crossing = |cut: usize| across(cut).map(|s| s.bytes).sum::<u64>();
        let quarter = total / (4 * segments as u64);
        let mut cuts: Vec<usize> = (1..segments as u64)
            .filter_map(|i| {
                let middle = i * total / segments as u64;
                let near = |k: &usize| {
                    let whole = self.steps[*k].begins && across(*k).all(|s| s.stored);
                    whole && before[*k].abs_diff(middle) <= quarter
                };
                (1..self.steps.len()).filter(near).min_by_key(|&k| (crossing(k), before[k].abs_diff(middle)))
            })
            .collect();
        cuts.dedup();
        cuts
    }

    /// The nodes whose results are kept.
    fn kept(&self, choice: &Choice) -> BTreeSet<usize> {
        let end = choice.cuts.last().copied().unwrap_or(0);
        let kept = |(k, step): &(usize, &Step)| match *k < end {
            true => choice.cuts.iter().any(|&cut| *k < cut && step.until >= cut),
            false => !(choice.lean && step.free),
        };
        self.steps.iter().enumerate().filter(kept).map(|(_, step)| step.node).collect()
    }

    /// The plan of at most `budget` bytes that computes least again; `lower` makes a plan that keeps some nodes' results.
    ///
    /// # Errors
    /// [`Error::Memory`] with the least that was reached, if none fits; what else `lower` meets.
    pub fn fit(&self, budget: u64, mut lower: impl FnMut(&BTreeSet<usize>) -> Result<Lowered>) -> Result<Lowered> {
        let mut least = u64::MAX;
        let mut tried = |cuts: &[usize], lean: bool| match lower(&self.kept(&Choice { cuts, lean })) {
            Ok(made) => {
                least = least.min(made.program.total_bytes());
                Ok(Some(made).filter(|made| made.program.total_bytes() <= budget))
            }
            // A buffer that is too large, and would be smaller with more segments.
            Err(Error::Memory(_)) => Ok(None),
            Err(e) => Err(e),
        };
        let mut best: Option<Lowered> = None;
        for segments in SEGMENTS {
            let cuts = self.cuts(segments);
            if cuts.len() + 1 < segments {
                break;
            }
            let lean = tried(&cuts, true)?.map(|made| (made, true));
            let full = if segments > 1 { tried(&cuts, false)?.map(|made| (made, false)) } else { None };
            let less = [lean, full].into_iter().flatten().min_by_key(|(made, _)| made.program.flops());
            let Some((mut made, lean)) = less else { continue };
            let (mut short, mut enough) = (0, cuts.len());
            while short + 1 < enough {
                let middle = short.midpoint(enough);
                match tried(&cuts[..middle], lean)? {
                    Some(less) => (made, enough) = (less, middle),
                    None => short = middle,
                }
            }
            if best.as_ref().is_none_or(|best| made.program.flops() < best.program.flops()) {
                best = Some(made);
            }
            if segments == 1 {
                break;
            }
        }
        if let Some(best) = best {
            return Ok(best);
        }
        let (least, budget) = (count(least), count(budget));
        Err(Error::Memory(format!(
            "the plan takes {least}B at least, with activations computed again, and {budget}B are allowed; a smaller batch needs \
             less, and Options::accumulate makes one update of several"
        )))
    }
}
