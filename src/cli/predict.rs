//! `halfgrad predict`: what is on an image.

use std::path::Path;

use comfy_table::{CellAlignment, Table};
use halfgrad::{
    Error, Graph, Plan, Shape, Weights,
    data::{Dataset, folder::Form},
};
use serde::Serialize;

use super::{model_file::Card, note, print, print_json};
use crate::PredictArgs;

/// Images that go through the network together at most.
const BATCH: usize = 32;

/// What is said of one image: classes, or why there are none.
#[derive(Serialize)]
struct Prediction {
    image: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    classes: Vec<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Class {
    class: String,
    probability: f64,
}

/// Reads the images, asks the network, and tells; an image that is broken is named and does not hinder the others.
pub fn run(args: &PredictArgs) -> anyhow::Result<()> {
    let card = Card::read(&args.model_file)?;
    let form = form(card.input, &args.model_file)?;
    let images: Vec<_> = args.images.iter().map(|path| form.read(path)).collect();
    let whole: Vec<&[u8]> = images.iter().filter_map(|image| image.as_deref().ok()).collect();
    let mut rows = logits(args, &card, &whole)?.into_iter();
    let predictions: Vec<Prediction> = args
        .images
        .iter()
        .zip(&images)
        .map(|(path, image)| Prediction {
            image: path.display().to_string(),
            classes: image.as_ref().map_or(vec![], |_| ranked(&rows.next().unwrap_or_default(), &card, args.top)),
            error: image.as_ref().err().map(ToString::to_string),
        })
        .collect();
    match args.json {
        true => print_json(&predictions)?,
        false if whole.is_empty() => {}
        false => print(&table(&predictions))?,
    }
    let broken: Vec<&Error> = images.iter().filter_map(|image| image.as_ref().err()).collect();
    match broken[..] {
        [] => Ok(()),
        [one] => Err(one.clone().into()),
        [..] => {
            broken.iter().for_each(|e| note(&format!("broken: {e}")));
            anyhow::bail!("{} of {} images cannot be read", broken.len(), images.len())
        }
    }
}

/// How images become samples of this shape.
fn form(input: Shape, file: &Path) -> anyhow::Result<Form> {
    match input.to_vec()[..] {
        [height, width, channels @ (1 | 3)] => Ok(Form { height, width, grey: channels == 1 }),
        _ => Err(Error::file(file, format!("the model reads samples of {input}, no images")).into()),
    }
}

/// The network's answer to each image.
fn logits(args: &PredictArgs, card: &Card, images: &[&[u8]]) -> anyhow::Result<Vec<Vec<f32>>> {
    if images.is_empty() {
        return Ok(vec![]);
    }
    let classes = card.class_names.len();
    let mut data = Dataset::from_bytes(images.concat(), vec![0; images.len()], card.input, classes)?;
    let [mean, std] = card.moments;
    data.standardize(mean, std);
    let graph = Graph::new(args.precision.as_ref().unwrap_or(&card.precision));
    let network = card.model.build(&graph, images.len().min(BATCH), card.input, classes)?;
    let gpu = args.device.open()?;
    let weights = Weights::load(&gpu, &graph, &args.model_file)?;
    let mut plan = Plan::infer(&gpu, &weights, [network.logits])?;
    let logits = plan.predict(network.x, network.logits, &data)?;
    Ok(logits.chunks(classes).map(<[f32]>::to_vec).collect())
}

/// The most probable classes, by softmax.
fn ranked(logits: &[f32], card: &Card, top: usize) -> Vec<Class> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    let named = card.class_names.iter().zip(powers);
    let mut classes: Vec<Class> =
        named.map(|(name, power)| Class { class: name.clone(), probability: power / sum }).collect();
    classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    classes.truncate(top);
    classes
}

fn table(predictions: &[Prediction]) -> String {
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header(["image", "class", "probability"]);
    for prediction in predictions {
        for (i, Class { class, probability }) in prediction.classes.iter().enumerate() {
            let image = if i == 0 { &prediction.image[..] } else { "" };
            table.add_row([image.to_owned(), class.clone(), format!("{:.2} %", 100.0 * probability)]);
        }
    }
    table.column_mut(0).expect("there are three").set_padding((0, 1));
    table.column_mut(2).expect("there are three").set_cell_alignment(CellAlignment::Right);
    format!("{}\n", table.trim_fmt())
}
