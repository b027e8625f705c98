//! The product on cooperative matrices, which no adapter in software has: the same shader with the hardware's part written out,
//! run on whatever adapter there is, against f64. Translation for those that have them is `cargo xtask shaders`.

use std::{collections::BTreeMap, sync::Arc};

use halfgrad::{
    Caps, Dtype, Gpu, Graph, Precision, Tensor,
    caps::{Kind, Matrices},
    dispatch::Program,
    gpu::{Executable, Settings, loaded, stored},
    lower::{Request, lower},
    ops::{Conv2d, Padding},
    reference::{Array, evaluate},
};

const EMULATED: &str = include_str!("common/coop_emulated.wgsl");

type Build = for<'g> fn(&'g Graph) -> Tensor<'g>;

const PRODUCTS: [Build; 8] = [
    |g| g.input("a", [70, 35]).matmul(g.input("b", [35, 67])),
    |g| g.input("a", [33, 130]).matmul_with(g.input("b", [65, 33]), true, true),
    |g| g.input("a", [3, 65, 17]).matmul(g.input("b", [3, 17, 31])),
    // A sum in parts.
    |g| g.input("a", [64, 2050]).matmul_with(g.input("b", [61, 2050]), false, true),
    // Taps that a turn crosses, borders, a chain behind.
    |g| {
        let (x, w) = (g.input("x", [2, 9, 7, 12]), g.input("w", [3, 3, 12, 37]));
        x.conv2d(w, Conv2d { padding: Padding::Same, ..Conv2d::default() }).relu()
    },
    |g| {
        let (x, w) = (g.input("x", [2, 9, 7, 32]), g.input("w", [3, 3, 16, 8]));
        x.conv2d(w, Conv2d { stride: [2; 2], groups: 2, ..Conv2d::default() })
    },
    |g| {
        let (x, w) = (g.input("x", [1, 8, 9, 20]), g.input("w", [3, 2, 12, 20]));
        x.conv_transpose2d(w, Conv2d::default(), [0; 2])
    },
    |g| {
        let (x, w) = (g.input("x", [2, 8, 9, 20]), g.input("w", [3, 2, 20, 12]));
        let y = x.conv2d(w, Conv2d::default());
        g.grad((y * g.input("dy", y.shape())).sum_all(), &[w])[0]
    },
];

/// The adapter as one that has such matrices.
fn with(gpu: &Gpu, size: u32, operands: Dtype, subgroup: (u32, u32)) -> Caps {
    Caps { matrices: vec![Matrices { size, operands, sums: Dtype::F32 }], subgroup, ..gpu.caps().clone() }
}

/// Puts what the hardware does in words; how many products there were.
fn emulate(program: &mut Program) -> usize {
    let coop = |d: &&mut halfgrad::dispatch::Dispatch| d.shader.declarations.contains("#import gemm_coop");
    let mut count = 0;
    for d in program.dispatches.iter_mut().filter(coop) {
        let shader = Arc::make_mut(&mut d.shader);
        for size in [8, 16] {
            let emulated = format!("const SIZE: u32 = {size}u;\n{EMULATED}");
            shader.declarations = shader.declarations.replace(&format!("#import coop{size}\n"), &emulated);
        }
        count += 1;
    }
    count
}

/// Numbers that f16 holds, the same for the same operand.
fn values(n: usize, stream: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + stream * 104_729) % 1021) as f32 / 1024.0 - 0.5).collect()
}

#[test]
fn products_on_cooperative_matrices_agree_with_f64() {
    let gpu = Gpu::new().expect("an adapter");
    let settings = Settings { kind: Some(Kind::Discrete), ..gpu.settings().clone() };
    let gpu = pollster::block_on(gpu.with(settings)).expect("the same adapter");
    if gpu.caps().subgroup.1 == 0 || gpu.caps().invocations < 256 {
        return eprintln!("{}: no subgroups", gpu.caps().adapter);
    }
    let mut tried = vec![(Precision::F32, 8, (4, 64))];
    if gpu.caps().shader_f16 {
        tried.extend([(Precision::F16, 16, (32, 32)), (Precision::MIXED, 16, (32, 64)), (Precision::F16, 8, (4, 64))]);
    }
    for (precision, size, subgroup) in tried {
        let caps = with(&gpu, size, precision.storage, subgroup);
        let found: usize = PRODUCTS.iter().map(|build| agrees(&gpu, &caps, precision, *build)).sum();
        assert!(found >= PRODUCTS.len(), "{precision}: only {found} products on matrices of {size}");
    }
}

/// How many products of the tensor ran on matrices.
fn agrees(gpu: &Gpu, caps: &Caps, precision: Precision, build: Build) -> usize {
    let graph = Graph::new(precision);
    let y = build(&graph);
    graph.check().expect("a graph");
    let wanted = vec![y.value];
    let made =
        lower(&Request { graph: &graph, caps, wanted, training: None, observe: false, fusion: true, algebra: true });
    let mut made = made.expect("a program");
    let count = emulate(&mut made.program);
    let executable = pollster::block_on(Executable::new(gpu, &made.program, |_| unreachable!("no weights")));
    let executable = executable.expect("a program that compiles");
    let mut given = BTreeMap::new();
    for (value, at) in made.ports.iter().filter(|(value, _)| **value != y.value) {
        let numbers = values(at.shape.len(), value.node);
        let bytes = stored(&numbers, at.shape, at.dtype);
        gpu.queue().write_buffer(executable.buffer(at.buffer), at.offset, &bytes);
        given.insert(*value, Array::new(at.shape, numbers.into_iter().map(f64::from).collect()));
    }
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    executable.encode(&mut encoder, 0..made.program.dispatches.len(), false);
    let at = made.ports[&y.value];
    let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: at.bytes(),
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    encoder.copy_buffer_to_buffer(executable.buffer(at.buffer), at.offset, &staging, 0, at.bytes());
    gpu.queue().submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("a buffer to map"));
    gpu.wait().expect("a device");
    let found = loaded(&staging.get_mapped_range(..).expect("it is mapped"), at.shape, at.dtype);
    let expected = &evaluate(&graph, &given, &[y]).unwrap()[0];
    let largest = expected.data.iter().fold(0f64, |m, v| m.max(v.abs()));
    let allowed = largest * if precision.storage == Dtype::F32 { 1e-5 } else { 2e-3 };
    for (i, (f, e)) in found.iter().zip(&expected.data).enumerate() {
        let off = (f64::from(*f) - e).abs();
        assert!(off <= allowed, "{precision} {}: {f} instead of {e} at {i}\n{}", at.shape, made.program);
    }
    count
}
