//! What the tool shows while it works: a bar where there is a terminal, a line now and then where there is none.

use std::{io::IsTerminal, time::Duration};

use halfgrad::study::{Outcome, Stand};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

fn bar(length: u64) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {msg}").expect("a template");
    bar.set_style(style.progress_chars("━╸─"));
    bar
}

/// The progress of many small things that are alike.
pub struct Count {
    bar: ProgressBar,
    what: &'static str,
}

impl Count {
    /// Of what.
    pub fn new(what: &'static str) -> Self {
        let bar = bar(0);
        bar.set_prefix(what);
        Count { bar, what }
    }

    /// So many of so many are done.
    pub fn at(&self, done: usize, all: usize) {
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(format!("{done} of {all}, {:#} left", HumanDuration(self.bar.eta())));
        // Nobody sees a bar: a line at each tenth.
        if self.bar.is_hidden() && done * 10 / all > (done - 1) * 10 / all {
            super::note(&format!("{}: {done} of {all}", self.what));
        }
    }

    /// All are done.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The progress of all runs together.
pub struct Progress {
    bar: ProgressBar,
    runs: usize,
    run: usize,
    steps: usize,
    epochs: usize,
    title: String,
}

impl Progress {
    /// For so many runs of so many steps each.
    pub fn new(runs: usize, steps: usize, epochs: usize) -> Self {
        let bar = bar((runs * steps) as u64);
        Progress { bar, runs, run: 0, steps, epochs, title: String::new() }
    }

    /// A run begins.
    pub fn begin(&mut self, precision: &str, seed: u64) {
        self.run += 1;
        self.title = format!("run {}/{} {precision} seed {seed}", self.run, self.runs);
        self.bar.set_prefix(self.title.clone());
        self.bar.set_message("getting ready");
        self.bar.tick();
    }

    /// Steps were done.
    pub fn step(&self, at: &Stand) {
        let (epoch, epochs, steps) = (at.epoch + 1, self.epochs, self.steps);
        self.bar.set_position(((self.run - 1) * steps + at.step) as u64);
        let left = HumanDuration(self.bar.eta());
        let place = format!("epoch {epoch}/{epochs}, step {}/{steps}, loss {:.4}, {left:#} left", at.step, at.loss);
        self.bar.set_message(place);
    }

    /// A run is over.
    pub fn end(&self, run: &Outcome, time: Duration) {
        let loss = run.train_loss.last().map_or("–".to_owned(), |loss| format!("{loss:.4}"));
        let score = match run.perplexity {
            Some(perplexity) => format!("test loss {:.4}, perplexity {perplexity:.2}", run.evaluation.loss),
            None => format!("test accuracy {:.2} %", 100.0 * run.evaluation.accuracy),
        };
        let end = match &run.failure {
            Some(e) => format!("failed: {e}"),
            None => format!("{score}, training loss {loss}, {:.1} s", time.as_secs_f64()),
        };
        self.bar.set_position((self.run * self.steps) as u64);
        self.bar.suspend(|| super::note(&format!("{}: {end}", self.title)));
    }

    /// All runs are over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
