//! One error type. Every variant names what was wrong, where, and what to do about it. And warnings: what is no error.

use std::{
    fmt,
    panic::Location,
    path::{Path, PathBuf},
};

/// Something to know of a plan that was made nevertheless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.cure)
    }
}

/// What can go wrong, from a mistyped shape to a lost device. `Debug` is `Display`: a `main` that returns it prints what to do.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operator was given shapes, types or attributes that it cannot take.
    #[error("{op}({operands}): {detail}, at {at}")]
    Op {
        /// The operator's name, as in [`crate::op::Op::name`].
        op: String,
        /// Shape and type of each operand, as written in messages.
        operands: String,
        /// What was wrong.
        detail: String,
        /// The line of the caller's code.
        at: Site,
    },
    /// A named input, weight or node is missing, doubled or of another shape.
    #[error("{name:?}: {detail}")]
    Name {
        /// The name in question.
        name: String,
        /// What was wrong with it.
        detail: String,
    },
    /// A tensor of another graph, a node that this plan does not compute, or a range that cannot be read was asked for.
    #[error("{0}")]
    Port(String),
    /// The values given do not fill the tensor that they were written to.
    #[error("{name:?} of shape {shape} takes {expected} values, {found} were given")]
    Length {
        /// The input's or weight's name.
        name: String,
        /// Its shape.
        shape: crate::Shape,
        /// How many values it takes.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// No adapter fits the request.
    #[error("{0}")]
    Adapter(String),
    /// The adapter lacks a feature or a limit that the request needs.
    #[error("adapter {adapter:?} cannot do this: {detail}")]
    Unsupported {
        /// The adapter's name.
        adapter: String,
        /// What is missing and what would do instead.
        detail: String,
    },
    /// A shader did not compile; the message carries file and line.
    #[error("shader {shader}: {detail}")]
    Shader {
        /// The shader's file stem.
        shader: String,
        /// The compiler's words, with positions mapped back to the file.
        detail: String,
    },
    /// A buffer or a whole plan does not fit on the device.
    #[error("out of memory: {0}")]
    Memory(String),
    /// The device was lost or refused a command.
    #[error("device: {0}")]
    Device(String),
    /// The loss is no longer a finite number; the weights are as they were before that step.
    #[error("the loss is {loss} at step {step}; first value that is not finite: {layer}")]
    NotFinite {
        /// The step, counted from 0.
        step: u32,
        /// The loss found there.
        loss: f32,
        /// The first weight or node, in the order of execution, that holds Inf or NaN.
        layer: String,
        /// The losses of the steps before it that were not read yet.
        before: Vec<f32>,
    },
    /// A file could not be read or written, or is not what it should be.
    #[error("{}: {detail}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was wrong in it.
        detail: String,
    },
    /// The bytes of a checkpoint are not what they should be; read from a file, they are an [`Error::File`].
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    /// A data set and a request do not fit each other.
    #[error("{0}")]
    Data(String),
    /// A text names no precision, format, policy or whatever it was to be parsed into.
    #[error("{0}")]
    Parse(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A file error: `path` and what was wrong with it.
    pub fn file(path: impl Into<PathBuf>, detail: impl fmt::Display) -> Self {
        Error::File { path: path.into(), detail: detail.to_string() }
    }

    /// What is wrong with a checkpoint is wrong with the file that it was read from.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Error::Checkpoint(detail) => Error::file(path, detail),
            other => other,
        }
    }

    /// A naming error: the name and what was wrong with it.
    pub fn name(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::Name { name: name.into(), detail: detail.into() }
    }
}

/// A line of source code: where an operator was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site(&'static Location<'static>);

impl Site {
    /// The caller's line.
    #[track_caller]
    pub fn here() -> Self {
        Site(Location::caller())
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}:{}", self.0.file(), self.0.line(), self.0.column())
    }
}
