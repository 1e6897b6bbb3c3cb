//! Builds graphs for tests: layers with random weights and statistics, and random affine networks.

use crate::rng::Random;
use unbraid_converter::graph::{
    Activation, Conv, Function, Graph, Hw, Node, Op, Pad, PadMode, ValueId, Window,
};
use unbraid_converter::reference;
use unbraid_converter::tensor::Tensor;

/// `max(x, 0)`.
pub const RELU: Activation = Activation::Clamp { lo: 0.0, hi: f32::INFINITY };

/// Geometry of a layer; [`Layer::of`] gives a square one, fields may then be changed.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Output channels.
    pub outputs: usize,
    /// Taps, stride, dilation and padding.
    pub window: Window,
    /// Groups.
    pub groups: usize,
    /// With a bias.
    pub biased: bool,
}

impl Layer {
    /// `k x k` taps padded by `k / 2`, without bias.
    pub fn of(outputs: usize, k: u32, stride: u32, groups: usize) -> Self {
        Self { outputs, window: square(k, stride, k / 2), groups, biased: false }
    }

    /// The same with a bias.
    pub fn biased(self) -> Self {
        Self { biased: true, ..self }
    }

    /// The same with another padding on all sides.
    pub fn padded(mut self, pad: u32) -> Self {
        self.window.pad = around(pad);
        self
    }
}

/// A square window.
pub fn square(k: u32, stride: u32, pad: u32) -> Window {
    Window {
        kernel: Hw::square(k),
        stride: Hw::square(stride),
        dilation: Hw::square(1),
        pad: around(pad),
    }
}

/// The same padding on all sides.
pub fn around(pad: u32) -> Pad {
    Pad { top: pad, left: pad, bottom: pad, right: pad }
}

/// A graph under construction. Every method appends one node and returns its result.
#[derive(Debug)]
pub struct Builder {
    /// What has been built.
    pub graph: Graph,
    /// Where weights come from.
    pub random: Random,
}

impl Builder {
    /// An empty graph and its picture `[1, channels, size]`.
    pub fn new(seed: u64, channels: usize, size: [usize; 2]) -> (Self, ValueId) {
        let mut graph = Graph::default();
        let x = graph.value("x", [1, channels, size[0], size[1]]);
        graph.inputs.push(x);
        (Self { graph, random: Random(seed) }, x)
    }

    /// The graph, with these outputs.
    pub fn finish(mut self, outputs: &[ValueId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph
    }

    /// Appends a node; its name and its output's name count nodes of its kind.
    pub fn node(&mut self, op: Op, inputs: Vec<ValueId>, shape: &[usize]) -> ValueId {
        let name = format!("{}_{}", op.name(), self.graph.nodes.len());
        let output = self.graph.value(format!("{name}.y"), shape);
        self.graph.push(name, op, inputs, output);
        output
    }

    fn shape(&self, x: ValueId) -> Vec<usize> {
        self.graph.shape(x).to_vec()
    }

    /// Channels of a picture.
    pub fn channels(&self, x: ValueId) -> usize {
        self.graph.shape(x)[1]
    }

    /// A constant under a name of its own.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.constant(format!("c{}", self.graph.values.len()), tensor)
    }

    /// A convolution with random weights of a size that keeps values near 1.
    pub fn conv(&mut self, x: ValueId, layer: Layer) -> ValueId {
        let Layer { outputs, window, groups, biased } = layer;
        let shape = self.shape(x);
        let (kh, kw) = (window.kernel.h as usize, window.kernel.w as usize);
        let fan_in = shape[1] / groups * kh * kw;
        let bound = (3.0 / fan_in as f32).sqrt();
        let weight = self.random.tensor(&[outputs, shape[1] / groups, kh, kw], -bound, bound);
        let mut inputs = vec![x, self.constant(weight)];
        if biased {
            let bias = self.random.tensor(&[outputs], -0.5, 0.5);
            inputs.push(self.constant(bias));
        }
        let output = output_shape(&shape, &window, outputs);
        let conv = Conv { window, groups, border: None, activation: Activation::None };
        self.node(Op::Conv(conv), inputs, &output)
    }

