//! Training-time `RepMLPNet`s of every row of the paper's table, as ONNX with random weights.
//!
//! Source: Ding et al., "`RepMLPNet`: Hierarchical Vision MLP with Re-parameterized Locality", CVPR
//! 2022. A unit is `y = x + block(bn(x))` and then `y + ffn(bn(y))`. A block reads the whole map as
//! one vector a channel: `sets` dense layers take turns over the channels, and beside each is a sum of
//! depthwise convolutions; squeeze and excitation scales the result.

use crate::network::gate_cost;
use crate::onnx_file::OnnxFile;
use unbraid_converter::onnx::{AttributeProto, NodeProto, TensorProto};

/// One row of the table, at 1000 classes.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As the authors name it.
    pub name: &'static str,
    /// Channels of the stages.
    pub channels: [usize; 4],
    /// Units of the stages.
    pub units: [usize; 4],
    /// Dense layers that the channels of a block share.
    pub sets: [usize; 4],
    /// Rows and columns of the picture.
    pub size: usize,
    /// Parameters after the authors' conversion, which leaves three kinds of `BatchNorm`: before each
    /// block, before each FFN, before the classifier.
    pub deploy_params: usize,
    /// Multiply-accumulates, gates included.
    pub macs: usize,
    /// Parameters as published, in units of 10^6: sometimes rounded, sometimes cut off.
    pub published_mparams: f64,
    /// Multiply-accumulates as published, in units of 10^9: likewise.
    pub published_gmacs: f64,
}

const T: [usize; 4] = [64, 128, 256, 512];
const B: [usize; 4] = [96, 192, 384, 768];
const D: [usize; 4] = [80, 160, 320, 640];

/// Every row.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    Row { name: "T224", channels: T, units: [2, 2, 6, 2],  sets: [1, 4, 16, 128], size: 224, deploy_params:  38_316_040, macs:  2_798_453_760, published_mparams:  38.3, published_gmacs:  2.8 },
    Row { name: "B224", channels: B, units: [2, 2, 12, 2], sets: [1, 4, 32, 128], size: 224, deploy_params:  68_297_624, macs:  6_656_905_728, published_mparams:  68.2, published_gmacs:  6.7 },
    Row { name: "T256", channels: T, units: [2, 2, 6, 2],  sets: [1, 4, 16, 128], size: 256, deploy_params:  58_723_720, macs:  4_245_626_880, published_mparams:  58.7, published_gmacs:  4.2 },
    Row { name: "B256", channels: B, units: [2, 2, 12, 2], sets: [1, 4, 32, 128], size: 256, deploy_params:  96_533_144, macs:  9_615_633_408, published_mparams:  96.5, published_gmacs:  9.6 },
    Row { name: "D256", channels: D, units: [2, 2, 18, 2], sets: [1, 4, 16, 128], size: 256, deploy_params:  86_946_480, macs:  8_610_812_160, published_mparams:  86.9, published_gmacs:  8.6 },
    Row { name: "L256", channels: B, units: [2, 2, 18, 2], sets: [1, 4, 32, 256], size: 256, deploy_params: 117_774_040, macs: 11_579_010_048, published_mparams: 117.7, published_gmacs: 11.5 },
];

const CLASSES: usize = 1000;
/// Channels that a gate squeezes into one.
const REDUCTION: usize = 4;
/// Channels of an FFN for each that it reads.
const EXPANSION: usize = 4;

/// What a network costs after conversion.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Weights and biases of layers, and scales and shifts of the `BatchNorm`s that cannot be folded:
    /// one before each block, whose result a gate and a dense layer read.
    pub params: usize,
    /// Scales and shifts of those that can: before each FFN and before the classifier.
    pub folded: usize,
    /// Multiply-accumulates.
    pub macs: usize,
}

