//! Cases of the ONNX backend suite and outputs that PyTorch recorded for it, on the adapter: what others say that an op is.
//!
//! `tests/onnx/fixtures.py` made the file and says how. ONNX is (c) ONNX Project Contributors, Apache-2.0.

#[path = "onnx/build.rs"]
mod build;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use build::{Builder, Given, Node, is_labels};
use halfgrad::{Dtype, Gpu, Graph, Plan, Precision, Tensor, Weights};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::Value;

/// Cases that cannot be said with the crate, each by its name, under the reason.
const NOT_SAID: &[(&str, &[&str])] = &[
    (
        "argmax takes the first of equal values",
        &[
            "node/argmax_no_keepdims_example_select_last_index",
            "node/argmax_keepdims_example_select_last_index",
            "node/argmax_negative_axis_keepdims_example_select_last_index",
        ],
    ),
    (
        "attention gives its result, not its scores",
        &[
            "node/attention_4d_with_qk_matmul",
            "node/attention_4d_with_qk_matmul_bias",
            "node/attention_4d_with_qk_matmul_softcap",
            "node/attention_4d_with_qk_matmul_softmax",
            "node/attention_4d_with_past_and_present_qk_matmul_bias",
            "node/attention_4d_with_past_and_present_qk_matmul_bias_3d_mask",
            "node/attention_4d_with_past_and_present_qk_matmul_bias_4d_mask",
            "node/attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal",
            "node/attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal",
            "node/attention_4d_with_past_and_present_qk_matmul",
            "node/attention_3d_with_past_and_present_qk_matmul",
            "node/attention_3d_with_past_and_present_qk_matmul_bias",
            "node/attention_3d_with_past_and_present_qk_matmul_softcap",
            "node/attention_3d_with_past_and_present_qk_matmul_softmax",
            "node/attention_23_fullymasked_qk_matmul_output_mode3_zero",
            "node/attention_24_fullymasked_qk_matmul_output_mode3_zero",
            "node/attention_24_qk_matmul_output_mode3_softmax_precision",
            "node/attention_local_window_gqa_rank4_mask",
        ],
    ),
    (
        "attention has no soft cap",
        &[
            "node/attention_4d_softcap",
            "node/attention_4d_gqa_softcap",
            "node/attention_4d_diff_heads_sizes_softcap",
            "node/attention_3d_softcap",
            "node/attention_3d_gqa_softcap",
            "node/attention_3d_diff_heads_sizes_softcap",
            "node/attention_4d_softcap_neginf_mask",
            "node/attention_4d_softcap_neginf_mask_poison",
        ],
    ),
    (
        "attention knows windows and numbers of keys as masks only",
        &[
            "node/attention_4d_diff_heads_mask4d_padded_kv",
            "node/attention_4d_gqa_causal_nonpad_decode",
            "node/attention_4d_gqa_causal_nonpad_decode_fp16",
            "node/attention_4d_causal_nonpad_continued_prefill",
            "node/attention_4d_causal_nonpad_negative_offset_structural_empty",
            "node/attention_4d_causal_nonpad_attn_mask_composition",
            "node/attention_4d_causal_nonpad_batch_prefill",
            "node/attention_local_window",
            "node/attention_bidirectional_window",
            "node/attention_local_window_rank1_boolean_mask",
            "node/attention_local_window_with_past",
            "node/attention_local_window_ext_cache_rank3_head_mask",
            "node/attention_local_window_ext_cache_rank4_batch_mask",
            "node/attention_local_window_ext_cache_rank2_mask",
            "node/attention_local_window_ext_cache_float16_mask",
            "node/attention_3d_local_window",
        ],
    ),
    (
        "a mask says which keys are seen, and is not added to the scores",
        &[
            "node/attention_4d_attn_mask",
            "node/attention_4d_attn_mask_3d",
            "node/attention_4d_attn_mask_3d_causal",
            "node/attention_4d_attn_mask_4d",
            "node/attention_4d_attn_mask_4d_causal",
            "node/attention_4d_gqa_attn_mask",
            "node/attention_4d_diff_heads_sizes_attn_mask",
            "node/attention_4d_with_past_and_present",
            "node/attention_4d_gqa_with_past_and_present",
            "node/attention_4d_gqa_with_past_and_present_fp16",
            "node/attention_4d_diff_heads_with_past_and_present",
            "node/attention_4d_diff_heads_with_past_and_present_mask3d",
            "node/attention_4d_diff_heads_with_past_and_present_mask4d",
            "node/attention_3d_attn_mask",
            "node/attention_3d_gqa_attn_mask",
            "node/attention_3d_diff_heads_sizes_attn_mask",
            "node/attention_3d_with_past_and_present",
            "node/attention_3d_gqa_with_past_and_present",
            "node/attention_3d_diff_heads_with_past_and_present",
        ],
    ),
    (
        "dropout draws its own numbers, and its mask is no result",
        &[
            "node/dropout_default_mask",
            "node/dropout_default_mask_ratio",
            "node/training_dropout_default",
            "node/training_dropout_default_mask",
            "node/training_dropout",
            "node/training_dropout_mask",
            "node/training_dropout_zero_ratio_mask",
        ],
    ),
    (
        "the places of the largest values are no result",
        &["node/maxpool_with_argmax_2d_precomputed_pads", "node/maxpool_with_argmax_2d_precomputed_strides"],
    ),
    (
        "upsampling is nearest or bilinear",
        &[
            "node/resize_upsample_scales_cubic",
            "node/resize_upsample_scales_cubic_align_corners",
            "node/resize_downsample_scales_cubic",
            "node/resize_downsample_scales_cubic_align_corners",
            "node/resize_upsample_sizes_cubic",
            "node/resize_downsample_sizes_cubic",
            "node/resize_upsample_scales_cubic_A_n0p5_exclude_outside",
            "node/resize_downsample_scales_cubic_A_n0p5_exclude_outside",
            "node/resize_upsample_scales_cubic_asymmetric",
            "node/resize_downsample_scales_cubic_antialias",
            "node/resize_downsample_sizes_cubic_antialias",
        ],
    ),
    (
        "upsampling looks at sizes, without filter: half pixels when bilinear, the floor when nearest",
        &[
            "node/resize_downsample_sizes_nearest",
            "node/resize_upsample_scales_linear_align_corners",
            "node/resize_downsample_scales_linear",
            "node/resize_downsample_scales_linear_align_corners",
            "node/resize_tf_crop_and_resize",
            "node/resize_tf_crop_and_resize_extrapolation_value",
            "node/resize_downsample_sizes_linear_pytorch_half_pixel",
            "node/resize_upsample_sizes_nearest_floor_align_corners",
            "node/resize_upsample_sizes_nearest_round_prefer_ceil_asymmetric",
            "node/resize_upsample_sizes_nearest_ceil_half_pixel",
            "node/resize_downsample_scales_linear_antialias",
            "node/resize_downsample_sizes_linear_antialias",
            "node/resize_tf_crop_and_resize_axes_2_3",
            "node/resize_tf_crop_and_resize_axes_3_2",
            "node/resize_downsample_sizes_nearest_not_smaller",
            "node/resize_downsample_scales_linear_half_pixel_symmetric",
            "node/resize_upsample_scales_linear_half_pixel_symmetric",
        ],
    ),
    ("a part of an axis is taken forwards", &["node/slice_neg_steps"]),
    (
        "padding is filled with one value",
        &["pytorch-operator/operator_pad", "pytorch-converted/ReflectionPad2d", "pytorch-converted/ReplicationPad2d"],
    ),
];

