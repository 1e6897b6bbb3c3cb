//! Training-time RepVGG networks of every variant, as ONNX, with random weights.
//!
//! Source: Ding et al., "RepVGG: Making VGG-style `ConvNets` Great Again", CVPR 2021. A block is
//! `relu(bn(conv3x3(x)) + bn(conv1x1(x)) + bn(x))`, the last branch only where the shape stays. Random
//! `BatchNorm` statistics would make activations explode or vanish within 28 layers, so each
//! `BatchNorm` gets the statistics of what it really sees: small random pictures go through the
//! net while it is built ([`crate::calibration`]).

use crate::calibration::{Maps, Statistics};
use crate::rng::Random;
use unbraid_converter::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

/// One member of the family, with the published counts at 1000 classes.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// As the paper names it.
    pub name: &'static str,
    /// Blocks of the stages 1 to 4; stage 0 has one block.
    pub blocks: [usize; 4],
    /// Channels of the stages 0 to 4.
    pub widths: [usize; 5],
    /// Groups of the layers 2, 4, ..., 26.
    pub groups: usize,
    /// Parameters after fusion: weights and biases of the 3x3 convolutions and the classifier.
    pub deploy_params: u64,
    /// Parameters before fusion: convolution weights, gamma and beta, the classifier.
    pub train_params: u64,
    /// Multiply-accumulates after fusion at 224 x 224, in units of 10^9 rounded to three digits.
    pub gmacs: f64,
}

const A: [usize; 4] = [2, 4, 14, 1];
const B: [usize; 4] = [4, 6, 16, 1];
const A0: [usize; 5] = [48, 48, 96, 192, 1280];
const A1: [usize; 5] = [64, 64, 128, 256, 1280];
const A2: [usize; 5] = [64, 96, 192, 384, 1408];
const B1: [usize; 5] = [64, 128, 256, 512, 2048];
const B2: [usize; 5] = [64, 160, 320, 640, 2560];
const B3: [usize; 5] = [64, 192, 384, 768, 2560];

/// Every variant of the paper's table, smallest first within a family.
#[rustfmt::skip]
pub const VARIANTS: &[Variant] = &[
    Variant { name: "A0",   blocks: A, widths: A0, groups: 1, deploy_params:   8_309_384, train_params:   9_108_968, gmacs:  1.361 },
    Variant { name: "A1",   blocks: A, widths: A1, groups: 1, deploy_params:  12_789_864, train_params:  14_092_264, gmacs:  2.364 },
    Variant { name: "A2",   blocks: A, widths: A2, groups: 1, deploy_params:  25_499_944, train_params:  28_210_600, gmacs:  5.117 },
    Variant { name: "B0",   blocks: B, widths: A1, groups: 1, deploy_params:  14_339_048, train_params:  15_817_960, gmacs:  3.058 },
    Variant { name: "B1",   blocks: B, widths: B1, groups: 1, deploy_params:  51_829_480, train_params:  57_415_016, gmacs: 11.815 },
    Variant { name: "B1g2", blocks: B, widths: B1, groups: 2, deploy_params:  41_360_104, train_params:  45_782_376, gmacs:  8.810 },
    Variant { name: "B1g4", blocks: B, widths: B1, groups: 4, deploy_params:  36_125_416, train_params:  39_966_056, gmacs:  7.307 },
    Variant { name: "B2",   blocks: B, widths: B2, groups: 1, deploy_params:  80_315_112, train_params:  89_022_376, gmacs: 18.377 },
    Variant { name: "B2g2", blocks: B, widths: B2, groups: 2, deploy_params:  63_956_712, train_params:  70_846_376, gmacs: 13.680 },
    Variant { name: "B2g4", blocks: B, widths: B2, groups: 4, deploy_params:  55_777_512, train_params:  61_758_376, gmacs: 11.332 },
    Variant { name: "B3",   blocks: B, widths: B3, groups: 1, deploy_params: 110_960_872, train_params: 123_085_288, gmacs: 26.209 },
    Variant { name: "B3g2", blocks: B, widths: B3, groups: 2, deploy_params:  87_404_776, train_params:  96_911_848, gmacs: 19.446 },
    Variant { name: "B3g4", blocks: B, widths: B3, groups: 4, deploy_params:  75_626_728, train_params:  83_825_128, gmacs: 16.064 },
];

