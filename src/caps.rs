//! What an adapter is, as plain data: filled by [`crate::gpu`], read by the planner and the ops.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use crate::{Dtype, Error, Precision, Result};

/// The kind of an adapter, in the order in which it is chosen by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A card with its own memory.
    Discrete,
    /// A GPU in the processor, sharing its memory.
    Integrated,
    /// A virtual machine's share of a GPU, or unknown.
    Virtual,
    /// A driver that computes on the processor.
    Software,
}

impl Kind {
    /// The kind in a word or three.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Discrete => "discrete",
            Kind::Integrated => "integrated",
            Kind::Virtual => "virtual or unknown",
            Kind::Software => "software",
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "discrete" => Ok(Kind::Discrete),
            "integrated" => Ok(Kind::Integrated),
            "virtual" => Ok(Kind::Virtual),
            "software" => Ok(Kind::Software),
            _ => Err(Error::Parse(format!("{s:?} is not discrete, integrated, virtual or software"))),
        }
    }
}

/// Square matrices that a subgroup multiplies together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matrices {
    /// Rows and columns: 8 or 16.
    pub size: u32,
    /// The type of what is multiplied.
    pub operands: Dtype,
    /// The type of the sums.
    pub sums: Dtype,
}

/// Constants of a shader, and whether they are 1.
pub(crate) type Packing = [(&'static str, bool); 2];

/// Features and limits of an adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    /// The adapter's name.
    pub adapter: String,
    /// What kind of device it is.
    pub kind: Kind,
    /// Whether shaders may use `f16`.
    pub shader_f16: bool,
    /// Whether shaders may use integers of 64 bits.
    pub shader_int64: bool,
    /// Whether an `f16` that is stored was rounded to nearest even and overflows to Inf; if not, halves are packed in words where
    /// registers are f32.
    pub store_exact: bool,
    /// Whether `pack2x16float` rounds to nearest even and overflows to Inf; if not, halves are packed by integer code.
    pub pack_exact: bool,
    /// Whether timestamps can be taken.
    pub timestamps: bool,
    /// Smallest and largest number of invocations in a subgroup; zeros where there are no subgroups.
    pub subgroup: (u32, u32),
    /// The cooperative matrices that may be used: none unless `gpu::Settings` switches them on.
    pub matrices: Vec<Matrices>,
    /// Storage buffers that one dispatch may bind.
    pub storage_buffers: u32,
    /// Bytes of the largest binding.
    pub binding_bytes: u64,
    /// Bytes of the largest buffer.
    pub buffer_bytes: u64,
    /// Bytes of memory shared by a workgroup.
    pub workgroup_bytes: u32,
    /// Invocations in the largest workgroup.
    pub invocations: u32,
    /// Workgroups along each axis of a dispatch.
    pub workgroups: u32,
    /// Alignment of a storage binding's offset, in bytes.
    pub storage_alignment: u64,
    /// Alignment of a uniform binding's offset, in bytes.
    pub uniform_alignment: u64,
    /// Bytes that a plan may take with its weights, if somebody set a limit: `gpu::Settings`.
    pub memory: Option<u64>,
    /// The variants that were measured to be the fastest, by product: see [`crate::dispatch::Choice`].
    pub fastest: Arc<BTreeMap<String, String>>,
}

impl Caps {
    /// Bytes of memory shared by a workgroup that an adapter must have: 8 KiB for a product's tiles, and one for the
    /// sums beside it.
    pub(crate) const LEAST_WORKGROUP_BYTES: u32 = 9 << 10;

    /// WebGPU's default limits and `shader-f16`: what `halfgrad plan` and golden Programs are made for.
    pub fn reference() -> Self {
        Caps {
            adapter: "reference".into(),
            kind: Kind::Integrated,
            shader_f16: true,
            shader_int64: false,
            store_exact: true,
            pack_exact: true,
            timestamps: false,
            subgroup: (0, 0),
            matrices: vec![],
            storage_buffers: 8,
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            workgroup_bytes: 16 << 10,
            invocations: 256,
            workgroups: 65535,
            storage_alignment: 256,
            uniform_alignment: 256,
            memory: None,
            fastest: Arc::default(),
        }
    }

    /// Fails if this adapter cannot run in `precision`.
    pub fn supports(&self, precision: Precision) -> Result<()> {
        if precision.acc() == Dtype::F16 && !self.shader_f16 {
            return Err(Error::Unsupported {
                adapter: self.adapter.clone(),
                detail: format!(
                    "{precision} computes in f16 and needs the feature shader-f16; f16 and mixed run on halves packed in words"
                ),
            });
        }
        Ok(())
    }

    /// Whether a shader with registers of type `acc` has halves as `f16`; if not, they are packed two in a word. Some GPUs round
    /// toward zero from f32 to f16, where none of our code could be in between; processors have no arithmetic on halves, and
    /// convert a pair at once faster than one by one.
    pub fn native_halves(&self, acc: Dtype) -> bool {
        self.shader_f16 && (acc == Dtype::F16 || self.store_exact && self.kind != Kind::Software)
    }

    /// Whether words in storage are loaded and stored two at a time: processors pay for each scalar.
    pub(crate) fn pairs_words(&self) -> bool {
        self.shader_int64 && self.kind == Kind::Software
    }

    /// Constants of `lib/f16_packed.wgsl`: how halves are taken out of words and put into them.
    pub(crate) fn packing(&self) -> Packing {
        [("PACK_EXACT", self.pack_exact), ("PROCESSOR", self.kind == Kind::Software)]
    }

    /// How the adapter runs `precision`, in a few words.
    pub fn how(&self, precision: Precision) -> &'static str {
        match (self.supports(precision), precision.storage, self.native_halves(precision.acc())) {
            (Err(_), ..) => "no",
            (_, Dtype::F16, false) => "packed",
            _ => "native",
        }
    }
}
