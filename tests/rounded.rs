//! Formats that no adapter need have: every rounding against crate `half` and against a list of the format's numbers.

use half::{bf16, f16};
use halfgrad::{
    Gpu, Graph, Init, Plan, Precision, Sgd, Weights,
    format::{Format, Quantization},
    plan::Options,
};

/// What the device makes of `x`.
fn on_device(x: &[f32], quantization: impl Into<Quantization>) -> Vec<f32> {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let input = graph.input("x", [x.len()]);
    let y = input.rounded_to(quantization);
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::infer(&gpu, &weights, [y]).unwrap();
    plan.write(input, x).unwrap();
    plan.run();
    plan.read(y).unwrap().wait().unwrap()
}

/// f32 of every exponent with mantissas of all kinds, both signs, zeros, Inf and NaN.
fn spread() -> Vec<f32> {
    let bits = (0..=255u32).flat_map(|e| {
        let mantissas = (0..64u32).map(|i| i.wrapping_mul(0x9e37_79b9) >> 9);
        // Ties and their neighbours for each number of bits that may be lost.
        let ties = (0..23u32).flat_map(|k| [(1 << k) - 1, 1 << k, (1 << k) + 1, 3 << k, 0x007f_ffff - (1 << k)]);
        mantissas.chain(ties).map(move |m| (e << 23) | (m & 0x007f_ffff))
    });
    bits.flat_map(|b| [f32::from_bits(b), f32::from_bits(b | 0x8000_0000)]).collect()
}

/// Compares bits, as an adapter may flush what it compares; any NaN is one.
#[track_caller]
fn same(x: &[f32], found: &[f32], expected: impl Fn(f32) -> f32) {
    for (&x, &y) in x.iter().zip(found) {
        let e = expected(x);
        assert!(y.to_bits() == e.to_bits() || (y.is_nan() && e.is_nan()), "{x:e}: {y:e} instead of {e:e}");
    }
}

#[test]
fn f16_and_bf16_are_those_of_crate_half() {
    let x = spread();
    same(&x, &on_device(&x, Format::F16), |v| f16::from_f32(v).to_f32());
    same(&x, &on_device(&x, Format::BF16), |v| bf16::from_f32(v).to_f32());
    same(&x, &on_device(&x, Format::F32), |v| v);
    same(&x, &x, |v| Format::F32.nearest(v.into()) as f32);
}

/// Every finite number of a format from zero on, by its codes; the last of them is the largest.
fn numbers(exponent: u32, mantissa: u32, finite_codes: u32) -> Vec<f64> {
    let bias = (1 << (exponent - 1)) - 1;
    let number = |code: u32| {
        let (e, m) = (code >> mantissa, f64::from(code & ((1 << mantissa) - 1)) / f64::from(1 << mantissa));
        if e == 0 { m * 2f64.powi(1 - bias) } else { (1.0 + m) * 2f64.powi(e as i32 - bias) }
    };
    (0..finite_codes).map(number).collect()
}

/// The nearest of `numbers`, of two the one with the even code; `too_large` from half a step beyond the last.
fn nearest(numbers: &[f64], too_large: f64, x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    let above = numbers.partition_point(|&n| n < a);
    let last = numbers.len() - 1;
    let beyond = numbers[last] + (numbers[last] - numbers[last - 1]);
    let up = if above > last { beyond } else { numbers[above] };
    let low = above.saturating_sub(1);
    let code = match (a - numbers[low]).partial_cmp(&(up - a)).unwrap() {
        _ if a == up => above,
        std::cmp::Ordering::Less => low,
        std::cmp::Ordering::Greater => above,
        std::cmp::Ordering::Equal => low + low % 2,
    };
    numbers.get(code).copied().filter(|_| a.is_finite()).unwrap_or(too_large).copysign(x)
}

#[test]
fn narrow_formats_are_their_lists_of_numbers() {
    let x = spread();
    let inf = f64::INFINITY;
    // Name, exponent, mantissa, finite codes, what too large a number becomes; the largest is checked by name.
    let formats = [
        ("e4m3", 4, 3, 127, 448.0),
        ("e5m2", 5, 2, 124, inf),
        ("e5m2-sat", 5, 2, 124, 57344.0),
        ("e3m4", 3, 4, 112, inf),
        ("e2m1", 2, 1, 8, 6.0),
        ("e3m2", 3, 2, 32, 28.0),
        ("e2m3", 2, 3, 32, 7.5),
        ("e4m2-sat", 4, 2, 60, 224.0),
    ];
    for (name, exponent, mantissa, codes, too_large) in formats {
        let format: Format = name.parse().unwrap();
        assert_eq!(format.to_string(), name);
        let list = numbers(exponent, mantissa, codes);
        assert_eq!((format.largest(), format.least()), (list[list.len() - 1], list[1]), "{name}");
        same(&x, &x.iter().map(|&v| format.nearest(v.into()) as f32).collect::<Vec<_>>(), |v| {
            nearest(&list, too_large, v.into()) as f32
        });
        same(&x, &on_device(&x, format), |v| nearest(&list, too_large, v.into()) as f32);
    }
}

#[test]
fn chance_takes_either_neighbour_so_that_the_mean_stays() {
    const N: usize = 1 << 14;
    for (format, x) in [
        (Format::E4M3, 1.03),
        (Format::E4M3, -300.0),
        (Format::E4M3, 0.0007),
        (Format::E5M2, 3e-6),
        (Format::BF16, 0.1),
    ] {
        let (x, up) = (x as f32, format.ulp(x));
        let down = format.toward_zero(x.into());
        let found = on_device(&vec![x; N], format.stochastic());
        let away = down + up.copysign(down + f64::from(x));
        assert!(found.iter().all(|&v| f64::from(v) == down || f64::from(v) == away), "{format} {x}");
        let mean = found.iter().map(|&v| f64::from(v)).sum::<f64>() / N as f64;
        let p = (f64::from(x) - down) / (away - down);
        assert!((mean - f64::from(x)).abs() < 4.0 * up * f64::sqrt(p * (1.0 - p) / N as f64), "{format} {x}: {mean}");
    }
    let exact = [0.0, 1.0, -448.0, 0.001953125, f32::NAN];
    same(&exact, &on_device(&exact, Format::E4M3.stochastic()), |v| v);
}

/// After one step: what a weight of ones is as it is used, and its gradient, where that of the loss is 0.3 each.
#[test]
fn gradients_pass_straight_through_or_are_rounded_on_their_own() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let w = graph.weight("w", [4], Init::Constant(1.1));
    let used = w.gradient_rounded_to(Format::E5M2).rounded_to(Format::E4M3).watch();
    let plain = graph.weight("v", [4], Init::Constant(1.1));
    let loss = ((used + plain.rounded_to(Format::E4M3)) * 1.3).sum_all();
    let gradients = graph.grad(loss, &[w, plain]);
    let (dw, dv) = (gradients[0].watch(), gradients[1].watch());
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::train_with(&gpu, &weights, loss, &Sgd::new(0.0), Options::default()).unwrap();
    plan.run();
    let read = |t| plan.read(t).unwrap().wait().unwrap();
    assert_eq!(read(used), [1.125; 4]);
    assert_eq!((read(dw), read(dv)), (vec![1.25; 4], vec![1.3; 4]));
}
