//! What the page calls: a browser's GPU, and a network on it that learns the embedded digits.
//!
//! `cargo xtask browser` builds it and serves the page.

use halfgrad::{
    Gpu, Graph, Plan, Precision, Sgd, Weights,
    data::{self, Batches, Split},
    gpu::Choice,
    nn,
};
use wasm_bindgen::{JsError, prelude::wasm_bindgen};

const BATCH: usize = 64;

/// The GPU that the browser gives.
#[wasm_bindgen]
pub struct Device(Gpu);

#[wasm_bindgen]
impl Device {
    /// Opens it.
    pub async fn open() -> Result<Device, JsError> {
        Ok(Device(Gpu::request(Choice::Best).await?))
    }

    /// The adapter's name.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.0.caps().adapter.clone()
    }

    /// How it runs a precision: `native`, `packed` or `no`.
    pub fn how(&self, precision: &str) -> Result<String, JsError> {
        Ok(self.0.caps().how(precision.parse()?).to_owned())
    }
}

/// A small convolutional network that learns digits.
#[wasm_bindgen]
pub struct Network {
    digits: Split,
    batches: Batches,
    epochs: u32,
    train: Plan,
    infer: Plan,
}

#[wasm_bindgen]
impl Network {
    /// One with new weights, the same for every precision.
    pub async fn new(device: &Device, precision: &str) -> Result<Network, JsError> {
        let (gpu, precision) = (&device.0, precision.parse::<Precision>()?);
        let digits = data::digits();
        let graph = Graph::new(precision);
        let x = graph.input("x", [BATCH, 8, 8, 1]);
        let logits = nn::cnn(x, 10).named("logits");
        let loss = logits.cross_entropy(graph.labels("label", [BATCH]));

        let weights = Weights::init_async(gpu, &graph, 42).await?;
        let sgd = Sgd::new(0.02).momentum(0.9);
        let train = Plan::train_async(gpu, &weights, loss, &sgd, Default::default()).await?;
        let infer = Plan::infer_async(gpu, &weights, &[logits], Default::default()).await?;
        let batches = digits.train.batches(BATCH)?.shuffled(7);
        Ok(Network { digits, batches, epochs: 0, train, infer })
    }

    /// The steps of an epoch.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> usize {
        self.batches.len()
    }

    /// Learns from each sample once; the mean loss.
    pub async fn epoch(&mut self) -> Result<f32, JsError> {
        for batch in self.batches.epoch(self.epochs) {
            self.train.write("x", &batch.images)?;
            self.train.write("label", &batch.labels)?;
            self.train.run();
        }
        self.epochs += 1;
        let losses = self.train.losses().await?;
        Ok(losses.iter().sum::<f32>() / losses.len() as f32)
    }

    /// The share of the test set that it tells right.
    pub async fn accuracy(&mut self) -> Result<f64, JsError> {
        Ok(self.infer.evaluate_async("x", "logits", &self.digits.test).await?.accuracy)
    }

    /// The probability of each digit, given 8 × 8 pixels from 0 to 1.
    pub async fn classify(&mut self, pixels: &[f32]) -> Result<Vec<f32>, JsError> {
        let standardized: Vec<f32> = pixels.iter().map(|v| (16.0 * v - self.digits.mean) / self.digits.std).collect();
        let logits = self.infer.predict_values_async("x", "logits", &standardized).await?;
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|v| (v - largest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        Ok(powers.iter().map(|p| p / sum).collect())
    }
}