impl Row {
    /// The row with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name)
    }

    /// Rows and columns of the map of a stage.
    pub fn map(&self, stage: usize) -> usize {
        (self.size / 4) >> stage
    }

    /// Units of all stages.
    pub fn all_units(&self) -> usize {
        self.units.iter().sum()
    }

    /// What it costs after conversion, layer by layer.
    pub fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        let last = self.channels[3];
        cost.layer(CLASSES * last, CLASSES, 1);
        cost.folded += 2 * last;
        for (stage, &channels) in self.channels.iter().enumerate() {
            let pixels = self.map(stage).pow(2);
            let before = if stage == 0 { 3 * 16 } else { self.channels[stage - 1] * 4 };
            cost.layer(before * channels, channels, pixels);
            for _ in 0..self.units[stage] {
                cost.unit(channels, self.sets[stage], pixels);
            }
        }
        cost
    }
}

impl Cost {
    /// Weights that are used so many times, and biases.
    fn layer(&mut self, weights: usize, biases: usize, times: usize) {
        self.params += weights + biases;
        self.macs += weights * times;
    }

    fn unit(&mut self, channels: usize, sets: usize, pixels: usize) {
        let (gate_params, gate_macs) = gate_cost(channels, REDUCTION);
        self.params += gate_params + 2 * channels;
        self.macs += gate_macs;
        self.folded += 2 * channels;
        self.layer(sets * pixels * pixels, sets * pixels, channels / sets);
        let wide = EXPANSION * channels;
        self.layer(channels * wide, wide, pixels);
        self.layer(wide * channels, channels, pixels);
    }
}

/// The network before conversion: input `x [1,3,size,size]`, output `y [1,1000]`.
pub fn training_model(row: &Row) -> OnnxFile {
    let file = OnnxFile::new(13, &[1, 3, row.size, row.size]);
    let mut net = Net { file, value: "x".into(), channels: 3, size: row.size };
    for stage in 0..4 {
        let (kernel, channels) = (if stage == 0 { 4 } else { 2 }, row.channels[stage]);
        let name = format!("embed{stage}");
        net.conv_bn(&name, channels, Window { kernel, stride: kernel, pad: 0 }, 1, 1.0);
        net.op("Relu", &format!("{name}.relu"));
        for unit in 0..row.units[stage] {
            net.unit(&format!("stage{stage}.{unit}"), row.sets[stage]);
        }
    }
    net.head()
}

#[derive(Clone, Copy)]
struct Window {
    kernel: usize,
    stride: usize,
    pad: usize,
}

const POINT: Window = Window { kernel: 1, stride: 1, pad: 0 };
/// Scales of the last `BatchNorm` of a branch that is added to its input: without it the sums
/// of forty branches would grow beyond all bounds.
const SMALL: f32 = 0.2;

/// A network under construction, and the value at its end.
struct Net {
    file: OnnxFile,
    value: String,
    channels: usize,
    size: usize,
}

impl Net {
    /// A node that reads `inputs`.
    fn node(&mut self, op: &str, inputs: &str, output: &str, attributes: Vec<AttributeProto>) {
        let inputs: Vec<&str> = inputs.split_whitespace().collect();
        let node = NodeProto::new(op, output, &inputs, output);
        self.file.graph.node.push(NodeProto { attribute: attributes, ..node });
        self.value = output.to_owned();
    }

    /// A node without attributes that reads the value at the end.
    fn op(&mut self, op: &str, output: &str) {
        let input = self.value.clone();
        self.node(op, &input, output, vec![]);
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.file.graph.initializer.push(TensorProto::floats(name, shape, values));
    }

    /// Uniform weights that keep the variance of inputs with variance 1.
    fn weights(&mut self, name: &str, shape: &[usize]) {
        let fan_in: usize = shape[1..].iter().product();
        let most = (3.0 / fan_in as f32).sqrt();
        let values = self.file.random.within(-most, most, shape.iter().product());
        self.floats(name, shape, &values);
    }

    fn vector(&mut self, name: &str, len: usize, lo: f32, hi: f32) {
        let values = self.file.random.within(lo, hi, len);
        self.floats(name, &[len], &values);
    }