    /// A convolution with bias and ReLU in one node, as fusion leaves it.
    pub fn conv_relu(&mut self, x: ValueId, layer: Layer) -> ValueId {
        let y = self.conv(x, layer.biased());
        if let Some(Node { op: Op::Conv(conv), .. }) = self.graph.nodes.last_mut() {
            conv.activation = RELU;
        }
        y
    }

    /// A dense layer with bias and random weights of a size that keeps values near 1.
    pub fn linear(&mut self, x: ValueId, outputs: usize) -> ValueId {
        let inputs = self.shape(x)[1];
        let bound = (3.0 / inputs as f32).sqrt();
        let weight = self.random.tensor(&[outputs, inputs], -bound, bound);
        let bias = self.random.tensor(&[outputs], -0.5, 0.5);
        let operands = vec![x, self.constant(weight), self.constant(bias)];
        let shape = [self.shape(x)[0], outputs];
        self.node(Op::Linear { activation: Activation::None }, operands, &shape)
    }

    /// BatchNorm with random statistics.
    pub fn batch_norm(&mut self, x: ValueId) -> ValueId {
        let (c, shape) = (self.channels(x), self.shape(x));
        let mut inputs = vec![x];
        for (lo, hi) in [(0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 1.5)] {
            let statistic = self.random.tensor(&[c], lo, hi);
            inputs.push(self.constant(statistic));
        }
        self.node(Op::BatchNorm { eps: 1e-5 }, inputs, &shape)
    }

    /// A convolution and its BatchNorm.
    pub fn conv_bn(&mut self, x: ValueId, layer: Layer) -> ValueId {
        let y = self.conv(x, layer);
        self.batch_norm(y)
    }

    /// The same numbers under another shape.
    pub fn reshape(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        self.node(Op::Reshape, vec![x], shape)
    }

    /// Sum of two results.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let shape = self.shape(a);
        self.node(Op::Add { activation: Activation::None }, vec![a, b], &shape)
    }

    /// Sum of all results, from the first to the last.
    pub fn sum(&mut self, parts: &[ValueId]) -> ValueId {
        let (&first, rest) = parts.split_first().expect("something to add");
        rest.iter().fold(first, |sum, &part| self.add(sum, part))
    }

    /// An operation with one random constant for each channel, in `lo .. hi`.
    pub fn with_constant(&mut self, op: Op, x: ValueId, lo: f32, hi: f32) -> ValueId {
        let shape = self.shape(x);
        let constant = self.random.tensor(&[shape[1], 1, 1], lo, hi);
        let constant = self.constant(constant);
        self.node(op, vec![x, constant], &shape)
    }

    /// ReLU.
    pub fn relu(&mut self, x: ValueId) -> ValueId {
        let shape = self.shape(x);
        self.node(Op::Activation(RELU), vec![x], &shape)
    }

    /// Average pool.
    pub fn average(&mut self, x: ValueId, window: Window, count_include_pad: bool) -> ValueId {
        let shape = self.shape(x);
        let output = output_shape(&shape, &window, shape[1]);
        self.node(Op::AveragePool { window, count_include_pad }, vec![x], &output)
    }

    /// Padding with a constant on all sides.
    pub fn pad(&mut self, x: ValueId, pad: u32, value: f32) -> ValueId {
        self.pad_mode(x, pad, PadMode::Constant(value))
    }

    /// Padding on all sides.
    pub fn pad_mode(&mut self, x: ValueId, pad: u32, mode: PadMode) -> ValueId {
        let mut shape = self.shape(x);
        shape[2] += 2 * pad as usize;
        shape[3] += 2 * pad as usize;
        self.node(Op::Pad { pad: around(pad), mode }, vec![x], &shape)
    }

    /// A picture without its outermost rows and columns.
    pub fn crop(&mut self, x: ValueId, rows: usize, columns: usize) -> ValueId {
        let mut shape = self.shape(x);
        shape[2] -= 2 * rows;
        shape[3] -= 2 * columns;
        let slice = Op::Slice { starts: vec![0, 0, rows, columns], steps: vec![1; 4] };
        self.node(slice, vec![x], &shape)
    }

    /// Some channels of a picture, from `first` on.
    pub fn channels_from(&mut self, x: ValueId, first: usize, count: usize) -> ValueId {
        let mut shape = self.shape(x);
        shape[1] = count;
        let slice = Op::Slice { starts: vec![0, first, 0, 0], steps: vec![1; 4] };
        self.node(slice, vec![x], &shape)
    }

    /// Concatenation on channels.
    pub fn concat(&mut self, parts: &[ValueId]) -> ValueId {
        let mut shape = self.shape(parts[0]);
        shape[1] = parts.iter().map(|&part| self.channels(part)).sum();
        self.node(Op::Concat { axis: 1 }, parts.to_vec(), &shape)
    }

    /// A RepVGG block before its ReLU: 3x3, 1x1 and, where shapes allow, identity, all normalised.
    pub fn repvgg_sum(
        &mut self,
        x: ValueId,
        outputs: usize,
        stride: u32,
        groups: usize,
    ) -> ValueId {
        let mut branches = vec![
            self.conv_bn(x, Layer::of(outputs, 3, stride, groups)),
            self.conv_bn(x, Layer::of(outputs, 1, stride, groups)),
        ];
        if stride == 1 && outputs == self.channels(x) {
            branches.push(self.batch_norm(x));
        }
        self.sum(&branches)
    }
}

