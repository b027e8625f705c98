//! Losses made of other ops: means of values as scalars, in f32 unless everything is 16 bit.
//!
//! The terms are rows of [`map`](super::map), fused with the cast to the type of losses: a square that overflows f16,
//! or that would vanish in it, is not rounded before it is summed. In the backward pass the loss scale is divided by
//! the number of values before anything is rounded, and the terms' gradients need nothing but the operands. Operands of unlike
//! shapes are a mistake.

use crate::tensor::Tensor;

impl<'g> Tensor<'g> {
    /// The mean of (x − target)².
    #[track_caller]
    pub fn mse(self, target: Tensor<'g>) -> Tensor<'g> {
        self.like(target).squared_error(target).as_loss().mean_all()
    }

    /// The mean of |x − target|.
    #[track_caller]
    pub fn l1(self, target: Tensor<'g>) -> Tensor<'g> {
        self.like(target).absolute_error(target).as_loss().mean_all()
    }

    /// The mean of d² / 2 where |d| ≤ delta and of delta · (|d| − delta / 2) elsewhere, with d = x − target.
    #[track_caller]
    pub fn huber(self, target: Tensor<'g>, delta: f32) -> Tensor<'g> {
        self.like(target).huber_error(target, delta).as_loss().mean_all()
    }

    /// The mean of −t · log σ(x) − (1 − t) · log(1 − σ(x)): logits x and targets t between 0 and 1.
    #[track_caller]
    pub fn bce_with_logits(self, target: Tensor<'g>) -> Tensor<'g> {
        self.like(target).logistic_error(target).as_loss().mean_all()
    }

    /// Σ t · (log t − x) over the length of the first axis: logarithms x of probabilities, such as those of
    /// [`log_softmax`](Self::log_softmax), and probabilities t. PyTorch's `kl_div` with `batchmean`.
    #[track_caller]
    pub fn kl_divergence(self, target: Tensor<'g>) -> Tensor<'g> {
        let terms = self.like(target).relative_entropy(target).as_loss();
        terms.total(1.0 / terms.shape().first() as f32)
    }

    /// The tensor itself, which has the shape of its target: stretched, `[n, 1]` against `[n]` would be a mean over n × n.
    #[track_caller]
    fn like(self, target: Tensor<'g>) -> Tensor<'g> {
        match self.shape() == target.shape() {
            true => self,
            false => {
                self.refuse("loss", &[target], "what is predicted has the shape of its target; reshape one".into())
            }
        }
    }

    /// The values in the type of losses.
    #[track_caller]
    fn as_loss(self) -> Tensor<'g> {
        self.cast(self.precision().wide())
    }
}
