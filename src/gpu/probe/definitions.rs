//! The functions that are probed: what is exact, and what WGSL allows.

use crate::format::Format;

/// The error that is allowed where the exact result is the number given; none where WGSL promises nothing.
pub(super) type Allowed = fn(&Type, &Arguments, f64) -> Option<f64>;

/// A function of x, of a divisor and of an exponent, as far as it takes them.
pub(super) struct Definition {
    pub name: &'static str,
    pub exact: fn(&Arguments) -> f64,
    /// The error that WGSL allows, where it says so.
    pub bound: Option<Allowed>,
    /// Its column among WGSL's own, and among this crate's.
    pub columns: [Option<usize>; 2],
}

pub(super) struct Arguments {
    pub x: f64,
    pub divisor: f64,
    pub exponent: f64,
}

/// What bounds are in ulp of, and the terms that differ between f16 and f32.
pub(super) struct Type {
    pub format: Format,
    exp: f64,
    log: f64,
    sin: f64,
}
pub(super) const F16: Type = Type { format: Format::F16, exp: 1.0, log: 0.0078125, sin: 0.0078125 };
pub(super) const F32: Type = Type { format: Format::F32, exp: 3.0, log: 1.0 / 2097152.0, sin: 1.0 / 2048.0 };

impl Type {
    pub fn ulp(&self, y: f64) -> f64 {
        self.format.ulp(y)
    }

    fn exp(&self, x: f64, y: f64) -> f64 {
        (self.exp + 2.0 * x.abs()) * self.ulp(y)
    }

    fn log(&self, x: f64, y: f64) -> f64 {
        if (0.5..=2.0).contains(&x) { self.log } else { 3.0 * self.ulp(y) }
    }
}

/// In the order of the columns of `shaders/probe_functions.wgsl`. Bounds: "Accuracy of Concrete Floating Point
/// Expressions" of the WGSL specification; an inherited one is the sum of the errors of the expression's parts.
pub(super) const FUNCTIONS: [Definition; 12] = [
    Definition {
        name: "exp",
        exact: |a| libm::exp(a.x),
        bound: Some(|t, a, y| Some(t.exp(a.x, y))),
        columns: [Some(0); 2],
    },
    Definition {
        name: "log",
        exact: |a| libm::log(a.x),
        bound: Some(|t, a, y| Some(t.log(a.x, y))),
        columns: [Some(1); 2],
    },
    Definition { name: "tanh", exact: |a| libm::tanh(a.x), bound: Some(tanh_bound), columns: [Some(2); 2] },
    Definition {
        name: "pow(|x|, y)",
        exact: |a| libm::pow(a.x.abs(), a.exponent),
        bound: Some(pow_bound),
        columns: [Some(3); 2],
    },
    Definition {
        name: "sqrt",
        exact: |a| a.x.sqrt(),
        // 1 / inverseSqrt(x)
        bound: Some(|t, _, y| Some(2.0 * t.ulp(1.0 / y) * y * y + 2.5 * t.ulp(y))),
        columns: [Some(4), None],
    },
    Definition {
        name: "inverseSqrt",
        exact: |a| 1.0 / a.x.sqrt(),
        bound: Some(|t, _, y| Some(2.0 * t.ulp(y))),
        columns: [Some(5), None],
    },
    Definition {
        name: "x / y",
        exact: |a| a.x / a.divisor,
        bound: Some(|t, _, y| Some(2.5 * t.ulp(y))),
        columns: [Some(6), None],
    },
    Definition {
        name: "sin",
        exact: |a| libm::sin(a.x),
        bound: Some(|t, a, _| (a.x.abs() <= std::f64::consts::PI).then_some(t.sin)),
        columns: [Some(7), None],
    },
    Definition {
        name: "cos",
        exact: |a| libm::cos(a.x),
        bound: Some(|t, a, _| (a.x.abs() <= std::f64::consts::PI).then_some(t.sin)),
        columns: [Some(8), None],
    },
    Definition { name: "erf", exact: |a| libm::erf(a.x), bound: None, columns: [None, Some(4)] },
    Definition { name: "sigmoid", exact: |a| 1.0 / (1.0 + libm::exp(-a.x)), bound: None, columns: [None, Some(5)] },
    Definition { name: "softplus", exact: softplus, bound: None, columns: [None, Some(6)] },
];

fn softplus(a: &Arguments) -> f64 {
    a.x.max(0.0) + libm::log1p(libm::exp(-a.x.abs())) + if a.x.is_nan() { a.x } else { 0.0 }
}

/// 1e-5, or sinh(x) / cosh(x) by exp where that does not overflow.
fn tanh_bound(t: &Type, a: &Arguments, y: f64) -> Option<f64> {
    let (up, down) = (libm::exp(a.x), libm::exp(-a.x));
    if up.max(down) > t.format.largest() {
        return Some(1e-5);
    }
    let parts = 0.5 * (t.exp(a.x, up) + t.exp(a.x, down));
    let (sinh, cosh) = (0.5 * (up - down).abs(), 0.5 * (up + down));
    let relative = (parts + t.ulp(sinh)) / sinh + (parts + t.ulp(cosh)) / cosh;
    Some(f64::max(1e-5, y.abs() * relative + 2.5 * t.ulp(y)))
}

/// exp2(y * log2(x)), where x is not zero.
fn pow_bound(t: &Type, a: &Arguments, y: f64) -> Option<f64> {
    let x = a.x.abs();
    let log = libm::log2(x);
    let product = a.exponent * log;
    let off = a.exponent.abs() * t.log(x, log) + t.ulp(product);
    (x != 0.0).then_some(y * (libm::exp2(off) - 1.0) + t.exp(product, y))
}
