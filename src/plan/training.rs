//! From a loss to the program of a training step.

use std::collections::{BTreeMap, BTreeSet};

use super::{Options, again::Forward};
use crate::{
    Caps, Error, Result, Tensor,
    graph::{Origin, Value},
    lower::{self, Lowered, Request, Training},
    op::Kind,
    optim::Update,
};

/// The program of a training step; needs no GPU.
///
/// # Errors
/// As [`Plan::train`](super::Plan::train).
pub fn lower_training(loss: Tensor, optimizer: &dyn Update, caps: &Caps, options: &Options) -> Result<Lowered> {
    let graph = loss.graph;
    graph.check()?;
    if loss.shape().len() != 1 {
        let detail = format!("it is {}, and training needs one number: mean_all() or sum_all()", loss.shape());
        return Err(Error::name("loss", detail));
    }
    valid(options)?;
    optimizer.check(graph.precision())?;
    // The backward pass is the plan's: the graph stays what the user made.
    let own = graph.len();
    let mut made = graph.forgetting(|| fitting(loss, optimizer, caps, options))?;
    made.ports.retain(|v, _| v.node < own);
    Ok(made)
}

fn valid(options: &Options) -> Result<()> {
    let of = |name: &str, valid: bool, detail: &str| if valid { Ok(()) } else { Err(Error::name(name, detail)) };
    of("accumulate", options.accumulate > 0, "no run makes no update; 1 updates after each")?;
    let clips = options.clip_norm.is_none_or(|norm| norm > 0.0 && norm.is_finite());
    of("clip_norm", clips, "a norm to shorten gradients to is above 0 and finite; None leaves them as they are")?;
    let follows = options.average.is_none_or(|decay| (0.0..1.0).contains(&decay));
    of("average", follows, "the decay of an average is from 0 to less than 1")
}

/// The program of a training step, with activations computed again where that is needed to fit the memory that there is.
fn fitting(loss: Tensor, optimizer: &dyn Update, caps: &Caps, options: &Options) -> Result<Lowered> {
    let graph = loss.graph;
    let wide = loss.reshape([]).cast(graph.precision().wide());
    let Some(budget) = options.budget(caps) else { return keeping(loss, wide, optimizer, caps, options, None) };
    // What cannot be allocated can be made smaller.
    let unlimited = Caps { memory: None, buffer_bytes: u64::MAX, ..caps.clone() };
    let forward = graph.len();
    let mut whole = graph.forgetting(|| keeping(loss, wide, optimizer, &unlimited, options, None))?;
    if whole.program.total_bytes() <= budget {
        return keeping(loss, wide, optimizer, caps, options, None);
    }
    whole.stored.retain(|&n| n < forward);
    let caps = Caps { memory: None, ..caps.clone() };
    let kept = |kept: &BTreeSet<usize>| {
        graph.forgetting(|| keeping(loss, wide, optimizer, &caps, options, Some((kept, &whole.stored))))
    };
    let mut made = Forward::of(graph, wide.value, &whole.stored).fit(budget, kept)?;
    made.program.again = made.program.flops().saturating_sub(whole.program.flops());
    Ok(made)
}

/// The program of a training step whose backward pass has all activations; or, `again`, only those of some ops, while what is in
/// memory where it has all is there as well.
fn keeping(
    loss: Tensor,
    wide: Tensor,
    optimizer: &dyn Update,
    caps: &Caps,
    options: &Options,
    again: Option<(&BTreeSet<usize>, &BTreeSet<usize>)>,
) -> Result<Lowered> {
    let graph = loss.graph;
    let trained: Vec<Tensor> = graph.weights().into_iter().filter(|w| !graph.is_frozen(*w)).collect();
    let gradients = graph.grad_keeping(wide, graph.loss_scale(), &trained, again.map(|(kept, _)| kept));
    // What the loss does not depend on stays as it is, without decay.
    let found = trained.into_iter().zip(gradients).filter_map(|(w, g)| Some((w, g?)));
    let (trained, gradients): (Vec<Tensor>, Vec<Tensor>) = found.unzip();
    let mut readers: BTreeMap<Value, usize> = BTreeMap::new();
    for v in (0..graph.len()).flat_map(|n| graph.node(n).inputs) {
        *readers.entry(v).or_default() += 1;
    }
    let gradients =
        trained.iter().zip(&gradients).map(|(w, g)| (w.value, own(*g, &gradients, &readers).value)).collect();
    let training = Training {
        loss: wide.value,
        optimizer,
        gradients,
        record_changes: options.record_changes,
        groups: &options.groups,
        clip_norm: options.clip_norm.is_some(),
        average: options.average,
        runs: options.accumulate,
        stored: again.map(|(_, stored)| stored),
    };
    let wanted = vec![loss.value];
    lower::lower(&Request {
        graph,
        caps,
        wanted,
        training: Some(training),
        observe: options.observe,
        fusion: options.fusion,
        algebra: options.algebra,
    })
}

/// What may be written straight into the arena as this gradient: it, or what it is a view of, if that is computed and
/// read by nobody else. If not, a copy.
fn own<'g>(gradient: Tensor<'g>, all: &[Tensor], readers: &BTreeMap<Value, usize>) -> Tensor<'g> {
    let graph = gradient.graph;
    let readers = |v: Value| readers.get(&v).copied().unwrap_or(0);
    let shared = all.iter().filter(|g| g.value == gradient.value).count() > 1;
    let (mut value, mut readers_allowed) = (gradient.value, 0);
    while !shared && readers(value) == readers_allowed && !graph.node(value.node).watched {
        let node = graph.node(value.node);
        match (node.kind(), node.origin) {
            (Some(Kind::View), _) => (value, readers_allowed) = (node.inputs[0], 1),
            (_, Origin::Op(_)) => return Tensor { graph, value },
            _ => break,
        }
    }
    gradient.copied()
}
