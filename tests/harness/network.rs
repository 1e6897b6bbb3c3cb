//! [`Network`]: training-time networks written layer by layer as ONNX, with random weights.
//!
//! Random `BatchNorm` statistics would make activations explode or vanish within thirty layers, so
//! each `BatchNorm` gets the statistics of what it really sees: small random pictures go through
//! the net while it is built ([`crate::calibration`]).

use crate::calibration::{Maps, Statistics};
use crate::rng::Random;
use unbraid_converter::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

/// What is free to choose about a generated network.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rows and columns of the input.
    pub size: usize,
    /// Outputs.
    pub classes: usize,
    /// Random weights.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { size: 224, classes: 1000, seed: 0 }
    }
}

/// Pictures that statistics are taken of.
const CALIBRATION_PICTURES: usize = 8;
/// Their rows and columns at most.
const CALIBRATION_SIZE: usize = 32;

/// A network under construction.
#[derive(Debug)]
pub struct Network {
    random: Random,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    outputs: Vec<ValueInfoProto>,
    settings: Settings,
}

/// A value of the network, and what it holds for the calibration pictures.
#[derive(Clone, Debug)]
pub struct Feature {
    name: String,
    maps: Maps,
}

/// A square convolution with "same" padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Rows and columns of taps.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Groups.
    pub groups: usize,
}

impl Layer {
    /// The same layer with another kernel.
    #[must_use]
    pub fn sized(self, kernel: usize) -> Self {
        Self { kernel, ..self }
    }

    /// Whether the shape stays, so that the input can be added to the output.
    pub fn keeps_shape(&self) -> bool {
        self.input == self.output && self.stride == 1
    }

    /// Weights of the convolution.
    pub fn weights(&self) -> usize {
        self.output * self.input / self.groups * self.kernel * self.kernel
    }

    fn shape(&self) -> [usize; 4] {
        [self.output, self.input / self.groups, self.kernel, self.kernel]
    }
}

/// Parameters of squeeze and excitation on this many channels, and its multiply-accumulates.
pub fn gate_cost(channels: usize, reduction: usize) -> (usize, usize) {
    let squeezed = channels / reduction;
    let weights = 2 * channels * squeezed;
    (weights + squeezed + channels, weights)
}

impl Network {
    /// An empty network and its input `input [1,3,size,size]`.
    pub fn new(settings: Settings) -> (Self, Feature) {
        let mut random = Random(settings.seed);
        let size = settings.size.min(CALIBRATION_SIZE);
        let maps = Maps::random(CALIBRATION_PICTURES, size, &mut random);
        let net = Self { random, nodes: vec![], weights: vec![], outputs: vec![], settings };
        (net, Feature { name: "input".into(), maps })
    }

    /// The file.
    pub fn finish(self, name: String) -> ModelProto {
        let size = self.settings.size;
        let graph = GraphProto {
            node: self.nodes,
            name,
            initializer: self.weights,
            input: vec![ValueInfoProto::floats("input", &[1, 3, size, size])],
            output: self.outputs,
            ..GraphProto::default()
        };
        ModelProto::new(graph, 7, 13)
    }

    /// Convolution without bias, then `BatchNorm`.
    pub fn branch(&mut self, name: &str, x: &Feature, layer: Layer) -> Feature {
        let conv = self.conv(&format!("{name}.conv"), x, layer);
        self.norm(name, &conv)
    }

    fn conv(&mut self, name: &str, x: &Feature, layer: Layer) -> Feature {
        let shape = layer.shape();
        let fan_in = shape[1..].iter().product::<usize>();
        let std = (2.0 / fan_in as f32).sqrt();
        let values = self.random.normals(std, shape[0] * fan_in);
        let maps = x.maps.convolved(&values, shape, layer.stride, layer.groups);
        let (weight, output) = (format!("{name}.weight"), format!("{name}.out"));
        self.weights.push(TensorProto::floats(&weight, &shape, &values));
        self.nodes.push(conv_node(name, &[&x.name, &weight], &output, layer));
        Feature { name: output, maps }
    }

