//! A model of the fixture in halfgrad's words: channels first become channels last, and what ONNX has one op for may be
//! several of ours.

use std::collections::BTreeMap;

use halfgrad::{
    Dtype, Graph, Shape, Tensor,
    ops::{Attention, Conv2d, Padding, Pool2d, Upsample},
};
use serde_json::Value;

/// One op of a model.
pub struct Node<'a> {
    pub op: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub attributes: &'a Value,
}

/// What the fixture holds under a name.
#[derive(Clone)]
pub struct Given {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
    /// Indices or truth.
    pub whole: bool,
}

/// A graph under construction.
pub struct Builder<'g, 'a> {
    pub graph: &'g Graph,
    pub given: BTreeMap<&'a str, Given>,
    pub known: BTreeMap<&'a str, Tensor<'g>>,
    /// The inputs made so far, and what to write.
    pub written: Vec<(Tensor<'g>, Vec<f32>)>,
}

pub fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims).expect("at most six axes")
}

impl Node<'_> {
    fn has(&self, key: &str) -> bool {
        !self.attributes[key].is_null()
    }

    fn number(&self, key: &str, default: f32) -> f32 {
        self.attributes[key].as_f64().map_or(default, |v| v as f32)
    }

    fn count(&self, key: &str) -> usize {
        self.attributes[key].as_u64().unwrap_or(0) as usize
    }

    fn on(&self, key: &str) -> bool {
        self.attributes[key].as_bool().unwrap_or(false) || self.count(key) != 0
    }

    fn counts(&self, key: &str) -> Vec<usize> {
        let list = self.attributes[key].as_array().unwrap_or_else(|| panic!("{} has no list {key}", self.op));
        list.iter().map(|v| v.as_u64().expect("not negative") as usize).collect()
    }

    /// Whether the node has its `i`th operand.
    fn takes(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(|name| !name.is_empty())
    }

    /// Of an attribute that has a number for each axis of space, the rows' and the columns': a signal is one row.
    fn pair(&self, key: &str, of_one_row: usize) -> [usize; 2] {
        match self.counts(key)[..] {
            [columns] => [of_one_row, columns],
            [rows, columns] => [rows, columns],
            _ => panic!("{key} has more than two axes"),
        }
    }

    fn padding(&self) -> Padding {
        match (self.on("same"), &self.counts("pads")[..]) {
            (true, _) => Padding::Same,
            (_, &[left, right]) => Padding::Explicit([0, 0, left, right]),
            (_, &[above, left, below, right]) => Padding::Explicit([above, below, left, right]),
            (_, other) => panic!("a padding of {other:?}"),
        }
    }

    fn conv(&self) -> Conv2d {
        Conv2d {
            stride: self.pair("strides", 1),
            padding: self.padding(),
            dilation: self.pair("dilations", 1),
            groups: self.count("group"),
        }
    }
}

/// `[n, c, ..] → [n, .., c]`.
fn channels_last(x: Tensor) -> Tensor {
    let rank = x.shape().rank();
    x.permute([0].into_iter().chain(2..rank).chain([1]).collect::<Vec<_>>())
}

/// `[n, .., c] → [n, c, ..]`.
fn channels_first(x: Tensor) -> Tensor {
    let rank = x.shape().rank();
    x.permute([0, rank - 1].into_iter().chain(1..rank - 1).collect::<Vec<_>>())
}

/// `f` of an image `[n, h, w, c]`, for an operand `[n, c, h, w]` or `[n, c, l]`.
fn image<'g>(x: Tensor<'g>, f: impl FnOnce(Tensor<'g>) -> Tensor<'g>) -> Tensor<'g> {
    match x.shape().to_vec()[..] {
        [n, c, l] => {
            let y = channels_first(f(channels_last(x.reshape([n, c, 1, l]))));
            let [n, c, _, l] = y.shape().to_vec()[..] else { return y };
            y.reshape([n, c, l])
        }
        _ => channels_first(f(channels_last(x))),
    }
}

/// `x` with an axis moved to the end, `f` of it, and the axis put back.
fn along<'g>(x: Tensor<'g>, axis: usize, f: impl FnOnce(Tensor<'g>) -> Tensor<'g>) -> Tensor<'g> {
    last_to(f(to_last(x, axis)), axis)
}

