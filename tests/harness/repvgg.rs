//! Training-time RepVGG networks of every variant, and the plain RepOpt-VGGs of the same shapes, as
//! ONNX with random weights.
//!
//! Source: Ding et al., "RepVGG: Making VGG-style `ConvNets` Great Again", CVPR 2021, and
//! "Re-parameterizing Your Optimizers rather than Architectures", ICLR 2023. A block of the first is
//! `relu(bn(conv3x3(x)) + bn(conv1x1(x)) + bn(x))`, the last branch only where the shape stays; of
//! the second, `relu(bn(conv3x3(x)))`.

use crate::network::{Feature, Layer, Network, Settings, gate_cost};
use unbraid_converter::onnx::ModelProto;

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
    /// What is beside the 3x3 convolutions.
    pub extras: Extras,
    /// Parameters after fusion: weights and biases of the 3x3 convolutions, the gates and the
    /// classifier.
    pub deploy_params: u64,
    /// Parameters before fusion: convolution weights, gamma and beta, gates, the classifier;
    /// auxiliary heads are not counted.
    pub train_params: u64,
    /// Multiply-accumulates after fusion at 224 x 224, in units of 10^9 rounded to three digits.
    pub gmacs: f64,
}

/// What a block has beside its 3x3 convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extras {
    /// 1x1 and identity branches.
    Branches,
    /// Nothing: the optimiser has taken their part.
    Nothing,
    /// Branches, and squeeze and excitation to a sixteenth of the channels before the ReLU.
    GateBefore,
    /// Branches, squeeze and excitation to a quarter of the channels after the ReLU, and classifiers
    /// after the stages 1, 2 and the first half of 3, which only training needs.
    GateAfterAndHeads,
}

impl Extras {
    /// Channels of a gate for each that its squeezed vector has.
    fn reduction(self) -> Option<usize> {
        match self {
            Self::Branches | Self::Nothing => None,
            Self::GateBefore => Some(16),
            Self::GateAfterAndHeads => Some(4),
        }
    }
}

const A: [usize; 4] = [2, 4, 14, 1];
const B: [usize; 4] = [4, 6, 16, 1];
const D: [usize; 4] = [8, 14, 24, 1];
const A0: [usize; 5] = [48, 48, 96, 192, 1280];
const A1: [usize; 5] = [64, 64, 128, 256, 1280];
const A2: [usize; 5] = [64, 96, 192, 384, 1408];
const B1: [usize; 5] = [64, 128, 256, 512, 2048];
const B2: [usize; 5] = [64, 160, 320, 640, 2560];
const B3: [usize; 5] = [64, 192, 384, 768, 2560];

use Extras::{Branches, GateAfterAndHeads, GateBefore, Nothing};

