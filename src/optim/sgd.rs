//! Gradient descent, with momentum or without.

use super::{Schedule, Update, UpdateIo, lost, sound};
use crate::{Error, Precision, Result, dispatch::Program, error::Warning};

/// Stochastic gradient descent: `m ← μm + g + λw`, `w ← w − ηm`.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Sgd {
    schedule: Schedule,
    momentum: f32,
    nesterov: bool,
    weight_decay: f32,
}

impl Sgd {
    /// Plain descent with this learning rate η.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Sgd { schedule: learning_rate.into(), momentum: 0.0, nesterov: false, weight_decay: 0.0 }
    }

    /// With momentum μ.
    pub fn momentum(self, momentum: f32) -> Self {
        Sgd { momentum, ..self }
    }

    /// With Nesterov's form of momentum: `w ← w − η(g + μm)`.
    pub fn nesterov(self) -> Self {
        Sgd { nesterov: true, ..self }
    }

    /// With weight decay λ, added to the gradient.
    pub fn weight_decay(self, weight_decay: f32) -> Self {
        Sgd { weight_decay, ..self }
    }
}

impl Sgd {
    fn numbers(&self) -> [(&'static str, f32); 3] {
        let rate = self.schedule.worst();
        [("learning rate", rate), ("momentum", self.momentum), ("weight decay", self.weight_decay)]
    }
}

impl Update for Sgd {
    fn name(&self) -> &'static str {
        if self.moments().is_empty() { "sgd" } else { "momentum" }
    }

    fn moments(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["m"] }
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn lower(&self, io: &UpdateIo, program: &mut Program) {
        let n = io.weights.shape.len();
        let d = match self.moments() {
            [] => io
                .dispatch("sgd", include_str!("../../shaders/sgd.wgsl"))
                .param_f32("weight_decay", io.held(self.weight_decay))
                .flops(4 * n),
            _ => io
                .dispatch("momentum", include_str!("../../shaders/momentum.wgsl"))
                .param_f32("weight_decay", io.held(self.weight_decay))
                .param_f32("momentum", io.held(self.momentum))
                .param("nesterov", self.nesterov.into())
                .flops(6 * n),
        };
        program.push(d);
    }

    fn check(&self, precision: Precision) -> Result<()> {
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::name("SGD: nesterov", "it looks ahead along the momentum, and there is none"));
        }
        sound("SGD", &[], &self.numbers(), precision)
    }

    fn warnings(&self, precision: Precision) -> Vec<Warning> {
        lost("SGD", &self.numbers(), precision)
    }
}
