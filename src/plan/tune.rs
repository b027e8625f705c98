//! Which variants of its products a plan takes: those that were measured to be fastest, where somebody asked for that.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    Caps, Gpu, Result,
    dispatch::{Dispatch, Program},
    error::Warning,
    gpu::tune::{BUDGET, Winners, seconds},
    lower::Lowered,
};

/// The candidates for a product that are measured: the cheapest by the planner's estimate.
const HANDFUL: usize = 4;

/// What `lower` makes for the device, with the variants that are fastest by [`Settings::tune`](crate::gpu::Settings::tune)'s
/// folder. What that does not know yet is measured first, the largest products before the others, for less than five seconds.
pub(super) async fn tuned(gpu: &Gpu, lower: impl Fn(&Caps) -> Result<Lowered>) -> Result<Lowered> {
    let usual = lower(gpu.caps())?;
    let Some(folder) = &gpu.settings().tune else { return Ok(usual) };
    let (mut winners, warning) = Winners::load(folder, gpu);
    let mut warnings: Vec<Warning> = warning.into_iter().collect();
    let unknown = unknown(&usual.program, &winners);
    if !unknown.is_empty() {
        measure(gpu, &lower, &unknown, &mut winners).await?;
        if let Err(e) = winners.save() {
            let cure = "products are measured again the next time".into();
            warnings.push(Warning { what: format!("measurements are not kept: {e}"), cure });
        }
    }
    let fastest = usual.program.dispatches.iter().filter_map(|d| winners.of(d));
    let fastest: BTreeMap<String, String> = fastest.map(|(p, v)| (p.to_owned(), v.to_owned())).collect();
    let as_usual = usual.program.dispatches.iter().filter_map(|d| d.choice.as_ref());
    let as_usual =
        as_usual.filter_map(|c| Some((fastest.get(&c.product)?, &c.variant))).all(|(fastest, usual)| fastest == usual);
    let mut tuned = usual;
    if !as_usual {
        match lower(&with(gpu.caps(), fastest)) {
            Ok(fastest) => tuned = fastest,
            Err(e) => {
                let cure = "the planner's own choice is taken".into();
                warnings.push(Warning {
                    what: format!("the variants that were measured to be fastest do not fit: {e}"),
                    cure,
                });
            }
        }
    }
    tuned.program.warnings.extend(warnings);
    Ok(tuned)
}

fn with(caps: &Caps, fastest: BTreeMap<String, String>) -> Caps {
    Caps { fastest: Arc::new(fastest), ..caps.clone() }
}

/// The products that have several candidates and no winner yet, each once, the one with the most work first.
fn unknown<'p>(program: &'p Program, winners: &Winners) -> Vec<&'p Dispatch> {
    let mut found: BTreeMap<&str, &Dispatch> = BTreeMap::new();
    for d in &program.dispatches {
        if let Some(choice) = d.choice.as_ref().filter(|c| c.candidates.len() > 1 && winners.of(d).is_none()) {
            found.entry(&choice.product).or_insert(d);
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|d| std::cmp::Reverse(d.flops));
    found
}

/// Measures the candidates for these dispatches as they stand in a program, fused ops and all.
async fn measure(
    gpu: &Gpu,
    lower: &impl Fn(&Caps) -> Result<Lowered>,
    unknown: &[&Dispatch],
    winners: &mut Winners,
) -> Result<()> {
    let end = Instant::now() + BUDGET;
    let choices = || unknown.iter().filter_map(|d| d.choice.as_ref());
    let mut programs = vec![];
    for i in 0..choices().map(|c| c.candidates.len()).max().unwrap_or(0).min(HANDFUL) {
        let forced = choices().filter_map(|c| Some((c.product.clone(), c.candidates.get(i)?.clone())));
        programs.push(lower(&with(gpu.caps(), forced.collect())).ok());
    }
    for (d, choice) in unknown.iter().zip(choices()) {
        let same = |d: &Dispatch| d.choice.as_ref().is_some_and(|c| c.product == choice.product);
        let alone = |program: &Program| Some(program.alone(program.dispatches.iter().position(same)?));
        let candidates = choice.candidates.iter().zip(&programs).map(|(candidate, together)| match together {
            Some(lowered) => alone(&lowered.program),
            // One that does not fit beside those of the other products may do so by itself.
            None => {
                let forced = BTreeMap::from([(choice.product.clone(), candidate.clone())]);
                alone(&lower(&with(gpu.caps(), forced)).ok()?.program)
            }
        });
        match seconds(gpu, &candidates.collect::<Vec<_>>(), end).await? {
            Some(seconds) => winners.note(d, &seconds),
            None => break,
        }
    }
    Ok(())
}
