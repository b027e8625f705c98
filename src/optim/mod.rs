//! Optimizers: SGD, Adam, AdamW, RMSProp, each one dispatch over all weights; learning rates that follow a [`Schedule`];
//! [`Group`]s of weights with rates of their own.
//!
//! An optimizer's numbers are rounded to the type of its state ([`Precision::state`]): in 16 bit they are what 16 bit
//! can hold. Where the usual value rounds to nothing, the default is another; [`Plan::warnings`](crate::Plan::warnings)
//! says when a value of the user's does. How new weights are rounded is the precision's [`Rounding`].

mod adam;
mod group;
mod rmsprop;
mod schedule;
mod sgd;

use std::{fmt::Debug, sync::Arc};

use half::f16;

pub use self::{
    adam::{Adam, AdamW, Form},
    group::Group,
    rmsprop::RmsProp,
    schedule::Schedule,
    sgd::Sgd,
};
use crate::{
    Caps, Dtype, Error, Precision, Result, arena,
    caps::Kind,
    dispatch::{Access, Dispatch, Operand, Program, Shader},
    error::Warning,
    format::Quantization,
    precision::Rounding,
};
pub(crate) use group::factors;

/// The contract of an optimizer: one dispatch changes a run of weights in place. An app's own is written as the crate's are, by
/// [`UpdateIo::dispatch`].
pub trait Update: Debug + Send + Sync {
    /// The optimizer's name: the stem of its WGSL file.
    fn name(&self) -> &'static str;
    /// What it keeps for each weight, by the names that a file has them by.
    fn moments(&self) -> &'static [&'static str];
    /// The learning rate of each step.
    fn schedule(&self) -> &Schedule;
    /// Appends the dispatch.
    fn lower(&self, io: &UpdateIo, program: &mut Program);
    /// Which of its numbers `precision` cannot hold.
    fn warnings(&self, precision: Precision) -> Vec<Warning>;
    /// Whether its numbers mean anything in `precision`.
    ///
    /// # Errors
    /// [`Error::Name`] of one that does not.
    fn check(&self, _precision: Precision) -> Result<()> {
        Ok(())
    }
}

/// What an optimizer needs to change one run of weights.
#[derive(Debug, Clone)]
pub struct UpdateIo<'a> {
    /// The adapter.
    pub caps: &'a Caps,
    /// The graph's precision.
    pub precision: Precision,
    /// The weights that the optimizer works on: [`Precision::state`].
    pub weights: Operand,
    /// Beside the weights, as [`crate::precision::Rounding`] asks: the copy in 16 bit that the forward pass reads, when `weights` are f32
    /// masters; or what rounding has taken from 16-bit weights so far, times 2^10.
    pub beside: Option<Operand>,
    /// Their gradients.
    pub gradient: Operand,
    /// What the optimizer keeps of each weight: [`Update::moments`] tensors.
    pub moments: Vec<Operand>,
    /// For every [`crate::arena::ALIGN`] groups the factors of learning rate and weight decay, if there are [`Group`]s.
    pub factors: Option<Operand>,
    /// `struct Clock` of `lib/clock.wgsl`.
    pub clock: Operand,
    /// For every [`crate::arena::ALIGN`] groups four sums of what became of changes, if that is recorded.
    pub record: Option<Operand>,
    /// What the weights are rounded to when they are stored, or their copy where the optimizer works on masters.
    pub simulated: Option<Quantization>,
    /// Tells the random numbers of this run of weights from those of others.
    pub stream: usize,
}