    /// `BatchNorm` with random gamma and beta and the statistics of its input.
    pub fn norm(&mut self, branch: &str, x: &Feature) -> Feature {
        const EPS: f32 = 1e-5;
        let name = format!("{branch}.bn");
        let mut maps = x.maps.clone();
        let Statistics { mean, variance } = maps.statistics();
        let gamma = self.random.within(0.5, 1.5, mean.len());
        let beta = self.random.within(-0.5, 0.5, mean.len());
        maps.normalise(&mean, &variance, &gamma, &beta, EPS);
        let parameters =
            [("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", variance)];
        let mut inputs = vec![x.name.clone()];
        for (parameter, values) in parameters {
            let parameter = format!("{name}.{parameter}");
            self.weights.push(TensorProto::floats(&parameter, &[values.len()], &values));
            inputs.push(parameter);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let output = format!("{name}.out");
        let node = NodeProto::new("BatchNormalization", &name, &inputs, &output);
        self.nodes.push(node.with(AttributeProto::float("epsilon", EPS)));
        Feature { name: output, maps }
    }

    /// The sum of branches.
    pub fn sum(&mut self, name: &str, first: Feature, others: Vec<Feature>) -> Feature {
        let mut sum = first;
        for (index, other) in others.into_iter().enumerate() {
            let output = format!("{name}.sum{index}");
            self.nodes.push(NodeProto::new("Add", &output, &[&sum.name, &other.name], &output));
            sum.maps.add(&other.maps);
            sum.name = output;
        }
        sum
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, name: &str, mut x: Feature) -> Feature {
        let output = format!("{name}.out");
        self.nodes.push(NodeProto::new("Relu", &format!("{name}.relu"), &[&x.name], &output));
        x.maps.relu();
        Feature { name: output, maps: x.maps }
    }

    /// Squeeze and excitation (Hu et al., CVPR 2018): `x * sigmoid(up(relu(down(mean(x)))))`.
    pub fn gate(&mut self, name: &str, mut x: Feature, reduction: usize) -> Feature {
        let channels = x.maps.channels();
        let squeezed = channels / reduction;
        let means = x.maps.means();
        let down = self.dense(&format!("{name}.down"), channels, squeezed);
        let up = self.dense(&format!("{name}.up"), squeezed, channels);
        let opened = |mean: &Vec<f32>| up.of(&down.of(mean, |v| v.max(0.0)), logistic);
        x.maps.scale(&means.iter().map(opened).collect::<Vec<_>>());

        let [gap, low, relu, high, open, output] =
            ["gap", "down", "relu", "up", "sigmoid", "out"].map(|part| format!("{name}.{part}"));
        let point = |input, output| Layer { input, output, kernel: 1, stride: 1, groups: 1 };
        let shrink = [&*gap, &*down.weight, &*down.bias];
        let grow = [&*relu, &*up.weight, &*up.bias];
        self.nodes.extend([
            NodeProto::new("GlobalAveragePool", &gap, &[&x.name], &gap),
            conv_node(&low, &shrink, &low, point(channels, squeezed)),
            NodeProto::new("Relu", &relu, &[&low], &relu),
            conv_node(&high, &grow, &high, point(squeezed, channels)),
            NodeProto::new("Sigmoid", &open, &[&high], &open),
            NodeProto::new("Mul", &output, &[&x.name, &open], &output),
        ]);
        Feature { name: output, maps: x.maps }
    }

    /// Weights of a 1x1 convolution with bias.
    fn dense(&mut self, name: &str, input: usize, output: usize) -> Dense {
        let weights = self.random.normals((1.0 / input as f32).sqrt(), output * input);
        let biases = self.random.within(-0.1, 0.1, output);
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        self.weights.push(TensorProto::floats(&weight, &[output, input, 1, 1], &weights));
        self.weights.push(TensorProto::floats(&bias, &[output], &biases));
        Dense { weight, bias, weights, biases }
    }

    /// Global average, dense layer, and the output of this name.
    pub fn classifier(&mut self, name: &str, x: &Feature, output: &str) {
        let (width, classes) = (x.maps.channels(), self.settings.classes);
        let weight = self.random.normals((1.0 / width as f32).sqrt(), classes * width);
        let bias = self.random.within(-0.1, 0.1, classes);
        let [weights, biases, gap, flat] =
            ["linear.weight", "linear.bias", "gap", "flatten"].map(|part| format!("{name}{part}"));
        self.weights.push(TensorProto::floats(&weights, &[classes, width], &weight));
        self.weights.push(TensorProto::floats(&biases, &[classes], &bias));
        let (gap_out, flat_out) = (format!("{gap}.out"), format!("{flat}.out"));
        let linear = format!("{name}linear");
        self.nodes.extend([
            NodeProto::new("GlobalAveragePool", &gap, &[&x.name], &gap_out),
            NodeProto::new("Flatten", &flat, &[&gap_out], &flat_out),
            NodeProto::new("Gemm", &linear, &[&flat_out, &weights, &biases], output)
                .with(AttributeProto::int("transB", 1)),
        ]);
        self.outputs.push(ValueInfoProto::floats(output, &[1, classes]));
    }
}

fn conv_node(name: &str, inputs: &[&str], output: &str, layer: Layer) -> NodeProto {
    let pair = |n: usize| vec![n as i64; 2];
    NodeProto::new("Conv", name, inputs, output)
        .with(AttributeProto::int("group", layer.groups as i64))
        .with(AttributeProto::ints("kernel_shape", pair(layer.kernel)))
        .with(AttributeProto::ints("pads", vec![layer.kernel as i64 / 2; 4]))
        .with(AttributeProto::ints("strides", pair(layer.stride)))
}

/// Weights of a dense layer and their names.
struct Dense {
    weight: String,
    bias: String,
    weights: Vec<f32>,
    biases: Vec<f32>,
}

impl Dense {
    fn of(&self, x: &[f32], activation: fn(f32) -> f32) -> Vec<f32> {
        let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        let rows = self.weights.chunks_exact(x.len()).zip(&self.biases);
        rows.map(|(row, bias)| activation(dot(row) + bias)).collect()
    }
}

fn logistic(v: f32) -> f32 {
    1.0 / (1.0 + (-v).exp())
}

/// Parameters as papers count them: not the running statistics.
pub fn parameters(model: &ModelProto) -> u64 {
    let weights = &model.graph.as_ref().expect("a graph").initializer;
    let trained = weights.iter().filter(|t| !t.name.contains(".running_"));
    trained.map(|t| t.dims.iter().product::<i64>() as u64).sum()
}
