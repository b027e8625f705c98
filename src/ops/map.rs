//! Elementwise ops: one row of a table each. The planner fuses them with their neighbours.
//!
//! A row is: documentation, name and operands (numbers after the semicolon), the interval that tests draw from,
//! the WGSL body, the definition in f64, and the gradient with respect to each operand.
//!
//! Functions that drivers get wrong come from `lib/math.wgsl`, which computes in f32. So these are computed in f32
//! and rounded in [`Precision::F16_STRICT`] too: exp, log, tanh, sigmoid, softplus, erf, gelu, silu, pow.

#[cfg(feature = "reference")]
use crate::reference::{Array, Case, Fill as Values};
use crate::{
    Dtype, Precision, Shape,
    graph::Graph,
    op::{Backward, Expression, Kind, Made, Op, Simpler, Type},
    tensor::Tensor,
};

/// A row of the table.
#[cfg_attr(not(feature = "reference"), allow(dead_code, reason = "tests and references read some of it"))]
pub struct Row {
    name: &'static str,
    /// How many operands and how many numbers it takes.
    arity: (usize, usize),
    domain: (f64, f64),
    body: &'static str,
    value: fn(&[f64], &[f64]) -> f64,
    grad: for<'g> fn(&Backward<'g>, &[f32]) -> Vec<Tensor<'g>>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// An elementwise op: a row and its numbers.
#[derive(Debug, Clone)]
pub struct Map {
    row: &'static Row,
    numbers: Vec<f32>,
}

macro_rules! count {
    () => { 0 };
    ($first:tt $($rest:tt)*) => { 1 + count!($($rest)*) };
}

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident($a:ident $(, $b:ident)* $(; $($p:ident),*)?) in $domain:expr,
        $body:literal, $value:expr, $grad:expr;)*) => {
        struct Rows;
        #[allow(non_upper_case_globals, reason = "a row is called as its op")]
        impl Rows {
            $(const $name: Row = Row {
                name: stringify!($name),
                arity: (count!($a $($b)*), count!($($($p)*)?)),
                domain: $domain,
                body: $body,
                value: $value,
                grad: $grad,
            };)*
        }
        /// Every row.
        #[cfg(feature = "reference")]
        const TABLE: &[&Row] = &[$(&Rows::$name),*];

        /// Elementwise ops; shapes broadcast, matched from the last axis.
        #[allow(clippy::should_implement_trait, reason = "the operators call these")]
        impl<'g> Tensor<'g> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $name(self $(, $b: Tensor<'g>)* $($(, $p: f32)*)?) -> Tensor<'g> {
                self.graph.apply(Map { row: &Rows::$name, numbers: vec![$($($p),*)?] }, &[self $(, $b)*])
            })*
        }
    };
}

const REAL: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.1, 4.0);
/// No gradient flows through these rows.
const FLAT: for<'g> fn(&Backward<'g>, &[f32]) -> Vec<Tensor<'g>> = |_, _| vec![];