fn output_shape(shape: &[usize], window: &Window, channels: usize) -> Vec<usize> {
    let out = window.output(shape[2] as u32, shape[3] as u32).expect("the window fits");
    vec![shape[0], channels, out.h as usize, out.w as usize]
}

/// A random graph of affine operations, now and then a ReLU, several readers of one value and sums
/// of whatever has equal shapes. One or two outputs.
pub fn random_affine(seed: u64) -> Graph {
    random_network(seed, &mut random_node)
}

/// As [`random_affine`], with crops, choices of channels, dense layers on whole pictures and paddings
/// that repeat pixels.
pub fn random_views(seed: u64) -> Graph {
    let mut node = |net: &mut Builder, x: ValueId, values: &[ValueId]| {
        let view = net.random.pick(&[true, false, false]);
        if view { random_view(net, x) } else { random_node(net, x, values) }
    };
    random_network(seed, &mut node)
}

/// Appends one node that reads a value, and maybe some of the others.
type AppendNode<'a> = &'a mut dyn FnMut(&mut Builder, ValueId, &[ValueId]) -> ValueId;

fn random_network(seed: u64, append: AppendNode<'_>) -> Graph {
    let mut random = Random(!seed);
    let size = [random.pick(&[7, 8, 9]), random.pick(&[6, 7, 10])];
    let (mut net, x) = Builder::new(seed, random.pick(&[2, 4]), size);
    let mut values = vec![x];
    for _ in 0..net.random.pick(&[4, 6, 8, 10, 13]) {
        // Recent values, so that chains and diamonds form.
        let recent = values.len().saturating_sub(4);
        let x = net.random.pick(&values[recent..]);
        values.push(append(&mut net, x, &values));
    }
    let last = *values.last().expect("not empty");
    let other = net.random.pick(&values[1..]);
    let two = other != last && net.random.pick(&[true, false, false]);
    net.finish(&[last, other][..if two { 2 } else { 1 }])
}

fn random_node(net: &mut Builder, x: ValueId, values: &[ValueId]) -> ValueId {
    let add = Op::Add { activation: Activation::None };
    match net.random.bits() % 13 {
        0..=2 => random_layer(net, x),
        3 | 4 => {
            let mut layer = Layer::of(net.random.pick(&[2, 4]), 1, 1, net.random.pick(&[1, 2]));
            layer.biased = net.random.pick(&[true, false]);
            net.conv(x, layer)
        }
        5 => {
            let op = net.random.bits() as usize % 4;
            net.with_constant([Op::Mul, Op::Div, add, Op::Sub][op].clone(), x, 0.5, 1.5)
        }
        6..=8 => {
            let alike = |&&other: &&ValueId| net.graph.shape(other) == net.graph.shape(x);
            let others: Vec<ValueId> = values.iter().filter(alike).copied().collect();
            let (other, shape) = (net.random.pick(&others), net.graph.shape(x).to_vec());
            let op = if net.random.pick(&[true, false, false, false]) { Op::Sub } else { add };
            net.node(op, vec![x, other], &shape)
        }
        9 => {
            let count_include_pad = net.random.pick(&[true, false]);
            net.average(x, square(3, 1, 1), count_include_pad)
        }
        10 => {
            let value = net.random.pick(&[0.0, 0.75]);
            net.pad(x, 1, value)
        }
        11 if net.channels(x) <= 4 => net.concat(&[x, x]),
        11 => net.relu(x),
        _ => net.batch_norm(x),
    }
}