/// Every variant of the papers' tables, smallest first within a family.
#[rustfmt::skip]
pub const VARIANTS: &[Variant] = &[
    Variant { name: "A0",   extras: Branches, blocks: A, widths: A0, groups: 1, deploy_params:   8_309_384, train_params:   9_108_968, gmacs:  1.361 },
    Variant { name: "A1",   extras: Branches, blocks: A, widths: A1, groups: 1, deploy_params:  12_789_864, train_params:  14_092_264, gmacs:  2.364 },
    Variant { name: "A2",   extras: Branches, blocks: A, widths: A2, groups: 1, deploy_params:  25_499_944, train_params:  28_210_600, gmacs:  5.117 },
    Variant { name: "B0",   extras: Branches, blocks: B, widths: A1, groups: 1, deploy_params:  14_339_048, train_params:  15_817_960, gmacs:  3.058 },
    Variant { name: "B1",   extras: Branches, blocks: B, widths: B1, groups: 1, deploy_params:  51_829_480, train_params:  57_415_016, gmacs: 11.815 },
    Variant { name: "B1g2", extras: Branches, blocks: B, widths: B1, groups: 2, deploy_params:  41_360_104, train_params:  45_782_376, gmacs:  8.810 },
    Variant { name: "B1g4", extras: Branches, blocks: B, widths: B1, groups: 4, deploy_params:  36_125_416, train_params:  39_966_056, gmacs:  7.307 },
    Variant { name: "B2",   extras: Branches, blocks: B, widths: B2, groups: 1, deploy_params:  80_315_112, train_params:  89_022_376, gmacs: 18.377 },
    Variant { name: "B2g2", extras: Branches, blocks: B, widths: B2, groups: 2, deploy_params:  63_956_712, train_params:  70_846_376, gmacs: 13.680 },
    Variant { name: "B2g4", extras: Branches, blocks: B, widths: B2, groups: 4, deploy_params:  55_777_512, train_params:  61_758_376, gmacs: 11.332 },
    Variant { name: "B3",   extras: Branches, blocks: B, widths: B3, groups: 1, deploy_params: 110_960_872, train_params: 123_085_288, gmacs: 26.209 },
    Variant { name: "B3g2", extras: Branches, blocks: B, widths: B3, groups: 2, deploy_params:  87_404_776, train_params:  96_911_848, gmacs: 19.446 },
    Variant { name: "B3g4", extras: Branches, blocks: B, widths: B3, groups: 4, deploy_params:  75_626_728, train_params:  83_825_128, gmacs: 16.064 },
    Variant { name: "D2se", extras: GateBefore, blocks: D, widths: B2, groups: 1, deploy_params: 120_387_572, train_params: 133_334_836, gmacs: 32.830 },
    Variant { name: "plus-L2pse", extras: GateAfterAndHeads, blocks: D, widths: B2, groups: 1, deploy_params: 127_151_960, train_params: 140_099_224, gmacs: 32.836 },
    Variant { name: "RepOpt-B1", extras: Nothing, blocks: B, widths: B1, groups: 1, deploy_params:  51_829_480, train_params:  51_841_832, gmacs: 11.815 },
    Variant { name: "RepOpt-B2", extras: Nothing, blocks: B, widths: B2, groups: 1, deploy_params:  80_315_112, train_params:  80_330_536, gmacs: 18.377 },
    Variant { name: "RepOpt-L1", extras: Nothing, blocks: D, widths: B1, groups: 1, deploy_params:  76_018_920, train_params:  76_037_928, gmacs: 21.064 },
    Variant { name: "RepOpt-L2", extras: Nothing, blocks: D, widths: B2, groups: 1, deploy_params: 118_109_032, train_params: 118_132_776, gmacs: 32.827 },
];

/// One block, which becomes one 3x3 convolution.
#[derive(Clone, Debug)]
pub struct Block {
    /// `stage2.3`, as the authors' checkpoints name it.
    pub name: String,
    /// Its 3x3 convolution.
    pub layer: Layer,
}

impl Variant {
    /// The variant with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        VARIANTS.iter().find(|v| v.name == name)
    }

    /// Blocks, each of which becomes one convolution: 22 in the A family, 28 in the B family, 48 in D.
    pub fn convs(&self) -> usize {
        1 + self.blocks.iter().sum::<usize>()
    }

    /// The blocks in order.
    pub fn layers(&self) -> Vec<Block> {
        let counts = std::iter::once(1).chain(self.blocks);
        let mut layers: Vec<Block> = Vec::new();
        for (stage, (count, output)) in counts.zip(self.widths).enumerate() {
            for index in 0..count {
                let at = layers.len();
                let grouped = (2..=26).contains(&at) && at.is_multiple_of(2);
                let layer = Layer {
                    input: layers.last().map_or(3, |b| b.layer.output),
                    output,
                    kernel: 3,
                    stride: if index == 0 { 2 } else { 1 },
                    groups: if grouped { self.groups } else { 1 },
                };
                let stage0 = || "stage0".to_owned();
                let name = if stage == 0 { stage0() } else { format!("stage{stage}.{index}") };
                layers.push(Block { name, layer });
            }
        }
        layers
    }

    /// Multiply-accumulates after fusion of a square picture.
    pub fn macs(&self, mut size: usize, classes: usize) -> u64 {
        let mut macs = self.widths[4] * classes;
        for Block { layer, .. } in self.layers() {
            size = size.div_ceil(layer.stride);
            macs += layer.weights() * size * size;
            macs += self.extras.reduction().map_or(0, |r| gate_cost(layer.output, r).1);
        }
        macs as u64
    }

    /// Where a classifier for training is, and its name.
    fn head(&self, block: &str) -> Option<String> {
        let half = format!("stage3.{}", self.blocks[2] / 2 - 1);
        let ends = [1, 2].map(|stage| format!("stage{stage}.{}", self.blocks[stage - 1] - 1));
        let names = ["stage1_aux", "stage2_aux", "stage3_first_aux"];
        let heads = self.extras == GateAfterAndHeads;
        let mut places = ends.iter().chain([&half]).zip(names).filter(|_| heads);
        places.find(|(end, _)| *end == block).map(|(_, name)| name.to_owned())
    }
}