table! {
    /// `a + b`.
    add(a, b) in REAL, "a + b", |x, _| x[0] + x[1], |d, _| vec![d.dy(), d.dy()];
    /// `a - b`.
    sub(a, b) in REAL, "a - b", |x, _| x[0] - x[1], |d, _| vec![d.dy(), -d.dy()];
    /// `a · b`.
    mul(a, b) in REAL, "a * b", |x, _| x[0] * x[1], |d, _| vec![d.dy() * d.x[1], d.dy() * d.x[0]];
    /// `a / b`.
    div(a, b) in POSITIVE, "a / b", |x, _| x[0] / x[1],
        |d, _| vec![d.dy() / d.x[1], -(d.dy() * d.y[0] / d.x[1])];
    /// `-a`.
    neg(a) in REAL, "-a", |x, _| -x[0], |d, _| vec![-d.dy()];
    /// eᵃ.
    exp(a) in REAL, "vec4<acc>(exp4(vec4<f32>(a)))", |x, _| x[0].exp(), |d, _| vec![d.dy() * d.y[0]];
    /// The natural logarithm.
    log(a) in POSITIVE, "vec4<acc>(log4(vec4<f32>(a)))", |x, _| x[0].ln(), |d, _| vec![d.dy() / d.x[0]];
    /// √a.
    sqrt(a) in POSITIVE, "sqrt(a)", |x, _| x[0].sqrt(), |d, _| vec![0.5 * d.dy() / d.y[0]];
    /// 1/√a.
    rsqrt(a) in POSITIVE, "inverseSqrt(a)", |x, _| x[0].powf(-0.5),
        |d, _| vec![-0.5 * d.dy() * d.y[0] * d.y[0] * d.y[0]];
    /// The hyperbolic tangent.
    tanh(a) in REAL, "vec4<acc>(tanh4(vec4<f32>(a)))", |x, _| x[0].tanh(),
        |d, _| vec![d.dy() * (1.0 - d.y[0] * d.y[0])];
    /// 1 / (1 + e⁻ᵃ).
    sigmoid(a) in REAL, "vec4<acc>(sigmoid4(vec4<f32>(a)))", |x, _| 1.0 / (1.0 + (-x[0]).exp()),
        |d, _| vec![d.dy() * d.y[0] * (1.0 - d.y[0])];
    /// max(a, 0); NaN stays NaN unless the driver makes a `max` of this, which hides it: Mesa's GL does.
    relu(a) in REAL, "select(a, vec4<acc>(), a < vec4<acc>())", |x, _| x[0].max(0.0), |d, _| vec![d.dy().gate(d.y[0])];
    /// `a` where positive, else `slope · a`.
    leaky_relu(a; slope) in REAL, "select(a * acc(p.x), a, a > vec4<acc>())",
        |x, p| if x[0] > 0.0 { x[0] } else { p[0] * x[0] },
        // For slope ≥ 0 the result has the operand's sign, and is kept anyway.
        |d, p| {
            let sign = if p[0] >= 0.0 { d.y[0] } else { d.x[0] };
            vec![d.x[0].number(0.0).less(sign).select(d.dy(), d.dy() * p[0])]
        };
    /// The error function.
    erf(a) in REAL, "vec4<acc>(erf4(vec4<f32>(a)))", |x, _| erf(x[0]),
        |d, _| vec![d.dy() * (2.0 / std::f32::consts::PI.sqrt()) * (-d.x[0].square()).exp()];
    /// `a · Φ(a)` with the normal distribution function Φ (arXiv 1606.08415).
    gelu(a) in REAL, "vec4<acc>(0.5 * vec4<f32>(a) * (1.0 + erf4(0.70710678 * vec4<f32>(a))))",
        |x, _| 0.5 * x[0] * (1.0 + erf(x[0] / 2f64.sqrt())),
        |d, _| {
            let x = d.x[0];
            let cdf = 0.5 * (1.0 + (x * std::f32::consts::FRAC_1_SQRT_2).erf());
            let density = (-0.5 * x.square()).exp() * (1.0 / (2.0 * std::f32::consts::PI).sqrt());
            vec![d.dy() * (cdf + x * density)]
        };
    /// `gelu` by its usual approximation with tanh (arXiv 1606.08415, section 2).
    gelu_tanh(a) in REAL,
        "vec4<acc>(0.5 * vec4<f32>(a) * (1.0 + tanh4(0.79788456 * vec4<f32>(a) * (1.0 + 0.044715 * vec4<f32>(a * a)))))",
        |x, _| 0.5 * x[0] * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x[0] + 0.044715 * x[0].powi(3))).tanh()),
        |d, _| {
            let (x, c) = (d.x[0], (2.0 / std::f32::consts::PI).sqrt());
            let t = (c * x * (1.0 + 0.044715 * x.square())).tanh();
            let slope = c * (1.0 + 3.0 * 0.044715 * x.square());
            vec![d.dy() * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope)]
        };
    /// `a · sigmoid(a)`, also called swish.
    silu(a) in REAL, "vec4<acc>(vec4<f32>(a) * sigmoid4(vec4<f32>(a)))", |x, _| x[0] / (1.0 + (-x[0]).exp()),
        |d, _| {
            let s = d.x[0].sigmoid();
            vec![d.dy() * s * (1.0 + d.x[0] * (1.0 - s))]
        };
    /// log(1 + eᵃ).
    softplus(a) in REAL, "vec4<acc>(softplus4(vec4<f32>(a)))", |x, _| x[0].max(0.0) + (-x[0].abs()).exp().ln_1p(),
        |d, _| vec![d.dy() * d.x[0].sigmoid()];
    /// |a|.
    abs(a) in REAL, "abs(a)", |x, _| x[0].abs(), |d, _| vec![d.dy() * d.x[0].sign()];
    /// -1, 0 or 1.
    sign(a) in REAL, "sign(a)", |x, _| if x[0] == 0.0 { 0.0 } else { x[0].signum() }, FLAT;
    /// a².
    square(a) in REAL, "a * a", |x, _| x[0] * x[0], |d, _| vec![2.0 * d.dy() * d.x[0]];
    /// aᵇ; a negative `a` needs an integral `b`.
    pow(a, b) in POSITIVE, "vec4<acc>(pow4(vec4<f32>(a), vec4<f32>(b)))", |x, _| x[0].powf(x[1]),
        |d, _| vec![d.dy() * d.x[1] * d.x[0].pow(d.x[1] - 1.0), d.dy() * d.y[0] * d.x[0].log()];
    /// The larger of two.
    maximum(a, b) in REAL, "max(a, b)", |x, _| x[0].max(x[1]), |d, _| {
        let second = d.x[0].less(d.x[1]);
        vec![(1.0 - second) * d.dy(), second * d.dy()]
    };
    /// The smaller of two.
    minimum(a, b) in REAL, "min(a, b)", |x, _| x[0].min(x[1]), |d, _| {
        let first = d.x[0].less(d.x[1]);
        vec![first * d.dy(), (1.0 - first) * d.dy()]
    };
    /// `a` kept between `low` and `high`, which wins if it is the lesser of the two; NaN stays NaN.
    clamp(a; low, high) in REAL,
        "select(select(a, vec4(acc(min(p.x, p.y))), a < vec4(acc(min(p.x, p.y)))), vec4(acc(p.y)), a > vec4(acc(p.y)))",
        |x, p| x[0].clamp(p[0].min(p[1]), p[1]),
        |d, p| {
            let x = d.x[0];
            vec![d.dy() * x.less_equal(x.number(p[1])) * x.number(p[0]).less_equal(x)]
        };
    /// 1 where `a < b`, else 0.
    less(a, b) in REAL, "select(vec4<acc>(), vec4(acc(1.0)), a < b)", |x, _| f64::from(x[0] < x[1]), FLAT;
    /// 1 where `a ≤ b`, else 0.
    less_equal(a, b) in REAL, "select(vec4<acc>(), vec4(acc(1.0)), a <= b)", |x, _| f64::from(x[0] <= x[1]), FLAT;
    /// 1 where `a = b`, else 0.
    equal(a, b) in REAL, "select(vec4<acc>(), vec4(acc(1.0)), a == b)", |x, _| f64::from(x[0] == x[1]), FLAT;
    /// `a` where the condition is not 0, else `b`.
    select(condition, a, b) in REAL, "select(c, b, a != vec4<acc>())",
        |x, _| if x[0] != 0.0 { x[1] } else { x[2] },
        |d, _| {
            let (zero, on) = (d.dy().number(0.0), d.x[0]);
            vec![d.x[0].zeros_like(), on.select(d.dy(), zero), on.select(zero, d.dy())]
        };
    /// `a` where `b` is positive, else 0: the gradient of `relu`.
    gate(a, b) in REAL, "select(vec4<acc>(), a, b > vec4<acc>())", |x, _| if x[1] > 0.0 { x[0] } else { 0.0 },
        |d, _| vec![d.dy().gate(d.x[1]), d.x[1].zeros_like()];
    /// (a − b)²: [`mse`](Self::mse) is the mean.
    squared_error(a, b) in REAL, "(a - b) * (a - b)", |x, _| (x[0] - x[1]).powi(2), |d, _| {
        let slope = 2.0 * d.dy() * (d.x[0] - d.x[1]);
        vec![slope, -slope]
    };
    /// |a − b|: [`l1`](Self::l1) is the mean.
    absolute_error(a, b) in REAL, "abs(a - b)", |x, _| (x[0] - x[1]).abs(), |d, _| {
        let slope = d.dy() * (d.x[0] - d.x[1]).sign();
        vec![slope, -slope]
    };
    /// d² / 2 where |d| ≤ delta, else delta · (|d| − delta / 2), with d = a − b: [`huber`](Self::huber) is the mean.
    huber_error(a, b; delta) in REAL, "min(abs(a - b), vec4(acc(p.x))) * (abs(a - b) - 0.5 * min(abs(a - b), vec4(acc(p.x))))",
        |x, p| {
            let (d, c) = ((x[0] - x[1]).abs(), (x[0] - x[1]).abs().min(p[0]));
            c * (d - 0.5 * c)
        },
        |d, p| {
            let slope = d.dy() * (d.x[0] - d.x[1]).clamp(-p[0], p[0]);
            vec![slope, -slope]
        };
    /// −b · log σ(a) − (1 − b) · log(1 − σ(a)): [`bce_with_logits`](Self::bce_with_logits) is the mean.
    // Terms that are not negative do not cancel, as those of max(a, 0) − a · b would; nor do those of the gradient.
    logistic_error(a, b) in REAL,
        "vec4<acc>(softplus4(-abs(vec4<f32>(a)))) + max(a, vec4<acc>()) * (1.0 - b) + max(-a, vec4<acc>()) * b",
        |x, _| (-x[0].abs()).exp().ln_1p() + x[0].max(0.0) * (1.0 - x[1]) + (-x[0]).max(0.0) * x[1],
        |d, _| {
            let (a, b) = (d.x[0], d.x[1]);
            vec![d.dy() * ((1.0 - b) * a.sigmoid() - b * (-a).sigmoid()), -(d.dy() * a)]
        };
    /// b · (log b − a), 0 where b is: the terms of [`kl_divergence`](Self::kl_divergence).
    relative_entropy(a, b) in POSITIVE, "select(b * (vec4<acc>(log4(max(vec4<f32>(b), vec4(1.2e-38)))) - a), vec4<acc>(), b == vec4<acc>())",
        |x, _| if x[1] == 0.0 { 0.0 } else { x[1] * (x[1].ln() - x[0]) },
        |d, _| vec![-(d.dy() * d.x[1]), d.dy() * (d.x[1].log() - d.x[0] + 1.0)];
}

