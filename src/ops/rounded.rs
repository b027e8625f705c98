//! Quantization to formats that no adapter need have: what weights, activations or gradients of so few bits would do.

#[cfg(feature = "reference")]
use crate::reference::{Array, Case};
use crate::{
    Precision,
    dispatch::{Dispatch, Program},
    format::Quantization,
    op::{Backward, Io, Kind, Op, Type},
    tensor::Tensor,
};

/// Values rounded on the way forward.
#[derive(Debug, Clone, Copy)]
struct Rounded {
    quantization: Quantization,
    /// What tells its random numbers from those of others; dropout's are below 2^16.
    stream: u32,
}

/// Values as they are; the gradient is rounded on the way back.
#[derive(Debug, Clone, Copy)]
struct GradientRounded(Rounded);

impl<'g> Tensor<'g> {
    /// Each value rounded to a format, in a tensor of the graph's own type; so in a graph of [`Precision::F32`] this is
    /// the format itself. The gradient passes unchanged (straight through).
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision, format::Format};
    /// let graph = Graph::new(Precision::F32);
    /// let x = graph.input("x", [64, 10]).rounded_to(Format::E4M3);
    /// let y = x.rounded_to(Format::E5M2.stochastic()).gradient_rounded_to(Format::E5M2);
    /// assert_eq!(x.shape(), y.shape());
    /// ```
    #[track_caller]
    pub fn rounded_to(self, quantization: impl Into<Quantization>) -> Tensor<'g> {
        let quantization = quantization.into();
        self.graph.apply(Rounded { quantization, stream: self.rounding_stream() }, &[self])
    }

    /// The tensor as it is, whose gradient is rounded to a format on its way back.
    #[track_caller]
    pub fn gradient_rounded_to(self, quantization: impl Into<Quantization>) -> Tensor<'g> {
        let quantization = quantization.into();
        self.graph.apply(GradientRounded(Rounded { quantization, stream: self.rounding_stream() }), &[self])
    }

    /// The number of roundings before this one: no two draw the same random numbers.
    fn rounding_stream(self) -> u32 {
        (1 << 16) + self.graph.count(&[Rounded::NAME, GradientRounded::NAME]) as u32
    }
}

impl Rounded {
    const NAME: &str = "rounded";
}

impl GradientRounded {
    const NAME: &str = "gradient_rounded";
}

impl Op for Rounded {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(vec![x[0].number()?])
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![Some(at.dy())]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let y = io.outputs[0];
        let (groups, last) = (y.shape.groups(), y.shape.storage().last());
        let mut shader = io.shader(Self::NAME, include_str!("../../shaders/rounded.wgsl")).padded(last);
        shader.constants.extend(self.quantization.constants());
        program.push(
            Dispatch::new(io.label, shader)
                .read(io.clock)
                .read(io.inputs[0])
                .write(y)
                .param("groups", groups)
                .param("last", last)
                .param("stream", self.stream as usize)
                .flops(y.shape.len())
                .fuse("epilogue", io.chain)
                .workgroups(groups.div_ceil(64)),
        );
    }

    /// To nearest; where chance decides this is not the mean, and `tests/rounded.rs` looks at that.
    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        vec![x[0].map(|v| self.quantization.format.nearest(v))]
    }
}

impl Op for GradientRounded {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(vec![x[0].number()?])
    }

    fn kind(&self) -> Kind {
        Kind::View
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![Some(at.dy().graph.apply(self.0, &[at.dy()]))]
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        x.to_vec()
    }
}

/// Formats with and without Inf, on values that are normal, subnormal and too large for them.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    use crate::{format::Format, reference::Fill};
    let formats = [Format::F16, Format::BF16, Format::E4M3, Format { saturate: true, ..Format::E5M2 }];
    let case = |format: Format, range: f64| {
        let op = Rounded { quantization: format.into(), stream: 0 };
        Case::new(op, [&[5, 17][..]]).fill(0, Fill::Between(-range, range)).not_smooth()
    };
    let rounded = formats.into_iter().flat_map(|f| [case(f, 0.01), case(f, 2.0), case(f, 500.0)]);
    let gradient = GradientRounded(Rounded { quantization: Format::F32.into(), stream: 0 });
    rounded.chain([Case::new(gradient, [&[5, 17][..]])]).collect()
}
