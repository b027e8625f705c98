//! What must hold on every adapter: the arithmetic that this crate's kernels rely on.

use halfgrad::{
    Gpu,
    gpu::probe::{Probe, functions::Function},
};

fn probe() -> Probe {
    Gpu::new().unwrap().probe().unwrap()
}

#[test]
fn tensors_are_stored_exactly_and_integers_round_right_everywhere() {
    let gpu = Gpu::new().unwrap();
    let packed = pollster::block_on(gpu.without_f16()).unwrap().probe().unwrap();
    assert_eq!(packed.f16, None);
    for p in [&packed, &gpu.probe().unwrap()] {
        assert!(p.conversions.stored.is_exact() && p.conversions.integers.is_exact(), "{:?}", p.conversions);
        assert!(p.loads_exactly);
        assert_eq!(p.f16.is_some(), p.functions.iter().any(|f| f.native.is_some()));
    }
}

#[test]
fn bits_find_what_is_not_finite_and_subnormals_survive_storage() {
    let p = probe();
    for a in [Some(p.f32), p.f16].into_iter().flatten() {
        assert!(a.specials.by_bits && a.subnormals.stored, "{a:?}");
    }
}

#[test]
fn a_compensated_update_rounded_by_integers_is_right_and_a_plain_one_is_stuck() {
    let update = probe().conversions.update;
    assert!((update.exact - 0.07995).abs() < 1e-5, "{update:?}");
    assert!((0.0799..=0.0800).contains(&update.compensated), "{update:?}");
    assert!((update.nearest - 0.09998).abs() < 1e-5, "{update:?}");
}

#[test]
fn own_functions_are_nearly_perfect_in_f16_and_right_for_what_is_special() {
    let p = probe();
    let own: Vec<&Function> = p.functions.iter().filter(|f| f.own.is_some()).collect();
    assert!(own.len() >= 7);
    for f in own {
        let a = f.own.as_ref().unwrap();
        assert!(a.rounded.ulp < 0.51 && a.special.is_empty() && a.outside.unwrap_or(0) == 0, "{}: {a:?}", f.name);
    }
}

#[test]
fn a_second_probe_says_the_same() {
    let gpu = Gpu::new().unwrap();
    let (first, second) = (gpu.probe().unwrap(), gpu.probe().unwrap());
    assert_eq!(first, second);
    assert!(first.conclusions().len() >= 4 && first.conclusions() == second.conclusions());
}

#[test]
fn conclusions_follow_from_what_was_found() {
    let mut p = probe();
    p.conversions.stored.keeps_subnormals = false;
    p.f32.specials.nan_by_equal = false;
    p.conversions.update.compensated = p.conversions.update.nearest;
    let said = p.conclusions().join(" ");
    for words in ["gradients below 6.1e-5 vanish, use a loss scale", "!(a == a)", "use mixed"] {
        assert!(said.contains(words), "{said}");
    }
}