impl<'g> Tensor<'g> {
    /// A number as a tensor of this one's graph; it costs nothing where it is fused.
    #[track_caller]
    pub fn number(self, value: f32) -> Tensor<'g> {
        // As if there were no layers in f32; for one of those it is cast, which costs nothing either.
        let dtype = if self.outside() == Dtype::F32 { Dtype::F32 } else { self.graph.precision().storage };
        self.graph.apply(Fill { shape: Shape::default(), value, dtype }, &[])
    }

    /// The values in another type; nothing if they are of it already.
    #[track_caller]
    pub fn cast(self, dtype: Dtype) -> Tensor<'g> {
        if self.dtype() == dtype { self } else { self.graph.apply(Cast(dtype), &[self]) }
    }

    /// The same values in memory of their own.
    #[track_caller]
    pub fn copied(self) -> Tensor<'g> {
        self.graph.apply(Broadcast(self.shape()), &[self])
    }

    /// The tensor stretched to a shape that it broadcasts to.
    #[track_caller]
    pub fn broadcast_to(self, shape: impl Into<Shape>) -> Tensor<'g> {
        let shape = shape.into();
        if self.shape() == shape { self } else { self.graph.apply(Broadcast(shape), &[self]) }
    }
}

impl Graph {
    /// A tensor filled with one value.
    #[track_caller]
    pub fn full(&self, shape: impl Into<Shape>, value: f32) -> Tensor<'_> {
        self.apply(Fill { shape: shape.into(), value, dtype: self.precision().storage }, &[])
    }
}