/// One block, which becomes one 3x3 convolution.
#[derive(Clone, Debug)]
pub struct Block {
    /// `stage2.3`, as the authors' checkpoints name it.
    pub name: String,
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Stride.
    pub stride: usize,
    /// Groups.
    pub groups: usize,
}

impl Variant {
    /// The variant with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        VARIANTS.iter().find(|v| v.name == name)
    }

    /// Convolutions after fusion: 22 in the A family, 28 in the B family.
    pub fn convs(&self) -> usize {
        1 + self.blocks.iter().sum::<usize>()
    }

    /// The blocks in order.
    pub fn layers(&self) -> Vec<Block> {
        let counts = std::iter::once(1).chain(self.blocks);
        let mut layers: Vec<Block> = Vec::new();
        for (stage, (count, output)) in counts.zip(self.widths).enumerate() {
            for index in 0..count {
                let layer = layers.len();
                let grouped = (2..=26).contains(&layer) && layer.is_multiple_of(2);
                layers.push(Block {
                    name: if stage == 0 {
                        "stage0".into()
                    } else {
                        format!("stage{stage}.{index}")
                    },
                    input: layers.last().map_or(3, |b| b.output),
                    output,
                    stride: if index == 0 { 2 } else { 1 },
                    groups: if grouped { self.groups } else { 1 },
                });
            }
        }
        layers
    }
}

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

/// The network before fusion: input `input [1,3,size,size]`, output `logits [1,classes]`.
///
/// Same variant and settings, same model.
pub fn training_model(variant: &Variant, settings: Settings) -> ModelProto {
    let mut random = Random(settings.seed);
    let size = settings.size.min(CALIBRATION_SIZE);
    let maps = Maps::random(CALIBRATION_PICTURES, size, &mut random);
    let mut net = Net { random, maps, value: "input".into(), nodes: vec![], weights: vec![] };
    for block in variant.layers() {
        net.block(&block);
    }
    net.classifier(variant.widths[4], settings.classes);
    let graph = GraphProto {
        node: net.nodes,
        name: format!("RepVGG-{}", variant.name),
        initializer: net.weights,
        input: vec![ValueInfoProto::floats("input", &[1, 3, settings.size, settings.size])],
        output: vec![ValueInfoProto::floats("logits", &[1, settings.classes])],
    };
    ModelProto::new(graph, 7, 13)
}

/// A network under construction: what was emitted, and the feature maps at its end.
struct Net {
    random: Random,
    maps: Maps,
    value: String,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
}

impl Net {
    fn block(&mut self, block: &Block) {
        let name = &block.name;
        let (mut sum, mut total) = self.branch(block, "rbr_dense", 3);
        let mut others = vec![self.branch(block, "rbr_1x1", 1)];
        if block.input == block.output && block.stride == 1 {
            let (x, maps) = (self.value.clone(), self.maps.clone());
            others.push(self.norm(&format!("{name}.rbr_identity"), &x, maps));
        }
        for (index, (value, maps)) in others.into_iter().enumerate() {
            let output = format!("{name}.sum{index}");
            self.nodes.push(NodeProto::new("Add", &output, &[&sum, &value], &output));
            total.add(&maps);
            sum = output;
        }
        self.value = format!("{name}.out");
        self.nodes.push(NodeProto::new("Relu", &format!("{name}.relu"), &[&sum], &self.value));
        total.relu();
        self.maps = total;
    }

