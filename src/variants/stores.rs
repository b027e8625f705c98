//! What FXC does not compile, which wgpu takes on DX12 unless it finds `dxcompiler.dll`: in a loop that it does not unroll, stores
//! to a component of a vector or a column of a matrix by an index that is no constant (X3500, X3511). Arrays may be indexed so.

use naga::{
    AddressSpace, Block, Expression, Function, Handle, Module, Span, Statement, TypeInner,
    valid::{FunctionInfo, ModuleInfo},
};

/// The first such store. In storage buffers there are none: there such a store is one to an address.
pub fn by_component(module: &Module, info: &ModuleInfo) -> Option<Span> {
    let functions = module.functions.iter().map(|(handle, f)| (f, &info[handle]));
    let entries = module.entry_points.iter().enumerate().map(|(i, entry)| (&entry.function, info.get_entry_point(i)));
    functions.chain(entries).find_map(|(function, info)| in_block(&function.body, &Known { module, function, info }))
}

struct Known<'a> {
    module: &'a Module,
    function: &'a Function,
    info: &'a FunctionInfo,
}

fn in_block(block: &Block, known: &Known) -> Option<Span> {
    block.span_iter().find_map(|(statement, span)| match statement {
        Statement::Store { pointer, .. } => known.ends_in_component(*pointer).then_some(*span),
        Statement::Block(inner) => in_block(inner, known),
        Statement::If { accept, reject, .. } => in_block(accept, known).or_else(|| in_block(reject, known)),
        Statement::Switch { cases, .. } => cases.iter().find_map(|case| in_block(&case.body, known)),
        Statement::Loop { body, continuing, .. } => in_block(body, known).or_else(|| in_block(continuing, known)),
        _ => None,
    })
}

impl Known<'_> {
    /// Whether an index that is no constant leads into a vector or matrix on the way to what is pointed to.
    fn ends_in_component(&self, pointer: Handle<Expression>) -> bool {
        match self.function.expressions[pointer] {
            Expression::Access { base, .. } => self.is_in_registers(base) || self.ends_in_component(base),
            Expression::AccessIndex { base, .. } => self.ends_in_component(base),
            _ => false,
        }
    }

    /// Whether this points to a vector or matrix that is not in a storage buffer.
    fn is_in_registers(&self, pointer: Handle<Expression>) -> bool {
        let (space, parts) = match *self.info[pointer].ty.inner_with(&self.module.types) {
            TypeInner::Pointer { base, space } => {
                let inner = &self.module.types[base].inner;
                (space, matches!(inner, TypeInner::Vector { .. } | TypeInner::Matrix { .. }))
            }
            TypeInner::ValuePointer { size, space, .. } => (space, size.is_some()),
            _ => return false,
        };
        parts && !matches!(space, AddressSpace::Storage { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Caps, Dtype, Precision, dispatch::Shader, gpu::compose};

    /// The line, counted from 1 in `main`, of the store that is found.
    fn found(body: &str) -> Option<u32> {
        let source = format!(
            "@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
            var<workgroup> shared_vector: vec4<f32>;
            @compute @workgroup_size(8) fn main(@builtin(local_invocation_index) i: u32) {{\n{body}\n}}"
        );
        let mut shader = Shader::new("try", "", Dtype::F32, Precision::F32);
        shader.source = source.into();
        let caps = Caps::reference();
        let wgsl = compose::compose(&shader, &caps).unwrap();
        let (module, info) = compose::parse(&shader, &wgsl, &caps).unwrap();
        let line = by_component(&module, &info)?.location(&wgsl.text).line_number;
        let place = wgsl.place(line);
        Some(place.strip_prefix("try.wgsl:").unwrap().parse::<u32>().unwrap() - 3)
    }

    #[test]
    fn stores_to_parts_of_vectors_and_matrices_are_found_and_no_others() {
        for body in [
            "var v: vec4<f32>;\nv[i] = 1.0;",
            "var m: mat4x4<f32>;\nm[i] = vec4(1.0);",
            "var m: mat4x4<f32>;\nm[1][i] = 1.0;",
            "var m: mat4x4<f32>;\nm[i].y = 1.0;",
            "var a: array<mat4x4<f32>, 2>;\na[i][i] *= 2.0;",
            "//\nshared_vector[i] = 1.0;",
            "for (var k = 0u; k < i; k++) { var v: vec4<bool>; if k > 1u {\nv[k] = true; } }",
        ] {
            assert_eq!(found(body), Some(2), "{body}");
        }
        for body in [
            "var v: vec4<f32>; v.x = 1.0; v[2] = 1.0; y[0] = v;",
            "var m: mat4x4<f32>; m[1] = vec4(1.0); m[2][3] = m[i][i];",
            "var a: array<vec4<f32>, 4>; a[i] = vec4(1.0); a[i].x = 1.0;",
            "y[i] = vec4(1.0); y[i][i] = 1.0;",
        ] {
            assert_eq!(found(body), None, "{body}");
        }
    }
}
