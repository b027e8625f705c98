//! Every example runs, for a few steps.

use std::{path::PathBuf, process::Command};

/// The program that cargo built beside this one.
fn example(name: &str) -> Command {
    let mut folder: PathBuf = std::env::current_exe().unwrap();
    folder.pop();
    Command::new(folder.parent().unwrap().join("examples").join(name))
}

fn says(name: &str, arguments: &[&str], part: &str) {
    let output = example(name).args(arguments).output().unwrap_or_else(|e| panic!("{name}: {e}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(part),
        "{name}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_tensor_and_a_gradient() {
    says("01_tensor", &[], "y = [14.0], dy/dx = [2.0, 4.0, 6.0]");
}

#[test]
fn digits() {
    says("02_digits", &["2"], "epoch  1: loss");
}

#[test]
fn an_argument_that_is_no_number_is_said() {
    for name in ["02_digits", "03_cnn", "04_resnet", "06_char_gpt"] {
        let output = example(name).arg("ten").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "error: \"ten\" is no whole number\n", "{name}");
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
}

#[test]
fn a_convolutional_network() {
    says("03_cnn", &["2"], "test accuracy");
}

#[cfg(feature = "images")]
#[test]
fn a_folder_of_images() {
    says("05_image_folder", &[], "480 training and 120 test images of circle, cross, square, triangle");
}

#[test]
fn a_residual_network() {
    says("04_resnet", &["2"], " test images");
}

#[test]
fn a_language_model() {
    says("06_char_gpt", &["3"], "step    3: loss");
}

#[test]
fn embedding() {
    says("07_embed", &[], "says the shader");
}

#[cfg(feature = "reference")]
#[test]
fn an_op_of_ones_own() {
    says("08_custom_op", &["5"], "f16: the kernel agrees with the definition");
}
