use crate::{
    Adam, AdamW, RmsProp, Sgd,
    optim::{Form, Schedule, Update},
    plan::Options,
};

/// The optimizers that [`Optimizer::named`] knows.
pub const OPTIMIZERS: [&str; 4] = ["sgd", "adam", "adamw", "rmsprop"];

/// What an [`Optimizer`] may do with its learning rate over a run: nothing; a tenth of it from half of the steps on, and a
/// hundredth from three quarters on (as in arXiv 1512.03385); half a cosine to 0; one cycle.
pub const SCHEDULES: [&str; 4] = ["constant", "steps", "cosine", "one-cycle"];

/// The forms of Adam by name.
pub const FORMS: [(&str, Form); 3] = [("root", Form::Root), ("textbook", Form::Textbook), ("floor", Form::Floor)];

/// An optimizer by name, with the numbers that a user sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    /// One of [`OPTIMIZERS`].
    pub name: &'static str,
    /// The learning rate, or the largest where it changes.
    pub learning_rate: f32,
    /// The momentum of `sgd`; the others have none.
    pub momentum: f32,
    /// Weight decay: decoupled in `adamw`, added to the gradient in the others.
    pub weight_decay: f32,
    /// What `adam`, `adamw` and `rmsprop` add to the root of the second moment, if not the usual.
    pub epsilon: Option<f32>,
    /// The form of `adam` and `adamw`.
    pub form: Form,
    /// One of [`SCHEDULES`].
    pub schedule: &'static str,
    /// Steps in which the learning rate rises to the schedule's first.
    pub warm_up: usize,
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f32>,
    /// How slowly an average follows the weights; the average is what is tested then.
    pub average: Option<f32>,
    /// How many steps make one update: see [`Options::accumulate`].
    pub accumulate: u32,
}

impl Optimizer {
    /// The optimizer of this name: `sgd` with momentum 0.9, `adamw` with weight decay 0.01.
    pub fn named(name: &str, learning_rate: f32) -> Option<Self> {
        let name = OPTIMIZERS.into_iter().find(|n| *n == name)?;
        Some(Optimizer {
            name,
            learning_rate,
            momentum: if name == "sgd" { 0.9 } else { 0.0 },
            weight_decay: if name == "adamw" { 0.01 } else { 0.0 },
            epsilon: None,
            form: Form::Root,
            schedule: SCHEDULES[0],
            warm_up: 0,
            clip_norm: None,
            average: None,
            accumulate: 1,
        })
    }

    /// The learning rate that usually does: 0.05 for `sgd`, 0.001 for the others.
    pub fn usual_learning_rate(name: &str) -> f32 {
        if name == "sgd" { 0.05 } else { 1e-3 }
    }

    /// What a plan of so many steps takes.
    pub fn update(&self, steps: usize) -> Box<dyn Update> {
        let (rates, decay) = (self.rates(steps / self.accumulate.max(1) as usize), self.weight_decay);
        let adam = |adam: Adam| {
            let adam = adam.weight_decay(decay).form(self.form);
            Box::new(self.epsilon.map_or(adam.clone(), |e| adam.epsilon(e)))
        };
        match self.name {
            "adam" => adam(Adam::new(rates)),
            "adamw" => adam(AdamW::new(rates)),
            "rmsprop" => {
                let rule = RmsProp::new(rates).weight_decay(decay);
                Box::new(self.epsilon.map_or(rule.clone(), |e| rule.epsilon(e)))
            }
            _ => Box::new(Sgd::new(rates).momentum(self.momentum).weight_decay(decay)),
        }
    }

    /// The learning rates of a run.
    fn rates(&self, steps: usize) -> Schedule {
        let (rate, left) = (self.learning_rate, steps.saturating_sub(self.warm_up));
        let schedule = match self.schedule {
            "steps" => Schedule::steps(rate, 0.1, &[left / 2, left * 3 / 4]),
            "cosine" => Schedule::cosine(rate, left),
            "one-cycle" => Schedule::one_cycle(rate, left),
            _ => Schedule::constant(rate),
        };
        schedule.warm_up(self.warm_up)
    }

    /// `options` with what the optimizer adds.
    pub fn options(&self, options: Options) -> Options {
        Options { clip_norm: self.clip_norm, average: self.average, accumulate: self.accumulate, ..options }
    }
}
