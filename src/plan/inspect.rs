//! Looking into a plan: where Inf or NaN comes from, and for tests what memory holds.

use super::Core;
#[cfg(any(not(target_arch = "wasm32"), feature = "reference"))]
use super::Plan;
use crate::Result;
#[cfg(not(target_arch = "wasm32"))]
use crate::{Dtype, dispatch::Access};
#[cfg(feature = "reference")]
use crate::{Port, gpu::Reading};

#[cfg(not(target_arch = "wasm32"))]
impl Core {
    fn diagnose(&self) -> Result<Option<String>> {
        self.flush()?;
        let bad = |values: &[f32]| values.iter().any(|v| !v.is_finite());
        for ((name, _), values) in self.weights.names().iter().zip(self.weights.read_all().wait()?) {
            if bad(&values) {
                return Ok(Some(format!("weight {name:?}")));
            }
        }
        let layers = self.lowered.layers.iter().enumerate();
        for (i, layer) in layers.filter(|(i, _)| !self.lowered.program.dispatches[*i].observes) {
            self.submit(|encoder| self.executable.encode(encoder, i..i + 1, false))?;
            let written = self.lowered.program.dispatches[i].bindings.iter().filter(|(_, a)| *a != Access::Read);
            for (x, _) in written.filter(|(x, _)| x.dtype != Dtype::U32) {
                if bad(&self.read(*x).wait()?) {
                    return Ok(Some(format!("{layer} (dispatch {i})")));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn first_bad(&self) -> Result<String> {
        Ok(self.diagnose()?.unwrap_or_else(|| "none with the inputs that are there now".into()))
    }
}

#[cfg(target_arch = "wasm32")]
impl Core {
    pub(super) fn first_bad(&self) -> Result<String> {
        Ok("not looked for in a browser".into())
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Plan {
    /// The first weight or tensor that holds Inf or NaN with the inputs as they are now, in the order of execution:
    /// the weights are read, then the forward and backward pass runs dispatch by dispatch. Slow, and changes nothing.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn diagnose(&self) -> Result<Option<String>> {
        self.core.diagnose()
    }
}

#[cfg(feature = "reference")]
impl Plan {
    /// What a step runs, so that parts of it can be timed.
    pub(crate) fn executable(&self) -> &crate::gpu::Executable {
        self.gpu().remember(self.core.flush());
        &self.core.executable
    }

    /// Fills whatever the next step computes with NaN, so that nothing can lean on what memory happens to hold.
    pub fn fill_with_nan(&mut self) {
        for (i, b) in self.program().buffers.iter().enumerate() {
            if b.role == crate::dispatch::Role::Activations {
                let nan = vec![0xff; b.bytes as usize];
                self.gpu().queue().write_buffer(self.core.buffer(i), 0, &nan);
            }
        }
    }

    /// Whether the padding behind each row of a tensor is zero, as every kernel must leave it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn padding_is_zero<'p>(&self, port: impl Into<Port<'p>>) -> Result<bool> {
        let x = self.find(port.into())?;
        self.core.flush()?;
        let range = (self.core.buffer(x.buffer), x.offset, x.bytes());
        let last = x.shape.storage().last() * x.dtype.bytes();
        let row = x.shape.storage().last().next_multiple_of(crate::shape::GROUP) * x.dtype.bytes();
        let zero = move |b: &[u8]| Ok(b.chunks_exact(row).all(|r| r[last..].iter().all(|&v| v == 0)));
        Reading::new(self.gpu(), &[range], zero).wait()
    }
}
