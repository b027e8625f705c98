//! `Precision::AUTO`: the layers that 16 bit breaks are found and kept in f32, and no others.

use halfgrad::{
    Dtype, Gpu, Init, Policy, Precision, Tensor, data, nn,
    optim::Form,
    study::{self, Model, Optimizer, Prescription, Setup},
};

fn setup(model: Model) -> Setup {
    Setup::new(model, Optimizer::named("sgd", 0.05).unwrap(), 64, 60)
}

fn prescribed(gpu: &Gpu, setup: &Setup) -> Prescription {
    Precision::AUTO.policy(gpu, &data::digits(), setup, 1, &mut |_, _| Ok(())).unwrap()
}

/// Four layers, of which the second has weights × 1e5.
fn loud_weights(x: Tensor, classes: usize) -> Tensor {
    let h = nn::linear("fc1", x.flatten(), 32).relu();
    let loud = x.graph.weight("loud.weight", [32, 32], Init::Normal { std: 0.25e5 });
    let h = (h.matmul(loud) * 1e-5).relu();
    nn::linear("fc4", nn::linear("fc3", h, 32).relu(), classes)
}

/// Four layers, of which the second has activations × 1e5.
fn loud_activations(x: Tensor, classes: usize) -> Tensor {
    let h = nn::linear("fc1", x.flatten(), 32).relu();
    let h = (nn::linear("loud", h, 128) * 1e5).relu().reshape([x.shape()[0], 4, 4, 8]);
    // What is fused is never stored; what is pooled is.
    let h = (h.max_pool(2) * 1e-5).flatten();
    nn::linear("fc4", nn::linear("fc3", h, 32).relu(), classes)
}

#[test]
fn a_planted_layer_and_no_other_is_kept_in_f32() {
    let gpu = Gpu::new().unwrap();
    let data = data::digits();
    for model in [Model::of("loud weights", loud_weights), Model::of("loud activations", loud_activations)] {
        let setup = setup(model);
        let found = prescribed(&gpu, &setup);
        assert_eq!(found.policy.kept, ["loud"], "{found:#?}");
        assert_eq!(found.policy.base.storage, Dtype::F16, "{found:#?}");
        for c in &found.layers {
            assert_eq!(c.dtype == Dtype::F32, c.layer == "loud", "{c:?}");
        }
        let loud = found.layers.iter().find(|c| c.layer == "loud").unwrap();
        assert!(loud.largest > 65504.0 && loud.why.contains("beyond the end of f16"), "{loud:?}");

        let run = |policy: &Policy| study::train(&gpu, &data, &setup, policy, 1, &mut |_| Ok(())).unwrap();
        let [f32, f16, auto] = [&Precision::F32.into(), &Policy::from(found.policy.base), &found.policy].map(run);
        assert!(f16.failure.is_some() && auto.failure.is_none(), "{:?} {:?}", f16.failure, auto.failure);
        assert!(auto.evaluation.accuracy > f32.evaluation.accuracy - 0.05, "{:?}", auto.evaluation);
        let bytes = [&f16, &auto, &f32].map(|r| [r.bytes.weights, r.bytes.gradients, r.bytes.total]);
        assert!((0..3).all(|i| bytes[0][i] < bytes[1][i] && bytes[1][i] < bytes[2][i]), "{bytes:?}");
    }
}

/// Where no layer is safe there is nothing to try.
#[test]
fn a_network_of_loud_layers_is_for_f32() {
    let loud: study::Classifier = |x, classes| {
        let weight = x.graph.weight("loud.weight", [64, classes], Init::Normal { std: 1e5 });
        x.flatten().matmul(weight) * 1e-5
    };
    let found = prescribed(&Gpu::new().unwrap(), &setup(Model::of("loud", loud)));
    assert!(found.policy == Precision::F32 && found.trials.is_empty(), "{found:#?}");
    let told = found.to_string();
    assert!(
        told.contains("* loud in f32: its weights reach") && told.ends_with("no layer is safe in 16 bit."),
        "{told}"
    );
}

#[test]
fn what_is_safe_stays_in_16_bit_and_what_the_optimizer_breaks_gets_masters() {
    let gpu = Gpu::new().unwrap();
    let mut setup = setup(Model::named("mlp", &[32]).unwrap());
    let safe = prescribed(&gpu, &setup);
    // With a loss scale, if gradients need one.
    let Policy { base, kept } = &safe.policy;
    assert_eq!(
        (kept.len(), Precision { loss_scale: Precision::F16.loss_scale, ..*base }),
        (0, Precision::F16),
        "{safe:#?}"
    );
    assert!(safe.trials.len() == 1 && safe.layers.iter().all(|c| c.why == "fits"), "{safe:#?}");

    setup.optimizer = Optimizer { form: Form::Textbook, ..Optimizer::named("adam", 1e-3).unwrap() };
    let broken = prescribed(&gpu, &setup);
    assert_eq!(broken.policy, Precision::MIXED, "{broken:#?}");
    assert!(broken.trials[0].result.contains("with f32 masters"), "{broken:#?}");
}