impl UpdateIo<'_> {
    /// The dispatch of an optimizer whose file is `source`: it stands between the bindings and uniforms of `lib/update.wgsl`, which it
    /// imports. It declares its moments from binding 3 on, its uniforms, `groups`, `stream` and `weight_decay` first, `prepare()` and
    /// `direction(i, w, g, decay, random)`; `shaders/momentum.wgsl` is one. What is rounded how, recorded, clipped or scheduled is not
    /// its business.
    pub fn dispatch(&self, name: &'static str, source: &'static str) -> Dispatch {
        let precision = self.precision;
        // Masters are computed in their own type, also where the rest of the network is strict.
        let acc = if precision.master { Dtype::F32 } else { precision.acc() };
        let shader = Shader::new(name, source, precision.storage, precision)
            .acc(acc)
            .wide(precision.state())
            .constant("RECORD", self.record.is_some().into())
            .constant("NARROW", (acc == Dtype::F16).into())
            .constant("ROUNDING", precision.rounding_of_state().map_or(0, |r| 1 + r as u32));
        let groups = self.weights.shape.groups();
        let turns = turns(self);
        let shader = shader.constant("TURNS", turns as u32);
        let mut d = Dispatch::new(format!("{name} update"), shader)
            .unzeroed()
            .read(self.clock)
            .update(self.weights)
            .read(self.gradient)
            .workgroups(groups.div_ceil(64 * turns))
            .param("groups", groups)
            .param("stream", self.stream);
        for &m in &self.moments {
            d = d.update(m);
        }
        d = match self.beside {
            Some(copy) if precision.master => {
                let value = if self.simulated.is_some() { ROUNDED_COPY } else { "unpack4_wide(stored)" };
                d.extra(copy, Access::Write, "copy: array<elem4>")
                    .splice("copy", format!("    copy[g] = pack4({value});\n"))
            }
            Some(missing) => d
                .extra(missing, Access::ReadWrite, "missing: array<wide4>")
                .splice("add missing", "    exact += vec4<f32>(unpack4_wide(missing[g])) / LIFT;\n")
                .splice("copy", "    missing[g] = pack4_wide(vec4<acc>((exact - rounded) * LIFT));\n"),
            None => d,
        };
        d = match self.factors {
            Some(factors) => d
                .extra(factors, Access::Read, "factors: array<vec2<f32>>")
                .splice("factors", format!("    return factors[i / {}u];\n", arena::ALIGN)),
            None => d,
        };
        let rounding = precision.rounding_of_state();
        if rounding == Some(Rounding::Stochastic) {
            d = d.splice("kept", KEPT);
        }
        d = match rounding {
            _ if self.simulated.is_some() && !precision.master => d.splice("stored", STORED_IN_FORMAT),
            Some(Rounding::Stochastic) => d.splice("stored", stored("half_bits_stochastic4(exact, random)")),
            Some(Rounding::Nearest | Rounding::Compensated) => d.splice("stored", stored("half_bits4(exact)")),
            None => d,
        };
        if let Some(quantization) = self.simulated {
            d = d.import("format");
            Arc::make_mut(&mut d.shader).constants.extend(quantization.constants());
        }
        match self.record {
            Some(sums) => d.extra(sums, Access::ReadWrite, "sums: array<vec4<f32>>").splice("record", RECORD),
            None => d,
        }
    }

    /// A number as the optimizer's state can hold it.
    pub fn held(&self, value: f32) -> f32 {
        held(value, self.precision)
    }
}

/// Moments that chance rounds. State of 16 bit is stored as the network's tensors are.
const KEPT: &str = "    return half_pack4(half_bits_stochastic4(vec4<f32>(v), random));\n";
/// Weights that are rounded by integers: their bits are what is stored.
fn stored(bits: &str) -> String {
    format!("    let bits = {bits};\n    let rounded = half_values4(bits);\n    let stored = half_pack4(bits);\n")
}
/// Random numbers of a simulated format are not those of the moments.
const STORED_IN_FORMAT: &str = "    let rounded = rounded4(exact, chance(p.stream ^ 0x20000000u, g));
    let stored = pack4_wide(vec4<acc>(rounded));
    for_good = STOCHASTIC == 0u && ROUNDING != 3u;
";
const ROUNDED_COPY: &str = "rounded4(unpack4_wide(stored), chance(p.stream ^ 0x20000000u, g))";

