//! Optimizers: SGD, Adam, AdamW, RMSProp, each one dispatch over all weights.
//!
//! An optimizer's numbers are rounded to the type of its state ([`Precision::state`]): in 16 bit they are what 16 bit
//! can hold. Where the usual value rounds to nothing, the default is another; [`Plan::warnings`](crate::Plan::warnings)
//! says when a value of the user's does. Second moments are stored as their square root, which spans in f16 the
//! range that gradients do; v itself would underflow for |g| < 5.5e-3 (arXiv 2102.13565).

use half::f16;

use crate::{
    Dtype, Precision,
    dispatch::{Dispatch, Program, Shader},
    op::{Update, UpdateIo},
};

/// Stochastic gradient descent: `m ← μm + g + λw`, `w ← w − ηm`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sgd {
    learning_rate: f32,
    momentum: f32,
    nesterov: bool,
    weight_decay: f32,
}

impl Sgd {
    /// Plain descent with this learning rate η.
    pub fn new(learning_rate: f32) -> Self {
        Sgd { learning_rate, momentum: 0.0, nesterov: false, weight_decay: 0.0 }
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

/// Adam (arXiv 1412.6980) and AdamW (arXiv 1711.05101).
#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    epsilon: Option<f32>,
    weight_decay: f32,
    decoupled: bool,
}

impl Adam {
    /// β₁ = 0.9, β₂ = 0.999; ε is 1e-8 where the state is f32, and 1e-4 in 16 bit, where 1e-8 would be 0.
    pub fn new(learning_rate: f32) -> Self {
        Adam { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: None, weight_decay: 0.0, decoupled: false }
    }

    /// The decay rates of the two moments.
    pub fn betas(self, beta1: f32, beta2: f32) -> Self {
        Adam { beta1, beta2, ..self }
    }

    /// What is added to the root of the second moment.
    pub fn epsilon(self, epsilon: f32) -> Self {
        Adam { epsilon: Some(epsilon), ..self }
    }

    /// With weight decay λ, added to the gradient.
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
    pub fn new(learning_rate: f32) -> Adam {
        Adam { decoupled: true, weight_decay: 0.01, ..Adam::new(learning_rate) }
    }
}

/// RMSProp (Hinton's lecture 6e): `v ← αv + (1 − α)g²`, `w ← w − η g / (√v + ε)`.
#[derive(Debug, Clone, PartialEq)]
pub struct RmsProp {
    learning_rate: f32,
    alpha: f32,
    epsilon: Option<f32>,
    weight_decay: f32,
}

impl RmsProp {
    /// α = 0.99; ε as for [`Adam::new`].
    pub fn new(learning_rate: f32) -> Self {
        RmsProp { learning_rate, alpha: 0.99, epsilon: None, weight_decay: 0.0 }
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

/// A number as the optimizer's state can hold it.
pub(crate) fn held(value: f32, precision: Precision) -> f32 {
    if precision.state() == Dtype::F16 { f16::from_f32(value).to_f32() } else { value }
}

/// The user's ε, or one that the state can hold.
fn epsilon(chosen: Option<f32>, precision: Precision) -> f32 {
    let safe = if precision.state() == Dtype::F16 { 1e-4 } else { 1e-8 };
    held(chosen.unwrap_or(safe), precision)
}

/// What is lost of `numbers` in this precision.
fn lost(optimizer: &str, numbers: &[(&str, f32)], precision: Precision) -> Vec<String> {
    let mut found = vec![];
    for &(name, value) in numbers {
        let kept = held(value, precision);
        if value != 0.0 && kept == 0.0 {
            found.push(format!(
                "{optimizer}: {name} {value:e} rounds to 0 in {}, whose smallest number is 6e-8; use at least 1e-4, or Precision::MIXED",
                precision.state()
            ));
        } else if value < 1.0 && kept == 1.0 {
            found.push(format!(
                "{optimizer}: {name} {value} rounds to 1 in {}, so that average never moves; use at most 0.999, or Precision::MIXED",
                precision.state()
            ));
        }
    }
    found
}

/// The dispatch that all optimizers share: their file between the bindings and uniforms of `lib/update.wgsl`.
fn dispatch(io: &UpdateIo, name: &'static str, source: &'static str) -> Dispatch {
    let mut shader = Shader::new(name, source, io.precision.storage, io.precision)
        .wide(io.precision.state())
        .constant("COUNT", io.count.into())
        .constant("HALVES", u32::from(io.precision.state() == Dtype::F16));
    if io.copy.is_some() {
        let at = 4 + io.moments.len();
        shader.declarations = format!("@group(0) @binding({at}) var<storage, read_write> copy: array<elem4>;\n");
        shader.splices.push(("copy", "    copy[g] = pack4(unpack4_wide(stored));\n".into()));
    }
    let groups = io.weights.shape.groups();
    let mut d = Dispatch::new(format!("{name} update"), shader)
        .read(io.clock)
        .update(io.flags)
        .update(io.weights)
        .read(io.gradient)
        .workgroups(groups.div_ceil(64))
        .param("groups", groups);
    for &m in &io.moments {
        d = d.update(m);
    }
    match io.copy {
        Some(copy) => d.write(copy),
        None => d,
    }
}

impl Update for Sgd {
    fn name(&self) -> &'static str {
        if self.moments() == 0 { "sgd" } else { "momentum" }
    }

    fn moments(&self) -> usize {
        usize::from(self.momentum != 0.0)
    }

    fn learning_rate(&self) -> f32 {
        self.learning_rate
    }

    fn lower(&self, io: &UpdateIo, program: &mut Program) {
        let held = |v| held(v, io.precision);
        let n = io.weights.shape.len();
        let d = match self.moments() {
            0 => dispatch(io, "sgd", include_str!("../shaders/sgd.wgsl"))
                .param_f32("weight_decay", held(self.weight_decay))
                .flops(4 * n),
            _ => dispatch(io, "momentum", include_str!("../shaders/momentum.wgsl"))
                .param_f32("weight_decay", held(self.weight_decay))
                .param_f32("momentum", held(self.momentum))
                .param("nesterov", self.nesterov.into())
                .flops(6 * n),
        };
        program.push(d);
    }

    fn warnings(&self, precision: Precision) -> Vec<String> {
        let numbers =
            [("learning rate", self.learning_rate), ("momentum", self.momentum), ("weight decay", self.weight_decay)];
        lost("SGD", &numbers, precision)
    }
}

impl Update for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn moments(&self) -> usize {
        2
    }

