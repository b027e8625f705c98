use crate::{
    Adam, AdamW, Error, Result, RmsProp, Sgd,
    optim::{Form, Schedule, Update},
    plan::Options,
};

/// The optimizers that [`Optimizer::named`] knows.
pub const OPTIMIZERS: [&str; 4] = ["sgd", "adam", "adamw", "rmsprop"];

/// What an [`Optimizer`] may do with its learning rate over a run: nothing; a tenth of it from half of the steps on, and a
/// hundredth from three quarters on (as in arXiv 1512.03385); half a cosine to 0; one cycle.
pub const SCHEDULES: [&str; 4] = ["constant", "steps", "cosine", "one-cycle"];

/// The most learning rates that a run may keep: a table of 64 MiB on the host and on the device.
pub const RATES: usize = 1 << 24;

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
    /// Updates in which the learning rate rises to the schedule's first.
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

    /// Fails if a run of so many steps is longer than can be counted, or its learning rates are more than fit a table.
    ///
    /// # Errors
    /// [`Error::Data`] with what is too long.
    pub fn check(&self, steps: usize) -> Result<()> {
        let updates = self.updates(steps);
        let table = if self.schedule == SCHEDULES[0] { self.warm_up } else { updates };
        let wrong = if steps > u32::MAX as usize {
            format!("{steps} steps are more than can be counted")
        } else if self.warm_up > updates {
            format!("a warm-up of {} updates does not end in a run of {updates}", self.warm_up)
        } else if table > RATES {
            format!("{table} updates with a learning rate each are more than {RATES}, which a table holds")
        } else {
            return Ok(());
        };
        Err(Error::Data(wrong))
    }

    /// How often so many steps change the weights.
    pub fn updates(&self, steps: usize) -> usize {
        steps / self.accumulate.max(1) as usize
    }

    /// What a plan of so many steps takes; [`check`](Self::check) says whether it can be made.
    pub fn update(&self, steps: usize) -> Box<dyn Update> {
        let (rates, decay) = (self.rates(self.updates(steps)), self.weight_decay);
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
    fn rates(&self, updates: usize) -> Schedule {
        let (rate, left) = (self.learning_rate, updates.saturating_sub(self.warm_up));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_no_table_of_rates_holds_is_refused() {
        let sgd = Optimizer::named("sgd", 0.1).unwrap();
        let with = |schedule, warm_up, accumulate| Optimizer { schedule, warm_up, accumulate, ..sgd.clone() };
        let most = u32::MAX as usize;
        for (optimizer, steps, wrong) in [
            (with("constant", 0, 1), most, ""),
            (with("constant", 0, 1), most + 1, "more than can be counted"),
            (with("constant", 50, 1), 50, ""),
            (with("constant", 50, 1), 49, "a warm-up of 50 updates does not end in a run of 49"),
            (with("cosine", 50, 4), 199, "a warm-up of 50 updates does not end in a run of 49"),
            (with("constant", usize::MAX, 1), 10, "does not end in a run of 10"),
            (with("constant", RATES + 1, 1), most, "more than 16777216"),
            (with("cosine", 0, 1), RATES, ""),
            (with("cosine", 0, 1), RATES + 1, "more than 16777216"),
            (with("cosine", 0, 2), 2 * RATES + 1, ""),
        ] {
            let said = optimizer.check(steps).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(said.contains(wrong) && said.is_empty() == wrong.is_empty(), "{optimizer:?} {steps}: {said}");
        }
    }
}
