//! What wgpu makes of a shader for each vendor's compiler: naga's writers, with the options of `gpu/pipeline.rs`.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use clap::ValueEnum;
use halfgrad::variants::Variant;
use naga::{
    AddressSpace, Module, ShaderStage, StorageAccess,
    back::{hlsl, msl, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::ModuleInfo,
};

/// A language that shaders are handed to drivers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// As composed: what browsers get.
    Wgsl,
    /// SPIR-V for Vulkan, for drivers with robustBufferAccess2, which check bounds of buffers themselves.
    Spirv,
    /// Metal's language.
    Msl,
    /// DirectX 12's language, shader model 6.2 with 16-bit types.
    Hlsl,
}

/// The name of every entry point.
const ENTRY: &str = "main";

impl Target {
    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        ["wgsl", "spirv", "msl", "hlsl"][self as usize]
    }

    /// The usual ending of a file.
    pub fn ending(self) -> &'static str {
        ["wgsl", "spv", "metal", "hlsl"][self as usize]
    }

    /// Translates a variant whose module is given.
    pub fn translate(self, variant: &Variant, module: &Module, info: &ModuleInfo) -> Result<Vec<u8>, String> {
        let zeroed = variant.dispatch.shader.zeroed;
        match self {
            Target::Wgsl => Ok(variant.wgsl.text.clone().into()),
            Target::Spirv => spirv(module, info, variant),
            Target::Msl => metal(module, info, zeroed).map(String::into_bytes),
            Target::Hlsl => direct_x(module, info, zeroed).map(String::into_bytes),
        }
    }
}

fn spirv(module: &Module, info: &ModuleInfo, variant: &Variant) -> Result<Vec<u8>, String> {
    let options = spv::Options {
        lang_version: if variant.is_cooperative() { (1, 6) } else { (1, 3) },
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: BoundsCheckPolicy::Unchecked,
            ..Default::default()
        },
        zero_initialize_workgroup_memory: match variant.dispatch.shader.zeroed {
            true => spv::ZeroInitializeWorkgroupMemoryMode::Native,
            false => spv::ZeroInitializeWorkgroupMemoryMode::None,
        },
        force_loop_bounding: false,
        ..Default::default()
    };
    let entry = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: ENTRY.into() };
    let words = spv::write_vec(module, info, &options, Some(&entry)).map_err(|e| e.to_string())?;
    Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
}

fn metal(module: &Module, info: &ModuleInfo, zeroed: bool) -> Result<String, String> {
    let mut resources = msl::EntryPointResources::default();
    for (_, variable) in module.global_variables.iter() {
        if let Some(binding) = variable.binding {
            let mutable =
                matches!(variable.space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE));
            let slot = resources.resources.len() as u8;
            let target = msl::BindTarget { buffer: Some(slot), mutable, ..Default::default() };
            resources.resources.insert(binding, target);
        }
    }
    resources.sizes_buffer = Some(resources.resources.len() as u8);
    let options = msl::Options {
        lang_version: (2, 4),
        per_entry_point_map: [(ENTRY.to_owned(), resources)].into(),
        fake_missing_bindings: false,
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: BoundsCheckPolicy::Restrict,
            ..Default::default()
        },
        force_loop_bounding: false,
        zero_initialize_workgroup_memory: zeroed,
        ..Default::default()
    };
    let entry = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, ENTRY.into())),
        allow_and_force_point_size: false,
        vertex_pulling_transform: false,
        vertex_buffer_mappings: vec![],
        binding_array_length_map: Default::default(),
    };
    let (text, written) = msl::write_string(module, info, &options, &entry).map_err(|e| e.to_string())?;
    written.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))?;
    Ok(text)
}

fn direct_x(module: &Module, info: &ModuleInfo, zeroed: bool) -> Result<String, String> {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        // Group and binding become space and register.
        fake_missing_bindings: true,
        force_loop_bounding: false,
        zero_initialize_workgroup_memory: zeroed,
        ..Default::default()
    };
    let entry = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, ENTRY.into())) };
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &entry).write(module, info, None);
    let written = written.map_err(|e| e.to_string())?;
    written.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))?;
    Ok(text)
}

/// The judge of SPIR-V, a program of Khronos (Debian package spirv-tools).
pub const SPIRV_VAL: &str = "spirv-val";

/// Whether [`SPIRV_VAL`] can be started.
pub fn has_spirv_val() -> bool {
    Command::new(SPIRV_VAL).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What a [`SPIRV_VAL`] older than version 2023.3 says of cooperative matrices.
const UNKNOWN: &str = "Invalid capability operand: 6022";

/// What [`SPIRV_VAL`] says of a variant's module, if it knows all that is in it.
pub fn spirv_val(words: &[u8], variant: &Variant) -> Result<(), String> {
    let mut judge = Command::new(SPIRV_VAL);
    judge.args(["--target-env", if variant.is_cooperative() { "vulkan1.3" } else { "vulkan1.1" }, "-"]);
    judge.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut judge = judge.spawn().map_err(|e| format!("{SPIRV_VAL}: {e}"))?;
    let written = judge.stdin.take().expect("it is piped").write_all(words);
    let said = judge.wait_with_output().map_err(|e| format!("{SPIRV_VAL}: {e}"))?;
    let words = String::from_utf8_lossy(&said.stderr);
    match (said.status.success(), written) {
        (true, Ok(())) => Ok(()),
        (true, Err(e)) => Err(format!("{SPIRV_VAL}: {e}")),
        (false, _) if variant.is_cooperative() && words.contains(UNKNOWN) => Ok(()),
        (false, _) => Err(format!("{SPIRV_VAL}: {}", words.trim())),
    }
}
