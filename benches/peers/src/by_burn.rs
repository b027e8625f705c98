//! The tasks by Burn, as its book writes them.

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig},
    },
    optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig},
    tensor::{Device, Int, Tensor, TensorData, activation},
};

use crate::{Run, Task, numbers};

pub fn prepare(task: Task) -> Option<Run> {
    let device = Device::wgpu(Default::default());
    let tensor =
        |shape: [usize; 2]| Tensor::<2>::from_data(TensorData::new(numbers(shape.iter().product()), shape), &device);
    Some(match task {
        Task::Matmul(n) => {
            let (a, b) = (tensor([n, n]), tensor([n, n]));
            repeat(&device, move || a.clone().matmul(b.clone()))
        }
        Task::Softmax => {
            let x = tensor([4096, 1024]);
            repeat(&device, move || activation::softmax(x.clone(), 1))
        }
        Task::LayerNorm => {
            let (x, norm) = (tensor([4096, 1024]), LayerNormConfig::new(1024).init(&device));
            repeat(&device, move || norm.forward(x.clone()))
        }
        Task::Convolution => {
            let x = image([32, 64, 16, 16], &device);
            let config = Conv2dConfig::new([64, 64], [3, 3]).with_padding(PaddingConfig2d::Same).with_bias(false);
            let conv = config.init(&device);
            repeat(&device, move || conv.forward(x.clone()))
        }
        Task::Adam => {
            let device = device.autodiff();
            let model = LinearConfig::new(10_000, 1_000).with_bias(false).init(&device);
            let gradient = Tensor::<1>::from_data(numbers(10_000_000).as_slice(), &device.clone().inner());
            let gradient = gradient.reshape([10_000, 1_000]);
            train(&device, model, true, move |model| {
                let mut gradients = GradientsParams::new();
                gradients.register(model.weight.id, gradient.clone());
                gradients
            })
        }
        Task::Mlp { adam } => {
            let device = device.autodiff();
            let x = Tensor::<2>::from_data(TensorData::new(numbers(128 * 784), [128, 784]), &device);
            let sizes = [784, 512, 512, 10];
            let model = Mlp { layers: sizes.windows(2).map(|s| LinearConfig::new(s[0], s[1]).init(&device)).collect() };
            classify(&device, model, adam, x, Mlp::forward)
        }
        Task::Cnn => {
            let device = device.autodiff();
            let x = image([64, 1, 28, 28], &device);
            classify(&device, Cnn::new(&device), false, x, Cnn::forward)
        }
        Task::ResNet20 => {
            let device = device.autodiff();
            let x = image([32, 3, 32, 32], &device);
            classify(&device, ResNet::new(&device), false, x, ResNet::forward)
        }
    })
}

fn image(shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(numbers(shape.iter().product()), shape), device)
}

fn repeat<const D: usize>(device: &Device, f: impl Fn() -> Tensor<D> + 'static) -> Run {
    let device = device.clone();
    Box::new(move || {
        let y = f();
        device.sync().expect("a device");
        drop(y);
        None
    })
}

/// Updates by gradients.
fn train<M>(device: &Device, model: M, adam: bool, gradients: impl Fn(&M) -> GradientsParams + 'static) -> Run
where
    M: Module + Clone + 'static,
{
    let device = device.clone();
    let mut optimizer: ModuleOptimizer = if adam { AdamConfig::new().init() } else { SgdConfig::new().init() };
    let mut model = Some(model);
    Box::new(move || {
        let at = model.take().expect("the model of the step before");
        let gradients = gradients(&at);
        model = Some(optimizer.step(1e-3, at, gradients));
        device.sync().expect("a device");
        None
    })
}

fn classify<M, const D: usize>(
    device: &Device,
    model: M,
    adam: bool,
    x: Tensor<D>,
    logits: fn(&M, Tensor<D>) -> Tensor<2>,
) -> Run
where
    M: Module + Clone + 'static,
{
    let labels: Vec<i32> = (0..x.dims()[0] as i32).map(|i| i % 10).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::from(labels.as_slice()), device);
    let cross_entropy = CrossEntropyLossConfig::new().init(device);
    train(device, model, adam, move |model| {
        let loss = cross_entropy.forward(logits(model, x.clone()), labels.clone());
        GradientsParams::from_grads(loss.backward(), model)
    })
}

#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn forward(&self, mut x: Tensor<2>) -> Tensor<2> {
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if i + 1 < self.layers.len() {
                x = activation::relu(x);
            }
        }
        x
    }
}

#[derive(Module, Debug)]
struct Cnn {
    first: Conv2d,
    second: Conv2d,
    pool: MaxPool2d,
    dense: Linear,
    logits: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Self {
        let conv = |channels| Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same).init(device);
        Cnn {
            first: conv([1, 32]),
            second: conv([32, 64]),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dense: LinearConfig::new(64 * 7 * 7, 128).init(device),
            logits: LinearConfig::new(128, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(activation::relu(self.first.forward(x)));
        let x = self.pool.forward(activation::relu(self.second.forward(x)));
        self.logits.forward(activation::relu(self.dense.forward(x.flatten(1, 3))))
    }
}

/// Normalised, rectified, convolved, twice, beside a shortcut (arXiv 1603.05027), as halfgrad's `nn::resnet`.
#[derive(Module, Debug)]
struct Unit {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
    pool: AvgPool2d,
    /// New channels on each side of the old ones.
    new: usize,
    first: bool,
}

fn conv(from: usize, to: usize, stride: usize, device: &Device) -> Conv2d {
    let config = Conv2dConfig::new([from, to], [3, 3]).with_stride([stride; 2]);
    config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
}

impl Unit {
    fn new(from: usize, to: usize, first: bool, device: &Device) -> Self {
        Unit {
            norm1: BatchNormConfig::new(from).init(device),
            conv1: conv(from, to, if from == to { 1 } else { 2 }, device),
            norm2: BatchNormConfig::new(to).init(device),
            conv2: conv(to, to, 1, device),
            pool: AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            new: (to - from) / 2,
            first,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let ready = activation::relu(self.norm1.forward(x.clone()));
        let shortcut = match (self.new, self.first) {
            (0, true) => ready.clone(),
            (0, false) => x,
            (new, _) => {
                let x = self.pool.forward(x);
                let [n, _, h, w] = x.dims();
                let none = Tensor::zeros([n, new, h, w], &x.device());
                Tensor::cat(vec![none.clone(), x, none], 1)
            }
        };
        let h = activation::relu(self.norm2.forward(self.conv1.forward(ready)));
        self.conv2.forward(h) + shortcut
    }
}

#[derive(Module, Debug)]
struct ResNet {
    conv: Conv2d,
    units: Vec<Unit>,
    norm: BatchNorm,
    logits: Linear,
}

impl ResNet {
    fn new(device: &Device) -> Self {
        let widths = [(16, 16), (16, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 64), (64, 64), (64, 64)];
        let unit = |(i, &(from, to)): (usize, &(usize, usize))| Unit::new(from, to, i == 0, device);
        ResNet {
            conv: conv(3, 16, 1, device),
            units: widths.iter().enumerate().map(unit).collect(),
            norm: BatchNormConfig::new(64).init(device),
            logits: LinearConfig::new(64, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.units.iter().fold(self.conv.forward(x), |x, unit| unit.forward(x));
        let x: Tensor<3> = activation::relu(self.norm.forward(x)).flatten(2, 3);
        self.logits.forward(x.mean_dim(2).flatten(1, 2))
    }
}
