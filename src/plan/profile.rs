//! Where the time of a step goes.

use super::Plan;
use crate::{Error, Result, gpu::Stamps};

impl Plan {
    /// The seconds that each dispatch of [`program`](Self::program) took in each of so many steps, by the device's own
    /// clock. They are steps as any others, so they train and are submitted in parts where they are long, but each
    /// dispatch waits for the one before it. Those that [`observe`](Self::observe) do nothing in them.
    ///
    /// ```
    /// use halfgrad::{Gpu, Graph, Plan, Precision, Weights, nn, study};
    /// let (gpu, graph) = (Gpu::new()?, Graph::new(Precision::F16));
    /// let y = nn::linear("fc", graph.input("x", [64, 256]), 128);
    /// let mut plan = Plan::infer(&gpu, &Weights::init(&gpu, &graph, 1)?, [y])?;
    /// if gpu.caps().timestamps {
    ///     let seconds = plan.profile(5)?;
    ///     assert_eq!(seconds.len(), plan.program().dispatches.len());
    ///     let rate = plan.program().dispatches[0].flops as f64 / study::median(&seconds[0]);
    ///     println!("{}: {:.1} GFLOP/s", plan.program().dispatches[0].label, rate / 1e9);
    /// }
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the device takes no timestamps, or not so many; [`Error::Device`] if it is lost.
    pub fn profile(&mut self, steps: usize) -> Result<Vec<Vec<f64>>> {
        let dispatches = self.program().dispatches.len();
        let Some(stamps) = Stamps::new(self.gpu(), 0..dispatches)? else {
            let detail = match self.gpu().caps().timestamps {
                true => format!("{dispatches} dispatches are more than it can take timestamps of"),
                false => "it takes no timestamps; time whole steps, or take another adapter".into(),
            };
            return Err(Error::Unsupported { adapter: self.gpu().caps().adapter.clone(), detail });
        };
        let mut times = vec![vec![]; dispatches];
        for _ in 0..steps {
            self.core.flush()?;
            self.core.executable.submit(self.gpu(), 0..dispatches, 1, Some(&stamps))?;
            let seconds = stamps.read(self.gpu()).wait()?;
            times.iter_mut().zip(seconds).for_each(|(all, s)| all.push(s));
        }
        Ok(times)
    }
}