fn smallest_side(net: &Builder, x: ValueId) -> usize {
    net.graph.shape(x)[2].min(net.graph.shape(x)[3])
}

/// A part of the picture, some of its channels, a frame of its own pixels, its negative, or a dense
/// layer on all of it.
fn random_view(net: &mut Builder, x: ValueId) -> ValueId {
    let shape = net.graph.shape(x).to_vec();
    let (channels, pixels) = (shape[1], shape[2] * shape[3]);
    match net.random.bits() % 5 {
        0 if smallest_side(net, x) > 4 => {
            let (rows, columns) = net.random.pick(&[(1, 1), (0, 1), (1, 0)]);
            net.crop(x, rows, columns)
        }
        1 if channels > 2 => {
            let first = net.random.pick(&[0, 1, 2]);
            net.channels_from(x, first, 2)
        }
        2 if smallest_side(net, x) > 1 => {
            let mode = net.random.pick(&[PadMode::Reflect, PadMode::Edge, PadMode::Wrap]);
            net.pad_mode(x, 1, mode)
        }
        3 if channels * pixels <= 300 => {
            let flat = net.reshape(x, &[1, channels * pixels, 1, 1]);
            let groups = net.random.pick(&[1, 2]);
            let dense = net.conv(flat, Layer::of(2 * pixels, 1, 1, groups).biased());
            net.reshape(dense, &[1, 2, shape[2], shape[3]])
        }
        _ => net.node(Op::Unary(Function::Neg), vec![x], &shape),
    }
}

/// A convolution of several taps; on small pictures a 1x1.
fn random_layer(net: &mut Builder, x: ValueId) -> ValueId {
    let smallest = smallest_side(net, x);
    let random = &mut net.random;
    let (k, pad) = random.pick(&[(3, 1), (3, 1), (3, 0), (1, 1), (2, 0), (3, 2)]);
    let mut layer = Layer::of(random.pick(&[2, 4]), k, 1, random.pick(&[1, 2])).padded(pad);
    layer.biased = random.pick(&[true, false]);
    if smallest >= 6 {
        layer.window.stride = Hw { h: random.pick(&[1, 1, 2]), w: random.pick(&[1, 1, 2]) };
        layer.window.dilation = Hw { h: random.pick(&[1, 1, 2]), w: random.pick(&[1, 1, 2]) };
    } else if smallest + 2 * (pad as usize) < 6 {
        layer = Layer::of(layer.outputs, 1, 1, 1);
    }
    net.conv(x, layer)
}

/// Largest difference between two graphs, relative to the largest output, on two pictures.
///
/// # Panics
/// When the oracle cannot run one of them.
pub fn difference(before: &Graph, after: &Graph) -> f64 {
    let mut random = Random(77);
    let len = before.shape(before.inputs[0]).iter().product();
    let mut on_picture = || {
        let x = [values(&mut random, len)];
        let a = reference::run(before, &x).expect("the first graph runs").concat();
        let b = reference::run(after, &x).expect("the second graph runs").concat();
        assert_eq!(a.len(), b.len());
        let largest = a.iter().fold(1e-30_f64, |m, v| m.max(v.abs()));
        a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
    };
    on_picture().max(on_picture())
}

/// `len` numbers in [-1, 1).
pub fn values(random: &mut Random, len: usize) -> Vec<f64> {
    random.vec(len).into_iter().map(f64::from).collect()
}
