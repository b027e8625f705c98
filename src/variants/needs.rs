//! What a shader needs of an adapter.

use naga::{AddressSpace, Module, valid::ModuleInfo};

use crate::{Caps, dispatch::Dispatch};

/// What a shader needs of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Bytes of memory shared by a workgroup.
    pub workgroup_bytes: u32,
    /// Workgroup size along each axis.
    pub workgroup: [u32; 3],
    /// Storage buffers.
    pub storage_buffers: u32,
    /// Bytes of the uniforms in group 1, by binding.
    pub uniforms: [u32; 2],
}

/// WebGPU's default for the longest side of a workgroup along z; x and y may be as long as it has invocations.
const DEEPEST: u32 = 64;
/// WebGPU's default for the largest uniform binding.
const LARGEST_UNIFORM: u32 = 64 << 10;

impl Needs {
    /// What the module's one entry point needs.
    pub fn of(module: &Module, info: &ModuleInfo) -> Self {
        let entry = info.get_entry_point(0);
        let mut needs = Needs { workgroup: module.entry_points[0].workgroup_size, ..Needs::default() };
        for (handle, variable) in module.global_variables.iter() {
            let size = module.types[variable.ty].inner.size(module.to_ctx());
            match (variable.space, variable.binding) {
                // As WebGPU counts: what is used, each variable rounded up.
                (AddressSpace::WorkGroup, _) if !entry[handle].is_empty() => {
                    needs.workgroup_bytes += size.next_multiple_of(16);
                }
                (AddressSpace::Storage { .. }, _) => needs.storage_buffers += 1,
                (AddressSpace::Uniform, Some(b)) if b.group == 1 && b.binding < 2 => {
                    needs.uniforms[b.binding as usize] = size;
                }
                _ => {}
            }
        }
        needs
    }

    /// Invocations in a workgroup.
    pub fn invocations(&self) -> u32 {
        self.workgroup.iter().product()
    }

    /// What an adapter, or the dispatch that binds the uniforms, has too little of.
    pub fn lacking(&self, dispatch: &Dispatch, caps: &Caps) -> Option<String> {
        let bound = |words: usize| (4 * words.next_multiple_of(4).max(4)) as u32;
        let [width, height, depth] = self.workgroup;
        let limits = [
            ("bytes of workgroup memory", self.workgroup_bytes, caps.workgroup_bytes),
            ("invocations in a workgroup", self.invocations(), caps.invocations),
            ("invocations along x", width, caps.invocations),
            ("invocations along y", height, caps.invocations),
            ("invocations along z", depth, DEEPEST),
            ("storage buffers", self.storage_buffers, caps.storage_buffers),
            ("bytes of uniforms", self.uniforms[0].max(self.uniforms[1]), LARGEST_UNIFORM),
            ("bytes in struct Params", self.uniforms[0], bound(dispatch.params.len())),
            ("bytes in the chain's uniforms", self.uniforms[1], bound(dispatch.chain.len())),
        ];
        let lacks = limits.into_iter().find(|(_, needs, has)| needs > has);
        lacks.map(|(what, needs, has)| format!("{needs} {what}, {:?} has {has}", caps.adapter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dtype, Precision, dispatch::Shader, gpu::compose};

    fn needs(source: &'static str) -> Result<Needs, String> {
        let shader = Shader::new("try", source, Dtype::F32, Precision::F32);
        let caps = Caps::reference();
        let wgsl = compose::compose(&shader, &caps).map_err(|e| e.to_string())?;
        let (module, info) = compose::parse(&shader, &wgsl, &caps).map_err(|e| e.to_string())?;
        let needs = Needs::of(&module, &info);
        needs.lacking(&Dispatch::new("try", shader), &caps).map_or(Ok(needs), Err)
    }

    #[test]
    fn what_a_shader_uses_is_counted_and_held_against_the_limits() {
        let source = "var<workgroup> used: array<u32, 5>; var<workgroup> unused: array<u32, 99>;
            @group(0) @binding(0) var<storage, read_write> y: array<u32>;
            @compute @workgroup_size(8, 4) fn main(@builtin(local_invocation_index) i: u32) { used[i] = 1u; y[i] = used[i]; }";
        let found = needs(source).unwrap();
        assert_eq!((found.workgroup_bytes, found.invocations(), found.storage_buffers), (32, 32, 1));
        for (source, expected) in [
            ("@compute @workgroup_size(512) fn main() {}", "512 invocations in a workgroup"),
            ("@compute @workgroup_size(1, 1, 65) fn main() {}", "65 invocations along z"),
            (
                "var<workgroup> w: array<u32, 5000>; @compute @workgroup_size(1) fn main() { w[0] = 1u; }",
                "20000 bytes of workgroup memory",
            ),
            (
                "@group(1) @binding(0) var<uniform> p: mat4x4<f32>; @compute @workgroup_size(1) fn main() { _ = p[0]; }",
                "64 bytes in struct Params",
            ),
            ("@compute @workgroup_size(1) fn main() { let x = 1h; }", "try.wgsl:1"),
        ] {
            let said = needs(source).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}