    fn conv(&mut self, name: &str, output: usize, window: Window, groups: usize, biased: bool) {
        let Window { kernel, stride, pad } = window;
        self.weights(&format!("{name}.w"), &[output, self.channels / groups, kernel, kernel]);
        let mut inputs = format!("{} {name}.w", self.value);
        if biased {
            self.vector(&format!("{name}.b"), output, -0.5, 0.5);
            inputs += &format!(" {name}.b");
        }
        let attributes = vec![
            AttributeProto::int("group", groups as i64),
            AttributeProto::ints("strides", vec![stride as i64; 2]),
            AttributeProto::ints("pads", vec![pad as i64; 4]),
        ];
        self.node("Conv", &inputs, &format!("{name}.conv"), attributes);
        self.channels = output;
        self.size = (self.size + 2 * pad - kernel) / stride + 1;
    }

    /// `BatchNorm` with random statistics, its scales about `gain`.
    fn norm(&mut self, name: &str, gain: f32) {
        self.vector(&format!("{name}.gamma"), self.channels, 0.5 * gain, 1.5 * gain);
        self.vector(&format!("{name}.beta"), self.channels, -0.5 * gain, 0.5 * gain);
        self.vector(&format!("{name}.mean"), self.channels, -0.5, 0.5);
        self.vector(&format!("{name}.var"), self.channels, 0.5, 1.5);
        let parameters = ["gamma", "beta", "mean", "var"].map(|p| format!(" {name}.{p}")).concat();
        let inputs = format!("{}{parameters}", self.value);
        self.node("BatchNormalization", &inputs, &format!("{name}.bn"), vec![]);
    }

    fn conv_bn(&mut self, name: &str, output: usize, window: Window, groups: usize, gain: f32) {
        self.conv(name, output, window, groups, false);
        self.norm(name, gain);
    }

    fn reshape(&mut self, name: &str, shape: &[usize]) {
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let constant = TensorProto::ints(&format!("{name}.shape"), &[shape.len()], &shape);
        self.file.graph.initializer.push(constant);
        let inputs = format!("{} {name}.shape", self.value);
        self.node("Reshape", &inputs, &format!("{name}.view"), vec![]);
    }

    fn unit(&mut self, name: &str, sets: usize) {
        let x = self.value.clone();
        self.norm(&format!("{name}.prebn1"), 1.0);
        self.block(name, sets);
        let inputs = format!("{x} {}", self.value);
        self.node("Add", &inputs, &format!("{name}.sum1"), vec![]);
        let y = self.value.clone();
        self.norm(&format!("{name}.prebn2"), 1.0);
        let channels = self.channels;
        self.conv_bn(&format!("{name}.fc1"), EXPANSION * channels, POINT, 1, 1.0);
        self.gelu(&format!("{name}.gelu"));
        self.conv_bn(&format!("{name}.fc2"), channels, POINT, 1, SMALL);
        let inputs = format!("{y} {}", self.value);
        self.node("Add", &inputs, &format!("{name}.sum2"), vec![]);
    }

    /// `x / 2 * (1 + erf(x / sqrt(2)))`, as exporters without the operator write it.
    fn gelu(&mut self, name: &str) {
        let x = self.value.clone();
        for (part, value) in [("root", std::f32::consts::SQRT_2), ("one", 1.0), ("half", 0.5)] {
            self.floats(&format!("{name}.{part}"), &[], &[value]);
        }
        self.node("Div", &format!("{x} {name}.root"), &format!("{name}.scaled"), vec![]);
        self.op("Erf", &format!("{name}.erf"));
        self.node("Add", &format!("{name}.erf {name}.one"), &format!("{name}.raised"), vec![]);
        self.node("Mul", &format!("{x} {name}.raised"), &format!("{name}.doubled"), vec![]);
        self.node("Mul", &format!("{name}.doubled {name}.half"), &format!("{name}.out"), vec![]);
    }