/// The common type of operands: theirs, or f32 where f32 meets f16.
fn common(x: &[Type]) -> Result<Dtype, String> {
    x.iter().try_for_each(|t| t.number().map(drop))?;
    Ok(if x.iter().any(|t| t.dtype == Dtype::F32) { Dtype::F32 } else { Dtype::F16 })
}

impl Op for Map {
    fn name(&self) -> &'static str {
        self.row.name
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        let shape = x.iter().try_fold(Shape::default(), |s, t| s.broadcast(&t.shape));
        let shape = shape.ok_or("the shapes do not broadcast: each axis, matched from the last, is equal or 1")?;
        Ok(vec![Type { shape, dtype: common(x)? }])
    }

    fn kind(&self) -> Kind {
        Kind::Map(Expression { name: self.row.name, body: self.row.body.into(), params: self.numbers.clone() })
    }

    fn repeats(&self) -> bool {
        true
    }

    fn simpler(&self, x: &[Made], y: Type) -> Option<Simpler> {
        // Not x + 0, which makes 0 of -0; nor x · 0 and 0 / x, which are NaN for some.
        let is = |k: usize, number: f32| {
            x[k].by::<Fill>().is_some_and(|f| f.value.to_bits() == number.to_bits()) && x[1 - k].ty == y
        };
        match self.row.name {
            "neg" => x[0].by::<Map>().filter(|m| m.row.name == "neg").map(|_| Simpler::Before),
            "mul" => [1, 0].into_iter().find(|&k| is(k, 1.0)).map(|k| Simpler::Operand(1 - k)),
            "add" => [1, 0].into_iter().find(|&k| is(k, -0.0)).map(|k| Simpler::Operand(1 - k)),
            "div" => is(1, 1.0).then_some(Simpler::Operand(0)),
            "sub" => is(1, 0.0).then_some(Simpler::Operand(0)),
            _ => None,
        }
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let grads = (self.row.grad)(at, &self.numbers);
        let mut grads = grads.into_iter().zip(&at.x).map(|(g, x)| Some(g.sum_to(x.shape()))).collect::<Vec<_>>();
        grads.resize(at.x.len(), None);
        grads
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let shape = x.iter().try_fold(Shape::default(), |s, a| s.broadcast(&a.shape)).expect("inferred");
        let numbers: Vec<f64> = self.numbers.iter().map(|&n| n.into()).collect();
        vec![Array::from_fn(shape, |i| (self.row.value)(&x.iter().map(|a| a.at(i)).collect::<Vec<_>>(), &numbers))]
    }
}