    /// Convolution without bias, then `BatchNorm`.
    fn branch(&mut self, block: &Block, branch: &str, kernel: usize) -> (String, Maps) {
        let name = format!("{}.{branch}", block.name);
        let (weight, output) = (format!("{name}.conv.weight"), format!("{name}.conv.out"));
        let shape = [block.output, block.input / block.groups, kernel, kernel];
        let fan_in = shape[1..].iter().product::<usize>();
        let std = (2.0 / fan_in as f32).sqrt();
        let values = self.random.normals(std, shape[0] * fan_in);
        let maps = self.maps.convolved(&values, shape, block.stride, block.groups);
        self.weights.push(TensorProto::floats(&weight, &shape, &values));
        let pair = |n: usize| vec![n as i64; 2];
        let conv =
            NodeProto::new("Conv", &format!("{name}.conv"), &[&self.value, &weight], &output)
                .with(AttributeProto::int("group", block.groups as i64))
                .with(AttributeProto::ints("kernel_shape", pair(kernel)))
                .with(AttributeProto::ints("pads", vec![kernel as i64 / 2; 4]))
                .with(AttributeProto::ints("strides", pair(block.stride)));
        self.nodes.push(conv);
        self.norm(&name, &output, maps)
    }

    /// `BatchNorm` with random gamma and beta and the statistics of its input.
    fn norm(&mut self, branch: &str, input: &str, mut maps: Maps) -> (String, Maps) {
        const EPS: f32 = 1e-5;
        let name = format!("{branch}.bn");
        let Statistics { mean, variance } = maps.statistics();
        let gamma = self.random.within(0.5, 1.5, mean.len());
        let beta = self.random.within(-0.5, 0.5, mean.len());
        maps.normalise(&mean, &variance, &gamma, &beta, EPS);
        let parameters =
            [("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", variance)];
        let mut inputs = vec![input.to_owned()];
        for (parameter, values) in parameters {
            let parameter = format!("{name}.{parameter}");
            self.weights.push(TensorProto::floats(&parameter, &[values.len()], &values));
            inputs.push(parameter);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let output = format!("{name}.out");
        let node = NodeProto::new("BatchNormalization", &name, &inputs, &output);
        self.nodes.push(node.with(AttributeProto::float("epsilon", EPS)));
        (output, maps)
    }

    fn classifier(&mut self, width: usize, classes: usize) {
        let weight = self.random.normals((1.0 / width as f32).sqrt(), classes * width);
        let bias = self.random.within(-0.1, 0.1, classes);
        self.weights.push(TensorProto::floats("linear.weight", &[classes, width], &weight));
        self.weights.push(TensorProto::floats("linear.bias", &[classes], &bias));
        self.nodes.extend([
            NodeProto::new("GlobalAveragePool", "gap", &[&self.value], "gap.out"),
            NodeProto::new("Flatten", "flatten", &["gap.out"], "flatten.out"),
            NodeProto::new(
                "Gemm",
                "linear",
                &["flatten.out", "linear.weight", "linear.bias"],
                "logits",
            )
            .with(AttributeProto::int("transB", 1)),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters as papers count them: not the running statistics.
    fn parameters(model: &ModelProto) -> u64 {
        let weights = &model.graph.as_ref().expect("a graph").initializer;
        let trained = weights.iter().filter(|t| !t.name.contains(".running_"));
        trained.map(|t| t.dims.iter().product::<i64>() as u64).sum()
    }

    #[test]
    fn generated_models_have_the_published_training_parameters() {
        for variant in VARIANTS {
            let settings = Settings { size: 32, ..Settings::default() };
            let model = training_model(variant, settings);
            assert_eq!(parameters(&model), variant.train_params, "{}", variant.name);
        }
    }

    #[test]
    fn layers_give_the_published_deploy_parameters_and_macs() {
        for variant in VARIANTS {
            let (mut size, mut params, mut macs) = (224, 0, 0);
            for block in variant.layers() {
                let weights = block.output * block.input / block.groups * 9;
                size /= block.stride;
                params += weights + block.output;
                macs += weights * size * size;
            }
            let classifier = variant.widths[4] * 1000;
            assert_eq!(
                (params + classifier + 1000) as u64,
                variant.deploy_params,
                "{}",
                variant.name
            );
            let gmacs = (macs + classifier) as f64 / 1e9;
            assert!((gmacs - variant.gmacs).abs() <= 0.00051, "{}: {gmacs}", variant.name);
            assert_eq!(variant.layers().len(), variant.convs());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_model() {
        let settings = Settings { size: 32, classes: 10, seed: 7 };
        let a0 = Variant::named("A0").expect("in the table");
        assert_eq!(training_model(a0, settings), training_model(a0, settings));
    }
}