    fn learning_rate(&self) -> f32 {
        self.learning_rate
    }

    fn lower(&self, io: &UpdateIo, program: &mut Program) {
        let held = |v| held(v, io.precision);
        let (beta1, beta2) = (held(self.beta1), held(self.beta2));
        // 1 − β and ln β in f64: near β = 1 the difference of two f32 would lose half the digits.
        let rest = |beta: f32| (1.0 - f64::from(beta)) as f32;
        let ln = |beta: f32| f64::from(beta).ln() as f32;
        let d = dispatch(io, "adam", include_str!("../shaders/adam.wgsl"))
            .param_f32("weight_decay", held(self.weight_decay))
            .param("decoupled", self.decoupled.into())
            .param_f32("beta1", beta1)
            .param_f32("beta2", beta2)
            .param_f32("rest1", rest(beta1))
            .param_f32("rest2", rest(beta2))
            .param_f32("ln_beta1", ln(beta1))
            .param_f32("ln_beta2", ln(beta2))
            .param_f32("epsilon", epsilon(self.epsilon, io.precision))
            .flops(16 * io.weights.shape.len());
        program.push(d);
    }

    fn warnings(&self, precision: Precision) -> Vec<String> {
        let numbers = [
            ("learning rate", self.learning_rate),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("epsilon", self.epsilon.unwrap_or(0.0)),
            ("weight decay", self.weight_decay),
        ];
        lost(if self.decoupled { "AdamW" } else { "Adam" }, &numbers, precision)
    }
}

impl Update for RmsProp {
    fn name(&self) -> &'static str {
        "rmsprop"
    }

    fn moments(&self) -> usize {
        1
    }

    fn learning_rate(&self) -> f32 {
        self.learning_rate
    }

    fn lower(&self, io: &UpdateIo, program: &mut Program) {
        let held = |v| held(v, io.precision);
        let alpha = held(self.alpha);
        let d = dispatch(io, "rmsprop", include_str!("../shaders/rmsprop.wgsl"))
            .param_f32("weight_decay", held(self.weight_decay))
            .param_f32("alpha", alpha)
            .param_f32("rest", (1.0 - f64::from(alpha)) as f32)
            .param_f32("epsilon", epsilon(self.epsilon, io.precision))
            .flops(9 * io.weights.shape.len());
        program.push(d);
    }

    fn warnings(&self, precision: Precision) -> Vec<String> {
        let numbers = [
            ("learning rate", self.learning_rate),
            ("alpha", self.alpha),
            ("epsilon", self.epsilon.unwrap_or(0.0)),
            ("weight decay", self.weight_decay),
        ];
        lost("RMSProp", &numbers, precision)
    }
}