/// The network before fusion: input `input [1,3,size,size]`, output `logits [1,classes]`, and further
/// outputs if it has classifiers that only training needs.
///
/// Same variant and settings, same model.
pub fn training_model(variant: &Variant, settings: Settings) -> ModelProto {
    let (mut net, mut x) = Network::new(settings);
    for Block { name, layer } in variant.layers() {
        x = block(&mut net, &name, x, layer, variant.extras);
        if let Some(head) = variant.head(&name) {
            auxiliary(&mut net, &head, &x, layer.output);
        }
    }
    net.classifier("", &x, "logits");
    net.finish(format!("RepVGG-{}", variant.name))
}

fn block(net: &mut Network, name: &str, x: Feature, layer: Layer, extras: Extras) -> Feature {
    let dense = net.branch(&format!("{name}.rbr_dense"), &x, layer);
    let mut others = vec![];
    if extras != Nothing {
        others.push(net.branch(&format!("{name}.rbr_1x1"), &x, layer.sized(1)));
        if layer.keeps_shape() {
            others.push(net.norm(&format!("{name}.rbr_identity"), &x));
        }
    }
    let sum = net.sum(name, dense, others);
    match (extras, extras.reduction()) {
        (GateBefore, Some(reduction)) => {
            let gated = net.gate(&format!("{name}.se"), sum, reduction);
            net.relu(name, gated)
        }
        (GateAfterAndHeads, Some(reduction)) => {
            let positive = net.relu(name, sum);
            net.gate(&format!("{name}.post_se"), positive, reduction)
        }
        _ => net.relu(name, sum),
    }
}

/// A convolution that halves the picture, and a classifier.
fn auxiliary(net: &mut Network, name: &str, x: &Feature, channels: usize) {
    let layer = Layer { input: channels, output: channels, kernel: 3, stride: 2, groups: 1 };
    let y = net.branch(name, x, layer);
    let y = net.relu(name, y);
    net.classifier(&format!("{name}."), &y, name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::parameters;

    #[test]
    fn generated_models_have_the_published_training_parameters() {
        for variant in VARIANTS {
            let settings = Settings { size: 32, ..Settings::default() };
            let mut model = training_model(variant, settings);
            let graph = model.graph.as_mut().expect("a graph");
            graph.initializer.retain(|tensor| !tensor.name.contains("_aux."));
            assert_eq!(parameters(&model), variant.train_params, "{}", variant.name);
        }
    }

    #[test]
    fn layers_give_the_published_deploy_parameters_and_macs() {
        for variant in VARIANTS {
            let mut params = variant.widths[4] * 1000 + 1000;
            for Block { layer, .. } in variant.layers() {
                params += layer.weights() + layer.output;
                let gate = variant.extras.reduction().map(|r| gate_cost(layer.output, r));
                params += gate.map_or(0, |(params, _)| params);
            }
            assert_eq!(params as u64, variant.deploy_params, "{}", variant.name);
            let gmacs = variant.macs(224, 1000) as f64 / 1e9;
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