fn to_last(x: Tensor, axis: usize) -> Tensor {
    x.permute((0..x.shape().rank()).filter(|&d| d != axis).chain([axis]).collect::<Vec<_>>())
}

fn last_to(x: Tensor, axis: usize) -> Tensor {
    let last = x.shape().rank() - 1;
    let mut order: Vec<usize> = (0..last).collect();
    order.insert(axis, last);
    x.permute(order)
}

fn zero(x: Tensor) -> Tensor {
    x.number(0.0)
}

impl<'g, 'a> Builder<'g, 'a> {
    /// Adds one node.
    pub fn add(&mut self, node: &Node<'a>) {
        let made = match node.op {
            "Dropout" | "Identity" => vec![self.real(node, 0)],
            "Conv" | "ConvTranspose" => vec![self.convolution(node)],
            "MaxPool" | "AveragePool" => vec![self.pool(node)],
            "GlobalAveragePool" => vec![image(self.real(node, 0), |x| x.mean([1, 2]).reshape(pixel(x)))],
            "GlobalMaxPool" => vec![image(self.real(node, 0), |x| x.max([1, 2]).reshape(pixel(x)))],
            "Resize" | "Upsample" => vec![self.resize(node)],
            "LayerNormalization" | "RMSNormalization" => self.layer_norm(node),
            "BatchNormalization" => self.batch_norm(node),
            op if op.ends_with("Normalization") => vec![self.group_norm(node)],
            "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss" => self.cross_entropy(node),
            "Attention" => self.attention(node),
            "Gather" | "OneHot" | "ArgMax" => vec![self.indexed(node)],
            "MatMul" | "Gemm" => vec![self.product(node)],
            "Split" => self.split(node),
            op if op.starts_with("Reduce") => vec![self.reduce(node)],
            "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Expand" | "Tile" | "Transpose" | "Concat" | "Slice"
            | "Pad" | "CumSum" => vec![self.layout(node)],
            _ => vec![self.elementwise(node)],
        };
        self.known.extend(node.outputs.iter().copied().zip(made));
    }

    fn leaf(&mut self, name: &'a str) -> Given {
        self.given.get(name).unwrap_or_else(|| panic!("no tensor {name:?}")).clone()
    }

