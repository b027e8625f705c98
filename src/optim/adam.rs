//! Adam and AdamW, in forms that survive 16 bit and in forms that do not.

use super::{Schedule, Update, UpdateIo, epsilon, held, lost, sound};
use crate::{Precision, Result, dispatch::Program, error::Warning};

/// Adam (arXiv 1412.6980) and AdamW (arXiv 1711.05101).
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Adam {
    schedule: Schedule,
    beta1: f32,
    beta2: f32,
    epsilon: Option<f32>,
    weight_decay: f32,
    decoupled: bool,
    form: Form,
}

/// What Adam keeps of the second moment, and where ε stands. In 32 bit the first two are one; in 16 bit they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// √v is kept, by `√v ← hypot(√β₂ √v, √(1 − β₂) g)`: in f16 it spans the range that gradients do, while v itself is lost
    /// for |g| < 5.5e-3 (β₂ = 0.999; arXiv 2102.13565). The step is `m̂ / (√v̂ + ε)`.
    #[default]
    Root,
    /// v is kept, and ε is 1e-8 unless another is set, as in the textbook. In f16 both round to 0: this form is here to be
    /// seen failing.
    Textbook,
    /// v is kept, and ε is a floor under it: `m̂ / √max(v̂, ε)` (arXiv 2307.16189).
    Floor,
}

impl Adam {
    /// β₁ = 0.9, β₂ = 0.999; ε is 1e-8 where the state is f32, and 1e-4 in 16 bit, where 1e-8 would be 0.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Adam {
            schedule: learning_rate.into(),
            beta1: 0.9,
            beta2: 0.999,
            epsilon: None,
            weight_decay: 0.0,
            decoupled: false,
            form: Form::Root,
        }
    }

    /// The decay rates of the two moments.
    pub fn betas(self, beta1: f32, beta2: f32) -> Self {
        Adam { beta1, beta2, ..self }
    }

    /// What is added to the root of the second moment, or in [`Form::Floor`] the least that it can be.
    pub fn epsilon(self, epsilon: f32) -> Self {
        Adam { epsilon: Some(epsilon), ..self }
    }

    /// In another form.
    pub fn form(self, form: Form) -> Self {
        Adam { form, ..self }
    }

    fn title(&self) -> &'static str {
        if self.decoupled { "AdamW" } else { "Adam" }
    }

    fn shares(&self) -> [(&'static str, f32); 2] {
        [("beta1", self.beta1), ("beta2", self.beta2)]
    }

    fn numbers(&self) -> [(&'static str, f32); 3] {
        let epsilon = self.epsilon.unwrap_or(if self.form == Form::Textbook { 1e-8 } else { 0.0 });
        [("learning rate", self.schedule.worst()), ("epsilon", epsilon), ("weight decay", self.weight_decay)]
    }

    fn held_epsilon(&self, precision: Precision) -> f32 {
        match self.form {
            Form::Textbook => held(self.epsilon.unwrap_or(1e-8), precision),
            _ => epsilon(self.epsilon, precision),
        }
    }

    /// With weight decay λ: added to the gradient, or decoupled where [`AdamW`] made it.
    pub fn weight_decay(self, weight_decay: f32) -> Self {
        Adam { weight_decay, ..self }
    }
}

/// Adam with decoupled weight decay: `w ← w − ηλw − η m̂ / (√v̂ + ε)`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW;

impl AdamW {
    /// As [`Adam::new`], with weight decay λ = 0.01 apart from the gradient.
    #[allow(clippy::new_ret_no_self, reason = "AdamW is Adam with one switch")]
    pub fn new(learning_rate: impl Into<Schedule>) -> Adam {
        Adam { decoupled: true, weight_decay: 0.01, ..Adam::new(learning_rate) }
    }
}

impl Update for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn moments(&self) -> &'static [&'static str] {
        if self.form == Form::Root { &["m", "root_v"] } else { &["m", "v"] }
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn lower(&self, io: &UpdateIo, program: &mut Program) {
        let (beta1, beta2) = (io.held(self.beta1), io.held(self.beta2));
        // 1 − β and ln β in f64: near β = 1 the difference of two f32 would lose half the digits.
        let rest = |beta: f32| 1.0 - f64::from(beta);
        let ln = |beta: f32| f64::from(beta).ln() as f32;
        let second = |x: f64| if self.form == Form::Root { x.sqrt() as f32 } else { x as f32 };
        let mut d = io
            .dispatch("adam", include_str!("../../shaders/adam.wgsl"))
            .param_f32("weight_decay", io.held(self.weight_decay))
            .param("decoupled", self.decoupled.into())
            .param_f32("keep1", beta1)
            .param_f32("take1", rest(beta1) as f32)
            .param_f32("keep2", second(beta2.into()))
            .param_f32("take2", second(rest(beta2)))
            .param_f32("ln_beta1", ln(beta1))
            .param_f32("ln_beta2", ln(beta2))
            .param_f32("epsilon", self.held_epsilon(io.precision))
            .flops(16 * io.weights.shape.len());
        d = d.constant("FORM", self.form as u32);
        program.push(d);
    }

    fn check(&self, precision: Precision) -> Result<()> {
        sound(self.title(), &self.shares(), &self.numbers(), precision)
    }

    fn warnings(&self, precision: Precision) -> Vec<Warning> {
        lost(self.title(), self.shares().iter().chain(&self.numbers()), precision)
    }
}