/// Cases that f16 cannot hold.
const TOO_LARGE: &[(&str, &[&str])] = &[
    ("10000 and 10001 are one number", &["node/softmax_large_number", "node/logsoftmax_large_number"]),
    (
        "a sum of more than 65504, which is not the one op that it is there",
        &[
            "node/reduce_log_sum_exp_do_not_keepdims_example",
            "node/reduce_log_sum_exp_keepdims_example",
            "node/reduce_log_sum_exp_default_axes_keepdims_example",
            "node/reduce_log_sum_exp_negative_axes_keepdims_example",
        ],
    ),
];

/// Cases whose results were written with four digits.
const FOUR_DIGITS: &[&str] = &["node/averagepool_2d_ceil_last_window_starts_on_pad"];

/// Why the script left a case out.
const LEFT: &[&str] = &[
    "a pool with dilation",
    "a tensor without values",
    "arithmetic of integers",
    "more than six axes",
    "sequences and optional values",
    "three axes of space",
    "values of type ",
];

/// The fixture, unpacked.
struct Fixture {
    raw: Vec<u8>,
    cases: Value,
    left: BTreeMap<String, String>,
}

impl Fixture {
    fn read() -> Self {
        let packed = include_bytes!("onnx/cases.safetensors.gz");
        let mut raw = vec![];
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut raw).expect("a gzip file");
        let (_, head) = SafeTensors::read_metadata(&raw).expect("a safetensors file");
        let text = head.metadata().clone().expect("metadata");
        let cases = serde_json::from_str(&text["cases"]).expect("a list of cases");
        let left = serde_json::from_str(&text["left"]).expect("a list of names");
        Fixture { raw, cases, left }
    }

    fn cases(&self) -> impl Iterator<Item = (&str, &Value)> {
        let cases = self.cases.as_array().expect("a list").iter();
        cases.map(|case| (case["name"].as_str().expect("a name"), case))
    }
}

fn given(view: &TensorView) -> Given {
    let whole = view.dtype() == safetensors::Dtype::I32;
    let value = |b: &[u8]| {
        let word = [b[0], b[1], b[2], b[3]];
        if whole { i32::from_le_bytes(word) as f32 } else { f32::from_le_bytes(word) }
    };
    Given { shape: view.shape().to_vec(), values: view.data().chunks_exact(4).map(value).collect(), whole }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|t| t.as_str().expect("a text")).collect()
}

