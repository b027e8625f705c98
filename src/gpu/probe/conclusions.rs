//! What a probe means for training, in words.

use super::{Overflow, Probe, RoundingMode, arithmetic::Arithmetic};
use crate::format::Format;

impl Probe {
    /// What this adapter's arithmetic means for training in 16 bit, a sentence or two each.
    pub fn conclusions(&self) -> Vec<String> {
        let mut said = vec![self.of_stores()];
        said.extend(self.of_native());
        said.extend([self.of_sums(), self.of_specials()]);
        said.extend(self.of_functions());
        said
    }

    fn of_stores(&self) -> String {
        let stored = &self.conversions.stored;
        if stored.is_exact() && self.loads_exactly {
            return "f16 and mixed store what IEEE asks for: nearest even, subnormals kept, overflow to Inf.".into();
        }
        let mut wrong = vec![];
        if !stored.keeps_subnormals {
            wrong.push("subnormals are flushed: gradients below 6.1e-5 vanish, use a loss scale (mixed has one)");
        }
        if stored.rounding != RoundingMode::NearestEven {
            wrong.push("it is not the nearest half: small updates are lost or favoured, prefer mixed");
        }
        if stored.large.iter().any(|(value, gives)| *value > 65519 && *gives != Overflow::Infinite) {
            wrong.push("overflow is not Inf: a loss scale that is too high may stay unseen");
        }
        if !self.loads_exactly {
            wrong.push("halves do not load exactly");
        }
        format!("Stores of f16 are not what IEEE asks for: {}.", wrong.join("; "))
    }

    fn of_native(&self) -> Vec<String> {
        let Some(f16) = &self.f16 else {
            return vec!["Without shader-f16, f16 and mixed run on packed halves; f16-strict does not run.".into()];
        };
        let nearest = f16.add == RoundingMode::NearestEven && f16.multiply == RoundingMode::NearestEven;
        let mut said = vec![];
        if !nearest {
            said.push("f16-strict does not round its sums and products to nearest: errors add up in one direction.");
        }
        if !f16.subnormals.kept() {
            said.push("f16-strict flushes subnormals: gradients below 6.1e-5 vanish in arithmetic, use a loss scale.");
        }
        if f16.contracts {
            said.push("f16-strict contracts a * b + c: last bits differ from adapters that do not.");
        }
        if said.is_empty() {
            said.push("f16-strict computes as IEEE asks: nearest even, subnormals kept, no contraction.");
        }
        said.into_iter().map(Into::into).collect()
    }

    fn of_sums(&self) -> String {
        let survives = |a: &Arithmetic, f| a.two_sum && a.update.is_compensated(f);
        let written = survives(&self.f32, Format::F32) && self.f16.is_none_or(|a| survives(&a, Format::F16));
        let update = &self.conversions.update;
        let figures = format!(
            "{:.5} where {:.5} is exact and plain f16 is left at {:.5}",
            update.compensated, update.exact, update.nearest
        );
        let integers = match update.is_compensated(Format::F16) {
            true => format!("A compensated update rounded by integers works: {figures}"),
            false => format!("Not even a compensated update rounded by integers works ({figures}); use mixed"),
        };
        match written {
            true => format!("Compensated sums survive this compiler. {integers}."),
            false => format!("This compiler simplifies compensated sums (two_sum, Kahan) away. {integers}."),
        }
    }

    fn of_specials(&self) -> String {
        let all: Vec<_> = [Some(&self.f32), self.f16.as_ref()].into_iter().flatten().map(|a| a.specials).collect();
        let every = |test: fn(&super::arithmetic::Specials) -> bool| all.iter().all(test);
        let bits = match every(|s| s.by_bits) {
            true => "Tests by bits find NaN and Inf",
            false => "Not even tests by bits find NaN and Inf: overflow goes unseen, use f32",
        };
        let by_comparison = [
            ("a != a", every(|s| s.nan_by_not_equal)),
            ("!(a == a)", every(|s| s.nan_by_equal)),
            ("abs(a) > largest", every(|s| s.inf_by_greater && s.overflow_by_greater)),
        ];
        let missed: Vec<_> = by_comparison.iter().filter(|(_, finds)| !finds).map(|(test, _)| *test).collect();
        let missed = if missed.is_empty() { String::new() } else { format!("; {} does not", missed.join(" and ")) };
        let max = if every(|s| s.nan_survives_max) { "" } else { " max drops a NaN: a relu hides it." };
        format!("{bits}{missed}.{max}")
    }

    fn of_functions(&self) -> Option<String> {
        let poor = |f: &&super::Function| {
            let ways = [&f.native, &f.f32];
            ways.into_iter().flatten().any(|a| a.outside != Some(0) || !a.special.is_empty() || a.rounded.ulp > 2.0)
        };
        let names: Vec<_> = self.functions.iter().filter(poor).map(|f| f.name.as_str()).collect();
        let own = self.functions.iter().filter_map(|f| f.own.as_ref()).map(|a| a.rounded.ulp).fold(0.0, f64::max);
        let own = format!("this crate's own are within {own:.3} ulp of f16 once rounded");
        (!names.is_empty())
            .then(|| format!("WGSL's {} are poor here, in value or for NaN and Inf; {own}.", names.join(", ")))
    }
}