/// Groups that an invocation takes. A processor runs a few invocations at a time, to their end, and memory is fast for it only where
/// these walk through it side by side, the further the more there is to walk through; a GPU wants neighbours for its invocations.
fn turns(io: &UpdateIo) -> usize {
    let several = io.caps.kind == Kind::Software && io.record.is_none() && io.weights.shape.groups() >= 1 << 11;
    if several { 4 * io.moments.len().max(1) } else { 1 }
}

const RECORD: &str = "    if clock.recording != 0u && clock.apply != 0u {
        workgroupBarrier();
        let block = (first + lane) / 32u;
        if lane % 32u == 0u && first + lane < p.groups {
            var sum = vec4<f32>();
            for (var i = lane; i < min(lane + 32u, p.groups - first); i++) { sum += records[i]; }
            sums[block] += sum;
        }
    }
";

/// A number as the optimizer's state can hold it.
pub(crate) fn held(value: f32, precision: Precision) -> f32 {
    if precision.state() == Dtype::F16 { f16::from_f32(value).to_f32() } else { value }
}

/// The user's ε, or one that the state can hold.
fn epsilon(chosen: Option<f32>, precision: Precision) -> f32 {
    let safe = if precision.state() == Dtype::F16 { 1e-4 } else { 1e-8 };
    held(chosen.unwrap_or(safe), precision)
}

/// Whether averages keep a part of themselves, also in this precision, and other numbers are at least 0.
fn sound(optimizer: &str, shares: &[(&str, f32)], others: &[(&str, f32)], precision: Precision) -> Result<()> {
    let wrong = |name: &str, detail: String| Err(Error::name(format!("{optimizer}: {name}"), detail));
    for &(name, value) in shares {
        if !(0.0..1.0).contains(&value) {
            return wrong(name, format!("{value} is not from 0 to less than 1"));
        }
        if held(value, precision) == 1.0 {
            let state = precision.state();
            return wrong(name, format!("{value} rounds to 1 in {state}: use at most 0.999, or Precision::MIXED"));
        }
    }
    match others.iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite())) {
        Some((name, value)) => wrong(name, format!("{value} is not a finite number from 0 on")),
        None => Ok(()),
    }
}

/// What is lost of `numbers` in this precision.
fn lost<'a>(
    optimizer: &str,
    numbers: impl IntoIterator<Item = &'a (&'static str, f32)>,
    precision: Precision,
) -> Vec<Warning> {
    let mut found = vec![];
    for &(name, value) in numbers {
        let (kept, state) = (held(value, precision), precision.state());
        let (what, bound) = if value != 0.0 && kept == 0.0 {
            (format!("{value:e} rounds to 0 in {state}, whose smallest number is 6e-8"), "at least 1e-4")
        } else if value < 1.0 && kept == 1.0 {
            (format!("{value} rounds to 1 in {state}, so that nothing is ever forgotten"), "at most 0.999")
        } else {
            continue;
        };
        let cure = format!("use {bound}, or Precision::MIXED");
        found.push(Warning { what: format!("{optimizer}: {name} {what}"), cure });
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::{
        Caps, Graph, Init, Precision, Sgd,
        plan::{Options, lower_training},
    };

    #[test]
    fn weights_of_16_bit_are_rounded_by_integers_whether_changes_are_recorded_or_not() {
        for text in ["f16", "f16+nearest", "f16+compensated", "f16-strict"] {
            let [plain, recording] = [false, true].map(|record_changes| {
                let graph = Graph::new(text.parse::<Precision>().unwrap());
                let loss = graph.weight("w", [8, 4], Init::Kaiming).square().mean_all();
                let options = Options { record_changes, ..Options::default() };
                let program = lower_training(loss, &Sgd::new(0.1), &Caps::reference(), &options).unwrap().program;
                let update = program.dispatches.into_iter().find(|d| d.shader.name == "sgd").unwrap();
                let stored = update.shader.splices.iter().find(|(mark, _)| *mark == "stored");
                stored.map(|(_, text)| text.clone()).expect("a rule of its own")
            });
            assert!(plain == recording && plain.contains("let stored = half_pack4(bits);"), "{text}: {plain}");
        }
    }
}
