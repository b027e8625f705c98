//! An app's own ops from outside the crate: one elementwise, and the example's with its own WGSL; checked like ours and
//! trained.

#[path = "../examples/08_custom_op.rs"]
#[allow(dead_code, reason = "the op is wanted, and not what the example does with it")]
mod example;

use example::RowNorm;
use halfgrad::{
    Gpu, Graph, Init, Plan, Precision, Sgd, Tensor, Weights, check,
    dispatch::Program,
    error::Warning,
    nn,
    op::{Backward, Expression, Kind, Op, Type},
    optim::{Schedule, Update, UpdateIo},
    reference::{Array, Case},
};

/// `x + tanh(αx)/α`: elementwise, so an expression is all it needs. `tanh4` is of the crate's `lib/math.wgsl`, which is
/// exact to a few ulp where drivers' own functions are not.
#[derive(Debug, Clone)]
struct Bend {
    alpha: f32,
}

impl Op for Bend {
    fn name(&self) -> &'static str {
        "bend"
    }
    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(vec![x[0]])
    }
    fn kind(&self) -> Kind {
        let body = "vec4<acc>(vec4<f32>(a) + tanh4(p.x * vec4<f32>(a)) / p.x)".into();
        Kind::Map(Expression { name: "bend", body, params: vec![self.alpha] })
    }
    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let slope = at.x[0].graph.apply(BendSlope(self.alpha), &[at.x[0]]);
        vec![Some(at.dy() * slope)]
    }
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let alpha = f64::from(self.alpha);
        vec![x[0].map(|v| v + (alpha * v).tanh() / alpha)]
    }
}

/// The derivative of [`Bend`]: `2 − tanh²(αx)`.
#[derive(Debug, Clone)]
struct BendSlope(f32);

impl Op for BendSlope {
    fn name(&self) -> &'static str {
        "bend_slope"
    }
    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(vec![x[0]])
    }
    fn kind(&self) -> Kind {
        // The number is in the body on purpose: two bodies of one name must not be mixed up.
        let t = format!("tanh4({:?} * vec4<f32>(a))", self.0);
        let body = format!("vec4<acc>(2.0 - {t} * {t})").into();
        Kind::Map(Expression { name: "bend_slope", body, params: vec![] })
    }
    fn grad<'g>(&self, _: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![None]
    }
    fn is_differentiable(&self) -> bool {
        false
    }
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        vec![x[0].map(|v| 2.0 - (f64::from(self.0) * v).tanh().powi(2))]
    }
}

fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 4] = [&[5, 17], &[3, 2, 8], &[65, 3], &[1, 257]];
    let bend = |s: &[usize]| Case::new(Bend { alpha: 0.75 }, [s]);
    let norm = |s: &[usize]| Case::new(RowNorm, [s]).terms(2 * s[s.len() - 1]);
    shapes.into_iter().flat_map(|s| [bend(s), norm(s)]).collect()
}

#[test]
fn definitions_agree_with_finite_differences() {
    for case in cases() {
        check::definition(&case).unwrap_or_else(|e| panic!("{case:?}: {e}"));
    }
}

#[test]
fn kernels_agree_with_the_definitions_in_every_precision() {
    let gpu = Gpu::new().unwrap();
    let packed = pollster::block_on(gpu.without_f16()).unwrap();
    for (name, precision) in Precision::PRESETS {
        for gpu in [&gpu, &packed].into_iter().filter(|g| g.caps().supports(precision).is_ok()) {
            for case in cases() {
                let how = gpu.caps().how(precision);
                check::on_device(gpu, precision, &case).unwrap_or_else(|e| panic!("{case:?}, {name} {how}: {e}"));
            }
        }
    }
}

#[test]
fn two_ops_of_one_name_are_two_functions() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let x = graph.input("x", [3]);
    let y = graph.apply(BendSlope(0.5), &[x]) + 10.0 * graph.apply(BendSlope(1.0), &[x]);
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::infer(&gpu, &weights, [y]).unwrap();
    assert_eq!(plan.program().dispatches.len(), 1, "{}", plan.program());
    plan.write(x, &[0.1, 0.2, 0.3]).unwrap();
    plan.run();
    for (v, found) in [0.1f64, 0.2, 0.3].into_iter().zip(plan.read(y).unwrap().wait().unwrap()) {
        let expected = 2.0 - (0.5 * v).tanh().powi(2) + 10.0 * (2.0 - v.tanh().powi(2));
        assert!((f64::from(found) - expected).abs() < 1e-4, "{found} {expected}");
    }
}