/// Builds a case, runs it and compares each of its results.
fn agrees(gpu: &Gpu, precision: Precision, file: &SafeTensors, name: &str, case: &Value) -> Result<(), String> {
    let tensor = |key: &str| given(&file.tensor(&format!("{name}:{key}")).expect("in the file"));
    let graph = Graph::new(precision);
    let given = texts(&case["inputs"]).into_iter().map(|key| (key, tensor(key))).collect();
    let mut builder = Builder { graph: &graph, given, known: BTreeMap::new(), written: vec![] };
    for node in case["nodes"].as_array().expect("a list") {
        builder.add(&Node {
            op: node["op"].as_str().expect("a name"),
            inputs: texts(&node["inputs"]),
            outputs: texts(&node["outputs"]),
            attributes: &node["attributes"],
        });
    }
    let wanted: Vec<(&str, Tensor)> =
        texts(&case["outputs"]).into_iter().map(|key| (key, builder.known[key])).collect();
    let weights = Weights::init(gpu, &graph, 0).map_err(|e| e.to_string())?;
    let mut plan = Plan::infer(gpu, &weights, wanted.iter().map(|w| w.1)).map_err(|e| e.to_string())?;
    for (x, values) in builder.written {
        let written = match is_labels(x) {
            true => plan.write(x, &values.iter().map(|&v| v as i32 as u32).collect::<Vec<_>>()),
            false => plan.write(x, &values),
        };
        written.map_err(|e| e.to_string())?;
    }
    plan.run();
    let half = precision.storage == Dtype::F16 || case["half"] == true;
    for (key, y) in wanted {
        let expected = tensor(&format!("={key}"));
        if y.shape().to_vec() != expected.shape {
            return Err(format!("{key} is {} instead of {:?}", y.shape(), expected.shape));
        }
        let found = plan.read(y).and_then(|r| r.wait()).map_err(|e| e.to_string())?;
        let relative = if FOUR_DIGITS.contains(&name) { 1e-3 } else { 1e-5 };
        close(&found, &expected.values, half, relative).map_err(|e| format!("{key} {e}"))?;
    }
    Ok(())
}

/// In f32 what the suite itself allows, and less; in f16 four roundings of the largest value.
fn close(found: &[f32], expected: &[f32], half: bool, relative: f32) -> Result<(), String> {
    let size = expected.iter().filter(|v| v.is_finite()).fold(1f32, |m, v| m.max(v.abs()));
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let allowed = if half { size / 512.0 } else { 1e-6 + relative * e.abs() };
        let agree = f == e || (f - e).abs() <= allowed || (f.is_nan() && e.is_nan());
        if !agree {
            return Err(format!("at {i}: {f} instead of {e}, of size {size}"));
        }
    }
    Ok(())
}

fn names(table: &[(&str, &'static [&'static str])]) -> BTreeSet<&'static str> {
    table.iter().flat_map(|(_, names)| names.iter().copied()).collect()
}

#[test]
fn every_case_makes_the_same_numbers() {
    let fixture = Fixture::read();
    let file = SafeTensors::deserialize(&fixture.raw).expect("a safetensors file");
    let gpu = Gpu::new().expect("an adapter");
    let (not_said, too_large) = (names(NOT_SAID), names(TOO_LARGE));
    let (mut wrong, mut tried) = (vec![], 0);
    for (name, case) in fixture.cases().filter(|(name, _)| !not_said.contains(name)) {
        for precision in [Precision::F32, Precision::F16] {
            if precision == Precision::F16 && too_large.contains(name) {
                continue;
            }
            let found = agrees(&gpu, precision, &file, name, case);
            wrong.extend(found.err().map(|e| format!("{name}, {precision}: {e}")));
            tried += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    println!("{tried} runs agree");
}

#[test]
fn no_case_is_passed_over_in_silence() {
    let fixture = Fixture::read();
    let known: BTreeSet<&str> = fixture.cases().map(|(name, _)| name).collect();
    let listed: Vec<&str> = [NOT_SAID, TOO_LARGE].concat().iter().flat_map(|(_, names)| names.to_vec()).collect();
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "a case is listed twice");
    for name in listed.iter().chain(FOUR_DIGITS) {
        assert!(known.contains(name), "the fixture has no case {name}");
    }
    for (name, why) in &fixture.left {
        assert!(LEFT.iter().any(|reason| why.starts_with(reason)), "{name} was left out: {why}");
    }
    // What the suite has of convolutions in one and two axes is all there, and none of it is listed above.
    let convolves = |name: &str| name.rsplit('/').next().is_some_and(|case| case.to_lowercase().contains("conv"));
    assert_eq!(known.iter().filter(|name| convolves(name)).count(), 39);
    assert_eq!(listed.iter().find(|name| convolves(name)), None);
    for (name, why) in fixture.left.iter().filter(|(name, _)| convolves(name)) {
        assert_eq!(why, "three axes of space", "{name}");
    }
}
