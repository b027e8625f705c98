//! Dispatches that look at tensors, and run only in the steps that are observed.

use crate::{
    Dtype, Precision, Shape,
    dispatch::{Dispatch, Operand, Program, Role, Shader, Source},
};

/// Words that `observe.wgsl` keeps of a tensor.
pub const WORDS: usize = 36;

/// Groups of a tensor that a lane counts.
const GROUPS: usize = 16;

/// What a tensor is to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What a layer hands on.
    Activation,
    /// The gradient with respect to that, times the loss scale.
    Backward,
    /// A trained weight, before it changes.
    Weight,
    /// The gradient of a weight, times the loss scale.
    Gradient,
}

/// A tensor that is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// What it is to the network.
    pub part: Part,
    /// The weight's name, or the ops and the layer: `matmul+add+relu fc1`.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// Its type in memory.
    pub dtype: Dtype,
}

/// The tensors that a program looks at, and where it counts.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    /// The tensors, in the order of the program.
    pub tensors: Vec<Watched>,
    /// The buffer of the counts, if anything is looked at.
    pub counts: Option<usize>,
}

impl Observer {
    /// Makes room for the counts of so many tensors.
    pub fn new(program: &mut Program, tensors: usize) -> Self {
        let counts = program.buffer("counts", Role::Control, Source::Plan, (4 * WORDS * tensors.max(1)) as u64);
        Observer { tensors: vec![], counts: Some(counts) }
    }

    /// Looks at `x` behind the dispatch that was appended last.
    pub fn look(&mut self, x: Operand, part: Part, name: &str, precision: Precision, program: &mut Program) {
        let Some(counts) = self.counts.filter(|_| x.dtype != Dtype::U32 && x.shape.len() > 1) else { return };
        let first = WORDS * self.tensors.len();
        let all = program.buffers[counts].bytes as usize / 4;
        let counts = Operand { buffer: counts, offset: 0, shape: Shape::from([all]), dtype: Dtype::U32 };
        let last = x.shape.storage().last();
        let shader = Shader::new("observe", include_str!("../../shaders/observe.wgsl"), x.dtype, precision)
            .constant("GROUPS", GROUPS as u32);
        let d = Dispatch::new(format!("observe {name}"), shader)
            .read(x)
            .update(counts)
            .param("groups", x.shape.groups())
            .param("last", last)
            .param("first", first)
            .workgroups(x.shape.groups().div_ceil(64 * GROUPS));
        program.push(Dispatch { observes: true, ..d });
        self.tensors.push(Watched { part, name: name.to_owned(), shape: x.shape, dtype: x.dtype });
    }
}