/// One value everywhere; inlined into whatever is computed from it.
#[derive(Debug, Clone)]
struct Fill {
    shape: Shape,
    value: f32,
    dtype: Dtype,
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }
    fn repeats(&self) -> bool {
        true
    }
    fn infer(&self, _: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(vec![Type { shape: self.shape, dtype: self.dtype }])
    }
    fn kind(&self) -> Kind {
        Kind::Map(Expression { name: "fill", body: "vec4(acc(p.x))".into(), params: vec![self.value] })
    }
    fn grad<'g>(&self, _: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![]
    }
    #[cfg(feature = "reference")]
    fn reference(&self, _: &[Array]) -> Vec<Array> {
        vec![Array::from_fn(self.shape, |_| self.value.into())]
    }
}

/// The operand stretched to a shape.
#[derive(Debug, Clone)]
struct Broadcast(Shape);

impl Op for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }
    fn repeats(&self) -> bool {
        true
    }
    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        if x[0].shape.broadcast(&self.0) != Some(self.0) {
            return Err(format!("this does not stretch to {}", self.0));
        }
        Ok(vec![Type { shape: self.0, dtype: common(x)? }])
    }
    fn kind(&self) -> Kind {
        Kind::Map(Expression { name: "broadcast", body: "a".into(), params: vec![] })
    }
    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![Some(at.dy().sum_to(at.x[0].shape()))]
    }
    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        vec![Array::from_fn(self.0, |i| x[0].at(i))]
    }
}

