//! RMSProp.

use super::{Schedule, Update, UpdateIo, epsilon, lost, sound};
use crate::{Precision, Result, dispatch::Program, error::Warning};

/// RMSProp (Hinton's lecture 6e): `v ← αv + (1 − α)g²`, `w ← w − η g / (√v + ε)`.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct RmsProp {
    schedule: Schedule,
    alpha: f32,
    epsilon: Option<f32>,
    weight_decay: f32,
}

impl RmsProp {
    /// α = 0.99; ε as for [`Adam::new`](super::Adam::new).
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        RmsProp { schedule: learning_rate.into(), alpha: 0.99, epsilon: None, weight_decay: 0.0 }
    }

    /// The decay rate of the second moment.
    pub fn alpha(self, alpha: f32) -> Self {
        RmsProp { alpha, ..self }
    }

    /// What is added to the root of the second moment.
    pub fn epsilon(self, epsilon: f32) -> Self {
        RmsProp { epsilon: Some(epsilon), ..self }
    }

    /// With weight decay λ, added to the gradient.
    pub fn weight_decay(self, weight_decay: f32) -> Self {
        RmsProp { weight_decay, ..self }
    }
}

impl RmsProp {
    fn shares(&self) -> [(&'static str, f32); 1] {
        [("alpha", self.alpha)]
    }

    fn numbers(&self) -> [(&'static str, f32); 3] {
        let (rate, epsilon) = (self.schedule.worst(), self.epsilon.unwrap_or(0.0));
        [("learning rate", rate), ("epsilon", epsilon), ("weight decay", self.weight_decay)]
    }
}

impl Update for RmsProp {
    fn name(&self) -> &'static str {
        "rmsprop"
    }

    fn moments(&self) -> &'static [&'static str] {
        &["root_v"]
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn lower(&self, io: &UpdateIo, program: &mut Program) {
        let alpha = io.held(self.alpha);
        let d = io
            .dispatch("rmsprop", include_str!("../../shaders/rmsprop.wgsl"))
            .param_f32("weight_decay", io.held(self.weight_decay))
            .param_f32("keep", alpha.sqrt())
            .param_f32("take", (1.0 - f64::from(alpha)).sqrt() as f32)
            .param_f32("epsilon", epsilon(self.epsilon, io.precision))
            .flops(9 * io.weights.shape.len());
        program.push(d);
    }

    fn check(&self, precision: Precision) -> Result<()> {
        sound("RMSProp", &self.shares(), &self.numbers(), precision)
    }

    fn warnings(&self, precision: Precision) -> Vec<Warning> {
        lost("RMSProp", self.shares().iter().chain(&self.numbers()), precision)
    }
}
