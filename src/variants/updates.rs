//! Programs with every form of update: each optimizer and rounding, with and without what can be asked for beside.

use crate::{
    Adam, AdamW, Caps, Dtype, Error, Graph, Init, LossScale, Precision, Result, RmsProp, Sgd,
    dispatch::Program,
    format::{Format, Simulation},
    lower::{Request, Training, lower},
    optim::{Form, Group, Update},
    precision::Rounding,
};

/// One program after another; what an adapter has too few storage buffers for is left out, as the planner refuses it.
pub fn programs(caps: &Caps, preset: Precision, mut each: impl FnMut(Precision, Program) -> Result<()>) -> Result<()> {
    let optimizers: [&dyn Update; 8] = [
        &Sgd::new(0.1),
        &Sgd::new(0.1).momentum(0.9),
        &Sgd::new(0.1).momentum(0.9).nesterov().weight_decay(1e-3),
        &Adam::new(1e-3),
        &Adam::new(1e-3).form(Form::Textbook),
        &Adam::new(1e-3).form(Form::Floor),
        &AdamW::new(1e-3),
        &RmsProp::new(1e-3),
    ];
    for precision in precisions(preset) {
        for optimizer in optimizers {
            // The last two switches alone, and with all others.
            for switches in (0..1 << 5).chain([1 << 5, 1 << 6, (1 << 7) - 1]) {
                match program(caps, precision, optimizer, |i| switches >> i & 1 == 1) {
                    Err(Error::Unsupported { .. }) => {}
                    made => each(precision, made?)?,
                }
            }
        }
    }
    Ok(())
}

/// The preset, and what is made of it by rounding otherwise, by masters, by a loss scale that moves.
fn precisions(preset: Precision) -> Vec<Precision> {
    let mut found = vec![preset];
    if preset.state() == Dtype::F16 {
        let roundings = [Rounding::Nearest, Rounding::Stochastic, Rounding::Compensated];
        found.extend(roundings.map(|rounding| Precision { rounding, ..preset }));
        let loss_scale = LossScale::Dynamic { initial: 1024.0, growth: 2.0, backoff: 0.5, interval: 2000 };
        found.push(Precision { loss_scale, ..preset });
        found.push(Precision { master: true, ..preset });
    }
    found
}

/// A step of one matrix, with seven switches.
fn program(caps: &Caps, precision: Precision, optimizer: &dyn Update, on: impl Fn(usize) -> bool) -> Result<Program> {
    let graph = Graph::new(precision);
    if on(5) {
        let by_chance = Some(Format::E4M3.stochastic());
        graph.simulate(Simulation { weights: by_chance, activations: by_chance, gradients: by_chance });
    }
    let w = graph.weight("w", [8, 4], Init::Kaiming);
    let loss = graph.input("x", [5, 8]).matmul(w).mean_all();
    let gradients = graph.grad_from(loss, graph.loss_scale(), &[w]);
    let groups = [Group::named("w").learning_rate(0.5)];
    let training = Training {
        loss: loss.value,
        optimizer,
        gradients: vec![(w.value, gradients[0].value)],
        record_changes: on(0),
        groups: if on(1) { &groups } else { &[] },
        clip_norm: on(2),
        average: on(3).then_some(0.999),
        runs: if on(6) { 2 } else { 1 },
        stored: None,
    };
    let wanted = vec![loss.value];
    let request =
        Request { graph: &graph, caps, wanted, training: Some(training), observe: on(4), fusion: true, algebra: true };
    Ok(lower(&request)?.program)
}