/// The operand in another type.
#[derive(Debug, Clone)]
struct Cast(Dtype);

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }
    fn casts(&self) -> bool {
        true
    }
    fn repeats(&self) -> bool {
        true
    }
    fn simpler(&self, x: &[Made], y: Type) -> Option<Simpler> {
        // From f16 to f32 nothing is lost.
        let there_and_back = x[0].by::<Cast>().is_some() && x[0].ty.dtype == Dtype::F32 && x[0].of == Some(y);
        there_and_back.then_some(Simpler::Before)
    }
    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        common(x)?;
        match self.0 {
            Dtype::U32 => Err("real values do not become labels".into()),
            dtype => Ok(vec![Type { dtype, ..x[0] }]),
        }
    }
    fn kind(&self) -> Kind {
        Kind::Map(Expression { name: "cast", body: "a".into(), params: vec![] })
    }
    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![Some(at.dy())]
    }
    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        x.to_vec()
    }
}

/// The error function to full double precision: its Taylor series near 0, else the continued fraction of erfc.
#[cfg_attr(not(feature = "reference"), allow(dead_code))]
fn erf(x: f64) -> f64 {
    if x.abs() < 3.0 {
        let mut term = x;
        let series = (1..200).fold(x, |sum, n| {
            term *= -x * x / f64::from(n);
            sum + term / f64::from(2 * n + 1)
        });
        return series * 2.0 / std::f64::consts::PI.sqrt();
    }
    let tail = (1..60).rev().fold(x.abs(), |t, k| x.abs() + f64::from(k) / 2.0 / t);
    (1.0 - (-x * x).exp() / (tail * std::f64::consts::PI.sqrt())).copysign(x)
}

/// Every row on odd sizes, and every way to broadcast.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let rows = TABLE.iter().flat_map(|&row| {
        let map = move || Map { row, numbers: [0.25, 0.75][..row.arity.1].to_vec() };
        let shapes: [&[usize]; 2] = [&[5, 17], &[3]];
        shapes.map(|s| {
            let values = Values::Between(row.domain.0, row.domain.1);
            let mut case = Case::new::<0>(map(), []);
            case.inputs = vec![(Shape::new(s).expect("valid"), values); row.arity.0];
            case
        })
    });
    let add = || Map { row: &Rows::mul, numbers: vec![] };
    let broadcasts: [[&[usize]; 2]; 10] = [
        [&[3, 10], &[10]],
        [&[3, 10], &[3, 1]],
        [&[2, 5, 3], &[5, 1]],
        [&[2, 5, 3], &[2, 1, 3]],
        [&[2, 1, 7], &[5, 1]],
        [&[65, 1], &[1]],
        [&[2, 3, 2, 4, 3], &[3, 1, 4, 1]],
        [&[], &[5]],
        // Several rows an invocation, two, four or eight.
        [&[2, 512, 515], &[515]],
        [&[260, 1], &[1, 258]],
    ];
    let structural = [
        Case::new(Broadcast(Shape::from([3, 5, 6])), [&[5, 1]]),
        Case::new(Fill { shape: Shape::from([3, 5]), value: 1.5, dtype: Dtype::F32 }, []),
    ];
    rows.chain(broadcasts.map(|shapes| Case::new(add(), shapes))).chain(structural).collect()
}