    /// Operand `i` as numbers.
    fn real(&mut self, node: &Node<'a>, i: usize) -> Tensor<'g> {
        let name = node.inputs[i];
        if let Some(&tensor) = self.known.get(name) {
            return tensor;
        }
        let given = self.leaf(name);
        let tensor = self.graph.input(name, shape(&given.shape));
        self.written.push((tensor, given.values));
        self.known.insert(name, tensor);
        tensor
    }

    fn reals(&mut self, node: &Node<'a>) -> Vec<Tensor<'g>> {
        (0..node.inputs.len()).map(|i| self.real(node, i)).collect()
    }

    /// Operand `i` as indices, those below 0 ignored.
    fn labels(&mut self, node: &Node<'a>, i: usize) -> Tensor<'g> {
        let given = self.leaf(node.inputs[i]);
        self.write_labels(node.inputs[i], &given.shape, given.values)
    }

    fn write_labels(&mut self, name: &str, dims: &[usize], values: Vec<f32>) -> Tensor<'g> {
        let tensor = self.graph.labels(&format!("{name}, labels"), shape(dims));
        self.written.push((tensor, values));
        tensor
    }

    fn convolution(&mut self, node: &Node<'a>) -> Tensor<'g> {
        let (x, w, conv) = (self.real(node, 0), self.real(node, 1), node.conv());
        // [out, in / groups, ..] and [in, out / groups, ..].
        let w = match w.shape().to_vec()[..] {
            [a, b, k] => w.reshape([a, b, 1, k]),
            _ => w,
        };
        let w = w.permute([2, 3, 1, 0]);
        let y = image(x, |x| match node.op {
            "Conv" => x.conv2d(w, conv),
            _ => x.conv_transpose2d(w, conv, node.pair("output_padding", 0)),
        });
        match node.takes(2) {
            true => along(y, 1, |y| y + self.real(node, 2)),
            false => y,
        }
    }

    fn pool(&mut self, node: &Node<'a>) -> Tensor<'g> {
        let how = Pool2d {
            window: node.pair("window", 1),
            stride: node.pair("strides", 1),
            padding: node.padding(),
            ceil_mode: node.on("ceil_mode"),
            count_include_pad: node.on("count_include_pad"),
        };
        image(self.real(node, 0), |x| if node.op == "MaxPool" { x.max_pool2d(how) } else { x.avg_pool2d(how) })
    }

    fn resize(&mut self, node: &Node<'a>) -> Tensor<'g> {
        let size = node.counts("size");
        let how = if node.attributes["mode"] == "linear" { Upsample::Bilinear } else { Upsample::Nearest };
        image(self.real(node, 0), |x| x.upsample2d([size[2], size[3]], how))
    }

    /// Over the last axes, from `axis` on: those are one row.
    fn layer_norm(&mut self, node: &Node<'a>) -> Vec<Tensor<'g>> {
        let (x, epsilon) = (self.real(node, 0), node.number("epsilon", 1e-5));
        let dims = x.shape().to_vec();
        let (outer, inner) = dims.split_at(node.count("axis"));
        let row = inner.iter().product::<usize>();
        let rows = x.reshape([outer.iter().product::<usize>(), row]);
        let gain = self.real(node, 1).broadcast_to(shape(inner)).reshape([row]);
        let bias = if node.takes(2) { self.real(node, 2).reshape([row]) } else { zero(x) };
        let moments = if node.op == "LayerNormalization" { rows.moments(1..2) } else { rows.moments_about_zero(1..2) };
        let y = rows.standardize(moments, epsilon, gain, bias).reshape(x.shape());
        let kept = shape(&[outer, &vec![1; inner.len()]].concat());
        vec![y, moments.0.reshape(kept), (moments.1 + epsilon).rsqrt().reshape(kept)]
    }

    fn batch_norm(&mut self, node: &Node<'a>) -> Vec<Tensor<'g>> {
        let [x, gain, bias, mean, variance] = [0, 1, 2, 3, 4].map(|i| self.real(node, i));
        let (rows, epsilon) = (channels_last(x), node.number("epsilon", 1e-5));
        let of_rows = |t: Tensor<'g>| {
            let ones = vec![1; rows.shape().rank() - 1];
            t.reshape(shape(&[&ones[..], &[t.shape().len()]].concat())).cast(self.graph.precision().wide())
        };
        let kept = [of_rows(mean), of_rows(variance)];
        if !node.on("training_mode") {
            return vec![channels_first(rows.standardize((kept[0], kept[1]), epsilon, gain, bias))];
        }
        let found = rows.moments(0..rows.shape().rank() - 1);
        let y = channels_first(rows.standardize(found, epsilon, gain, bias));
        let momentum = node.number("momentum", 0.9);
        let moved = |old: Tensor<'g>, new: Tensor<'g>| (old * momentum + new * (1.0 - momentum)).reshape(mean.shape());
        vec![y, moved(kept[0], found.0), moved(kept[1], found.1)]
    }

    /// Of groups, of single channels, and of single channels of the whole batch.
    fn group_norm(&mut self, node: &Node<'a>) -> Tensor<'g> {
        let x = channels_last(self.real(node, 0));
        if node.op == "MeanVarianceNormalization" {
            return channels_first(x.standardize(x.moments(0..x.shape().rank() - 1), 1e-9, x.number(1.0), zero(x)));
        }
        let groups = if node.has("num_groups") { node.count("num_groups") } else { x.shape().last() };
        let (gain, bias) = (self.real(node, 1), self.real(node, 2));
        channels_first(x.standardize(x.group_moments(groups), node.number("epsilon", 1e-5), gain, bias))
    }

    fn cross_entropy(&mut self, node: &Node<'a>) -> Vec<Tensor<'g>> {
        let x = to_last(self.real(node, 0), 1);
        let labels = self.labels(node, 1);
        let logs = if node.op == "SoftmaxCrossEntropyLoss" { x.log_softmax() } else { x };
        let mean = node.attributes["reduction"] == "mean";
        if mean && !node.takes(2) && node.op == "SoftmaxCrossEntropyLoss" {
            return vec![x.cross_entropy(labels), last_to(logs, 1)];
        }
        let mut share = labels.one_hot(x.shape().last());
        if node.takes(2) {
            share = share * self.real(node, 2);
        }
        let last = x.shape().rank() - 1;
        let loss = match node.attributes["reduction"].as_str() {
            Some("none") => -(share * logs).sum([last]),
            Some("sum") => -(share * logs).sum_all(),
            _ => -((share * logs).sum_all() / share.sum_all()),
        };
        vec![loss, last_to(logs, 1)]
    }

    fn attention(&mut self, node: &Node<'a>) -> Vec<Tensor<'g>> {
        let [q, k, v] = [(0, "q_num_heads"), (1, "kv_num_heads"), (2, "kv_num_heads")].map(|(i, heads)| {
            let x = self.real(node, i);
            match x.shape().to_vec()[..] {
                [n, t, d] => x.reshape([n, t, node.count(heads), d / node.count(heads)]).permute([0, 2, 1, 3]),
                _ => x,
            }
        });
        let old = if node.takes(4) { k.shape()[2] } else { 0 };
        let [k, v] = [(4, k), (5, v)].map(|(i, x)| if node.takes(i) { self.real(node, i).concat(2, &[x]) } else { x });
        let present = [k, v];
        let (t, s) = (q.shape()[2], k.shape()[2]);
        // Heads that share keys; and values that are longer or shorter than keys.
        let [k, v] = [k, v].map(|x| {
            let [n, heads, s, d] = x.shape().to_vec()[..] else { return x };
            let share = q.shape()[1] / heads;
            x.reshape([n, heads, 1, s, d]).broadcast_to([n, heads, share, s, d]).reshape([n, heads * share, s, d])
        });
        let (d, wanted) = (q.shape()[3], v.shape()[3]);
        let [q, k, v] = [q, k, v].map(|x| if d == wanted { x } else { x.pad(3, 0, d.max(wanted) - x.shape()[3]) });
        let scale = Some(node.number("scale", 1.0 / (d as f32).sqrt()));
        // ONNX counts queries from the first key on, or from the first that is new.
        let from_the_end = s - t == if old > 0 { s - old } else { 0 };
        let causal = node.on("is_causal");
        let how = Attention { causal: causal && from_the_end, scale, ..Attention::default() };
        let mask = self.mask(node, [t, s], causal && !from_the_end);
        let y = match mask {
            Some(mask) => q.attention_masked(k, v, mask, how),
            None => q.attention(k, v, how),
        };
        let y = if d == wanted { y } else { y.slice(3, 0..wanted) };
        let y = match self.given[node.inputs[0]].shape[..] {
            [n, t, _] => y.permute([0, 2, 1, 3]).reshape([n, t, q.shape()[1] * wanted]),
            _ => y,
        };
        vec![y, present[0], present[1]]
    }

    /// What a query may see: the operand, and the keys up to its own place.
    fn mask(&mut self, node: &Node<'a>, [t, s]: [usize; 2], causal: bool) -> Option<Tensor<'g>> {
        let mut mask = match node.takes(3) {
            true => self.leaf(node.inputs[3]),
            false if causal => Given { shape: vec![t, s], values: vec![1.0; t * s], whole: true },
            false => return None,
        };
        assert!(mask.whole, "a mask of numbers");
        for (i, seen) in mask.values.iter_mut().enumerate().filter(|_| causal) {
            *seen *= f32::from(u8::from(i % s <= i / s % t));
        }
        Some(self.write_labels("mask", &mask.shape, mask.values))
    }

    fn indexed(&mut self, node: &Node<'a>) -> Tensor<'g> {
        let axis = node.count("axis");
        match node.op {
            "Gather" => {
                let indices = self.labels(node, 1);
                let x = self.real(node, 0);
                let others = (0..x.shape().rank()).filter(|&d| d != axis);
                let table = x.permute([axis].into_iter().chain(others).collect::<Vec<_>>());
                let dims = table.shape().to_vec();
                let y = table.flatten().gather(indices);
                // [indices.., others..] → [others before, indices.., others behind].
                let found = indices.shape().to_vec();
                let y = y.reshape(shape(&[&found[..], &dims[1..]].concat()));
                let n = found.len();
                let order = (n..n + axis).chain(0..n).chain(n + axis..y.shape().rank());
                y.permute(order.collect::<Vec<_>>())
            }
            "OneHot" => {
                let (on, off) = (node.number("on", 1.0), node.number("off", 0.0));
                last_to(self.labels(node, 0).one_hot(node.count("depth")) * (on - off) + off, axis)
            }
            _ => {
                let x = self.real(node, 0);
                let y = to_last(x, axis).argmax();
                if node.on("keepdims") { y.reshape(kept(x, &[axis])) } else { y }
            }
        }
    }

    fn product(&mut self, node: &Node<'a>) -> Tensor<'g> {
        let (a, b) = (self.real(node, 0), self.real(node, 1));
        if node.op == "Gemm" {
            let y = a.matmul_with(b, node.on("transA"), node.on("transB")) * node.number("alpha", 1.0);
            return if node.takes(2) { y + self.real(node, 2) * node.number("beta", 1.0) } else { y };
        }
        // A vector is a row on the left and a column on the right; other leading axes stretch.
        let (mut x, mut y) = (a.shape().to_vec(), b.shape().to_vec());
        let (row, column) = (x.len() == 1, y.len() == 1);
        if row {
            x.insert(0, 1);
        }
        if column {
            y.push(1);
        }
        let (m, n) = (x[x.len() - 2], y[y.len() - 1]);
        let lead = stretched(&x[..x.len() - 2], &y[..y.len() - 2]);
        let a = a.reshape(shape(&x)).broadcast_to(shape(&[&lead[..], &x[x.len() - 2..]].concat()));
        let b = b.reshape(shape(&y));
        let b = if y.len() == 2 { b } else { b.broadcast_to(shape(&[&lead[..], &y[y.len() - 2..]].concat())) };
        let kept = (!row).then_some(m).into_iter().chain((!column).then_some(n));
        a.matmul(b).reshape(shape(&lead.iter().copied().chain(kept).collect::<Vec<_>>()))
    }

    fn split(&mut self, node: &Node<'a>) -> Vec<Tensor<'g>> {
        let (x, mut at) = (self.real(node, 0), 0);
        let part = |n: usize| {
            at += n;
            x.slice(node.count("axis"), at - n..at)
        };
        node.counts("sizes").into_iter().map(part).collect()
    }

    fn reduce(&mut self, node: &Node<'a>) -> Tensor<'g> {
        let (x, axes) = (self.real(node, 0), node.counts("axes"));
        let sum = |x: Tensor<'g>| if axes.is_empty() { x } else { x.sum(&axes) };
        let y = match node.op {
            "ReduceSum" => sum(x),
            "ReduceMean" => x.mean(&axes),
            "ReduceMax" => x.max(&axes),
            "ReduceMin" => -(-x).max(&axes),
            "ReduceL1" => sum(x.abs()),
            "ReduceL2" => sum(x.square()).sqrt(),
            "ReduceSumSquare" => sum(x.square()),
            "ReduceLogSum" => sum(x).log(),
            "ReduceLogSumExp" => sum(x.exp()).log(),
            op => panic!("{op}"),
        };
        if node.on("keepdims") { y.reshape(kept(x, &axes)) } else { y }
    }

    fn layout(&mut self, node: &Node<'a>) -> Tensor<'g> {
        let x = self.real(node, 0);
        let axis = node.count("axis");
        match node.op {
            "Expand" => x.broadcast_to(shape(&node.counts("shape"))),
            "Transpose" => x.permute(node.counts("perm")),
            "Concat" => x.concat(axis, &self.reals(node)[1..]),
            "Tile" => {
                let repeats = node.counts("repeats").into_iter().enumerate();
                repeats.fold(x, |x, (axis, n)| if n == 1 { x } else { x.concat(axis, &vec![x; n - 1]) })
            }
            "Slice" => node.attributes["ranges"].as_array().expect("ranges").iter().fold(x, |x, range| {
                let [axis, start, end, step] = [0, 1, 2, 3].map(|i| range[i].as_u64().expect("forward") as usize);
                assert_eq!(step, 1);
                x.slice(axis, start..end)
            }),
            "Pad" => {
                let value = node.number("value", 0.0);
                assert_eq!(node.attributes["mode"], "constant");
                let pads = node.attributes["pads"].as_array().expect("pads").iter().enumerate();
                let padded = pads.fold(x - value, |x, (axis, p)| {
                    let [before, behind] = [0, 1].map(|i| p[i].as_u64().expect("more") as usize);
                    x.pad(axis, before, behind)
                });
                padded + value
            }
            "CumSum" => {
                let y = x.cumsum(axis);
                let y = if node.on("reverse") { x.sum([axis]).reshape(kept(x, &[axis])) - y + x } else { y };
                if node.on("exclusive") { y - x } else { y }
            }
            _ => x.reshape(shape(&node.counts("shape"))),
        }
    }

    fn elementwise(&mut self, node: &Node<'a>) -> Tensor<'g> {
        let all = self.reals(node);
        let (x, alpha) = (all[0], |default| node.number("alpha", default));
        let other = || all[1];
        let fold = |f: fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>| all[1..].iter().fold(x, |a, &b| f(a, b));
        let positive = |a: Tensor<'g>, b: Tensor<'g>| zero(x).less(x).select(a, b);
        match node.op {
            "Abs" => x.abs(),
            "Neg" => -x,
            "Reciprocal" => 1.0 / x,
            "Sign" => x.sign(),
            "Exp" => x.exp(),
            "Log" => x.log(),
            "Sqrt" => x.sqrt(),
            "Erf" => x.erf(),
            "Tanh" => x.tanh(),
            "Sigmoid" => x.sigmoid(),
            "Relu" => x.relu(),
            "Softplus" => x.softplus(),
            "LeakyRelu" => x.leaky_relu(alpha(0.01)),
            "PRelu" => positive(x, x * other()),
            "Elu" => positive(x, alpha(1.0) * (x.exp() - 1.0)),
            "Celu" => positive(x, alpha(1.0) * ((x / alpha(1.0)).exp() - 1.0)),
            "Selu" => node.number("gamma", 1.050_701) * positive(x, alpha(1.673_263_2) * (x.exp() - 1.0)),
            "Gelu" if node.attributes["approximate"] == "tanh" => x.gelu_tanh(),
            "Gelu" => x.gelu(),
            "Swish" => x * (x * alpha(1.0)).sigmoid(),
            "SwiGLU" => x * (x * alpha(1.0)).sigmoid() * other(),
            "Mish" => x * x.softplus().tanh(),
            "HardSigmoid" => (x * alpha(0.2) + node.number("beta", 0.5)).clamp(0.0, 1.0),
            "HardSwish" => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            "Softsign" => x / (1.0 + x.abs()),
            "ThresholdedRelu" => x.number(alpha(1.0)).less(x).select(x, zero(x)),
            "Clip" => x.clamp(node.number("low", 0.0), node.number("high", 0.0)),
            "Softmax" => along(x, node.count("axis"), Tensor::softmax),
            "LogSoftmax" => along(x, node.count("axis"), Tensor::log_softmax),
            "Add" | "Sum" => fold(Tensor::add),
            "Mean" => fold(Tensor::add) / all.len() as f32,
            "Sub" => x - other(),
            "Mul" => x * other(),
            "Div" => x / other(),
            "Pow" => x.pow(other()),
            "Max" => fold(Tensor::maximum),
            "Min" => fold(Tensor::minimum),
            "Less" => x.less(other()),
            "LessOrEqual" => x.less_equal(other()),
            "Greater" => other().less(x),
            "GreaterOrEqual" => other().less_equal(x),
            "Equal" => x.equal(other()),
            "Where" => x.select(other(), all[2]),
            op => panic!("{op} has no counterpart here"),
        }
    }
}

/// Axes that both sets stretch to, matched from the last.
fn stretched(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], d: usize| (d + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank).map(|d| at(a, d).max(at(b, d))).collect()
}

/// The shape of one pixel for each image.
fn pixel(x: Tensor) -> [usize; 4] {
    [x.shape()[0], 1, 1, x.shape().last()]
}

/// The shape with these axes of length 1.
fn kept(x: Tensor, axes: &[usize]) -> Shape {
    let dims = x.shape().to_vec().into_iter().enumerate();
    shape(&dims.map(|(d, n)| if axes.contains(&d) { 1 } else { n }).collect::<Vec<_>>())
}

/// Whether a tensor holds labels.
pub fn is_labels(x: Tensor) -> bool {
    x.dtype() == Dtype::U32
}