    /// Global perceptron, dense layers over the whole map, and depthwise convolutions beside them.
    /// The map is cut into one patch and put together again: the authors' code is for any number.
    fn block(&mut self, name: &str, sets: usize) {
        let (channels, size) = (self.channels, self.size);
        let x = self.value.clone();
        let gate = self.gate(&format!("{name}.gate"));
        self.value = x;
        self.reshape(&format!("{name}.parts"), &[1, channels, 1, size, 1, size]);
        self.transpose(&format!("{name}.patches"), [0, 2, 4, 1, 3, 5]);
        let patches = self.value.clone();
        let dense = self.dense(&format!("{name}.fc3"), sets);
        self.value = patches;
        let local = self.local(&format!("{name}.local"), sets);
        self.node("Add", &format!("{dense} {local}"), &format!("{name}.parallel"), vec![]);
        self.transpose(&format!("{name}.joined"), [0, 3, 1, 4, 2, 5]);
        self.reshape(&format!("{name}.whole"), &[1, channels, size, size]);
        self.channels = channels;
        let inputs = format!("{} {gate}", self.value);
        self.node("Mul", &inputs, &format!("{name}.gated"), vec![]);
    }

    /// As many dense layers as there are sets, each from all pixels to all pixels of a channel.
    fn dense(&mut self, name: &str, sets: usize) -> String {
        let (rows, size) = (self.channels / sets, self.size);
        let values = sets * size * size;
        self.reshape(&format!("{name}.flat"), &[rows, values, 1, 1]);
        (self.channels, self.size) = (values, 1);
        self.conv(name, values, POINT, sets, false);
        self.reshape(&format!("{name}.map"), &[rows, sets, size, size]);
        (self.channels, self.size) = (sets, size);
        self.norm(name, SMALL);
        self.reshape(&format!("{name}.back"), &[rows, 1, 1, sets, size, size]);
        self.channels = rows * sets;
        self.value.clone()
    }

    /// Depthwise convolutions of the same numbers, seen as rows of `sets` channels.
    fn local(&mut self, name: &str, sets: usize) -> String {
        let (rows, size) = (self.channels / sets, self.size);
        self.reshape(&format!("{name}.maps"), &[rows, sets, size, size]);
        self.channels = sets;
        let maps = self.value.clone();
        let branches = [1, 3].map(|kernel| {
            self.value.clone_from(&maps);
            let window = Window { kernel, stride: 1, pad: kernel / 2 };
            self.conv_bn(&format!("{name}{kernel}"), sets, window, sets, SMALL);
            self.value.clone()
        });
        self.node("Add", &branches.join(" "), &format!("{name}.sum"), vec![]);
        self.reshape(&format!("{name}.back"), &[rows, 1, 1, sets, size, size]);
        self.value.clone()
    }

    fn transpose(&mut self, name: &str, perm: [i64; 6]) {
        let input = self.value.clone();
        self.node("Transpose", &input, name, vec![AttributeProto::ints("perm", perm)]);
    }

    /// Squeeze and excitation: the name of its factors.
    fn gate(&mut self, name: &str) -> String {
        let (channels, size) = (self.channels, self.size);
        self.op("GlobalAveragePool", &format!("{name}.mean"));
        self.size = 1;
        self.conv(&format!("{name}.down"), channels / REDUCTION, POINT, 1, true);
        self.op("Relu", &format!("{name}.relu"));
        self.conv(&format!("{name}.up"), channels, POINT, 1, true);
        self.op("Sigmoid", &format!("{name}.open"));
        self.size = size;
        self.value.clone()
    }

    fn head(mut self) -> OnnxFile {
        self.norm("head", 1.0);
        self.op("GlobalAveragePool", "head.average");
        self.op("Flatten", "head.flat");
        self.weights("head.w", &[CLASSES, self.channels]);
        self.vector("head.b", CLASSES, -0.1, 0.1);
        let transposed = vec![AttributeProto::int("transB", 1)];
        self.node("Gemm", "head.flat head.w head.b", "y", transposed);
        self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_give_the_parameters_and_macs_of_the_table() {
        for row in ROWS {
            let cost = row.cost();
            assert_eq!(cost.params + cost.folded, row.deploy_params, "{}", row.name);
            assert_eq!(cost.macs, row.macs, "{}", row.name);
        }
    }

    #[test]
    fn the_published_table_is_met_to_its_last_digit() {
        for row in ROWS {
            let (params, macs) = (row.deploy_params as f64 / 1e6, row.macs as f64 / 1e9);
            assert!((params - row.published_mparams).abs() < 0.1, "{}: {params}", row.name);
            assert!((macs - row.published_gmacs).abs() < 0.1, "{}: {macs}", row.name);
        }
    }
}
