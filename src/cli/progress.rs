//! What a command shows while it works: a bar where there is a terminal, a line now and then where there is none.

use std::{io::IsTerminal, time::Duration};

use halfgrad::study::{Outcome, Stand};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar with words on either side; without a terminal, nothing.
pub struct Bar(ProgressBar);

impl Bar {
    /// For so many steps.
    pub fn new(steps: usize) -> Self {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {msg}").expect("a template");
        bar.set_style(style.progress_chars("━╸─"));
        bar.set_message("getting ready");
        Bar(bar)
    }

    /// The words before it.
    pub fn title(&self, words: &str) {
        self.0.set_prefix(words.to_owned());
        self.0.tick();
    }

    /// How many steps are done, and the words behind it, to which the time left is added.
    pub fn position(&self, steps: usize, words: &str) {
        self.0.set_position(steps as u64);
        let left = HumanDuration(self.0.eta());
        self.0.set_message(format!("{words}, {left:#} left"));
    }

    /// Does something, such as to print, while the bar is out of the way.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.suspend(work)
    }

    /// The bar goes away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// The progress of many small things.
pub struct Count(Bar);

impl Count {
    /// Before anybody knows how many.
    pub fn new() -> Self {
        Count(Bar::new(0))
    }

    /// So many of so many are done, and `what` is at work: the bar moves, and where nobody sees one there is a line for
    /// each tenth.
    pub fn position(&self, what: &str, done: usize, all: usize) {
        let Count(bar) = self;
        bar.0.set_length(all as u64);
        bar.title(what);
        bar.position(done, &format!("{done} of {all}"));
        if bar.0.is_hidden() && done * 10 / all > done.saturating_sub(1) * 10 / all {
            super::note(&format!("{what}: {done} of {all}"));
        }
    }

    /// All are done.
    pub fn finish(&self) {
        self.0.finish();
    }
}

/// The progress of all runs of a study together.
pub struct Progress {
    bar: Bar,
    runs: usize,
    run: usize,
    steps: usize,
    epochs: usize,
    title: String,
}

impl Progress {
    /// For so many runs of so many steps each.
    pub fn new(runs: usize, steps: usize, epochs: usize) -> Self {
        Progress { bar: Bar::new(runs * steps), runs, run: 0, steps, epochs, title: String::new() }
    }

    /// A run begins.
    pub fn begin(&mut self, precision: &str, seed: u64) {
        self.run += 1;
        self.title = format!("run {}/{} {precision} seed {seed}", self.run, self.runs);
        self.bar.title(&self.title);
    }

    /// Steps were done.
    pub fn step(&self, at: &Stand) {
        let (epoch, epochs, steps) = (at.epoch + 1, self.epochs, self.steps);
        let place = format!("epoch {epoch}/{epochs}, step {}/{steps}, loss {:.4}", at.step, at.loss);
        self.bar.position((self.run - 1) * steps + at.step, &place);
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
        self.bar.aside(|| super::note(&format!("{}: {end}", self.title)));
    }

    /// All runs are over.
    pub fn finish(&self) {
        self.bar.finish();
    }
}