#[test]
fn a_network_trains_through_them() {
    let gpu = Gpu::new().unwrap();
    for precision in [Precision::F32, Precision::F16, Precision::MIXED] {
        let graph = Graph::new(precision);
        let x = graph.input("x", [32, 2]);
        let target = graph.input("target", [32, 1]);
        let h = graph.apply(RowNorm, &[nn::linear("fc1", x, 17)]);
        let h = graph.apply(Bend { alpha: 0.75 }, &[h]);
        let loss = (nn::linear("fc2", h, 1) - target).square().mean_all();
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.01).momentum(0.9)).unwrap();
        let points: Vec<f32> = (0..64).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0).collect();
        let products: Vec<f32> = points.chunks(2).map(|p| p[0] * p[1]).collect();
        plan.write(x, &points).unwrap();
        plan.write(target, &products).unwrap();
        (0..200).for_each(|_| plan.run());
        let losses = plan.losses().wait().unwrap();
        let skipped = plan.progress().wait().unwrap().skipped as usize;
        assert!(losses[199] < 0.1 * losses[0], "{precision}: {} to {}, {skipped} skipped", losses[0], losses[199]);
    }
}

/// Twice the operand; its gradient is as the field says.
#[derive(Debug, Clone)]
struct Double(Wrong);

#[derive(Debug, Clone, Copy)]
enum Wrong {
    Shape,
    Count,
}

impl Op for Double {
    fn name(&self) -> &'static str {
        "double"
    }
    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(vec![x[0]])
    }
    fn kind(&self) -> Kind {
        Kind::Map(Expression { name: "double", body: "a + a".into(), params: vec![] })
    }
    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let dx = at.dy() * 2.0;
        match self.0 {
            Wrong::Shape => vec![Some(dx.sum([0]))],
            Wrong::Count => vec![Some(dx), None],
        }
    }
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        vec![x[0].map(|v| 2.0 * v)]
    }
}

#[test]
fn a_wrong_gradient_is_a_mistake_of_the_graphs() {
    let mistake = |build: &dyn Fn(&Graph, Tensor)| {
        let graph = Graph::new(Precision::F32);
        let w = graph.weight("w", [4, 3], Init::Constant(1.0));
        build(&graph, w);
        graph.check().unwrap_err().to_string()
    };
    let double = |wrong| {
        mistake(&|graph, w| {
            let _ = graph.grad(graph.apply(Double(wrong), &[w]).sum_all(), &[w]);
        })
    };
    let (shape, count) = (double(Wrong::Shape), double(Wrong::Count));
    assert!(shape.starts_with("double(f32 [4, 3])") && shape.contains("[4, 3] is [3]"), "{shape}");
    assert!(count.contains("2 parts for 1 operand"), "{count}");
    let second = mistake(&|graph, w| {
        let loss = w.cross_entropy(graph.labels("label", [4]));
        let slope = graph.grad(loss, &[w])[0];
        let _ = graph.grad(loss + slope.square().sum_all(), &[w]);
    });
    assert!(second.starts_with("cross_entropy_backward(") && second.contains("no gradient"), "{second}");
    assert!(second.contains("custom_op.rs"), "{second}");
}

/// Descent by the signs of gradients: an app's own optimizer.
#[derive(Debug)]
struct SignDescent(Schedule);

impl Update for SignDescent {
    fn name(&self) -> &'static str {
        "sign_descent"
    }
    fn moments(&self) -> &'static [&'static str] {
        &[]
    }
    fn schedule(&self) -> &Schedule {
        &self.0
    }
    fn lower(&self, io: &UpdateIo, program: &mut Program) {
        const WGSL: &str = "#import update
            struct Params { groups: u32, stream: u32, weight_decay: f32 }
            @group(1) @binding(0) var<uniform> p: Params;
            fn prepare() {}
            fn direction(i: u32, w: vec4<acc>, g: vec4<acc>, decay: acc, random: vec4<u32>) -> vec4<acc> {
                return sign(g) + decay * w;
            }";
        let dispatch = io.dispatch(self.name(), WGSL).param_f32("weight_decay", io.held(0.0));
        program.push(dispatch.flops(3 * io.weights.shape.len()));
    }
    fn warnings(&self, _: Precision) -> Vec<Warning> {
        vec![]
    }
}

#[test]
fn an_optimizer_of_ones_own_trains_in_every_precision() {
    let gpu = Gpu::new().unwrap();
    for (name, precision) in Precision::PRESETS.into_iter().filter(|(_, p)| gpu.caps().supports(*p).is_ok()) {
        let graph = Graph::new(precision);
        let (w, x) = (graph.weight("w", [5], Init::Constant(1.0)), graph.input("x", [5]));
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let mut plan = Plan::train(&gpu, &weights, (w * x).sum_all(), SignDescent(0.125.into())).unwrap();
        plan.write(x, &[2.0, -3.0, 0.5, -0.25, 0.0]).unwrap();
        // The first steps of mixed precision find a loss scale.
        while plan.progress().wait().unwrap().updates == 0 {
            plan.run();
        }
        assert_eq!(weights.get("w").unwrap().wait().unwrap(), [0.875, 1.125, 0.875, 1.125, 1.0], "{name}");
    }
}
