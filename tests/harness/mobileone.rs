//! Training-time `MobileOne` networks of every size, as ONNX with random weights.
//!
//! Source: Vasu et al., "`MobileOne`: An Improved One millisecond Mobile Backbone", CVPR 2023. A
//! depthwise 3x3 and a pointwise convolution take turns; each is the sum of several `conv-bn`s, of a
//! 1x1 one if it is a 3x3, and of a bare `BatchNorm` where the shape stays.

use crate::network::{Feature, Layer, Network, Settings, gate_cost};
use unbraid_converter::onnx::ModelProto;

/// One size, with the counts after fusion at 1000 classes.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// As the paper names it.
    pub name: &'static str,
    /// Channels of the stem and of the stages 1 to 4.
    pub widths: [usize; 5],
    /// Equal branches of a block.
    pub branches: usize,
    /// Whether the last five pairs of stage 3, and stage 4, have squeeze and excitation.
    pub gated: bool,
    /// Parameters after fusion.
    pub deploy_params: u64,
    /// Multiply-accumulates after fusion at 224 x 224, gates not counted, in units of 10^6.
    pub mmacs: u64,
}

/// Every size of the paper's table.
#[rustfmt::skip]
pub const SIZES: &[Size] = &[
    Size { name: "S0", widths: [48, 48, 128, 256, 1024],  branches: 4, gated: false, deploy_params:  2_078_504, mmacs:  275 },
    Size { name: "S1", widths: [64, 96, 192, 512, 1280],  branches: 1, gated: false, deploy_params:  4_764_840, mmacs:  825 },
    Size { name: "S2", widths: [64, 96, 256, 640, 2048],  branches: 1, gated: false, deploy_params:  7_808_168, mmacs: 1298 },
    Size { name: "S3", widths: [64, 128, 320, 768, 2048], branches: 1, gated: false, deploy_params: 10_078_312, mmacs: 1896 },
    Size { name: "S4", widths: [64, 192, 448, 896, 2048], branches: 1, gated: true,  deploy_params: 14_838_352, mmacs: 2978 },
];

/// Pairs of a depthwise and a pointwise block in the stages 1 to 4.
const PAIRS: [usize; 4] = [2, 8, 10, 1];
/// Channels that a gate squeezes into one.
const REDUCTION: usize = 16;

/// One block, which becomes one convolution.
#[derive(Clone, Debug)]
pub struct Block {
    /// `stage2.3.dw` or `stage2.3.pw`.
    pub name: String,
    /// Its convolution.
    pub layer: Layer,
    /// Whether squeeze and excitation follow it.
    pub gated: bool,
}

impl Size {
    /// The blocks in order.
    pub fn layers(&self) -> Vec<Block> {
        let mut input = self.widths[0];
        let stem = Layer { input: 3, output: input, kernel: 3, stride: 2, groups: 1 };
        let mut layers = vec![Block { name: "stage0".into(), layer: stem, gated: false }];
        for (stage, (count, output)) in (1..).zip(PAIRS.into_iter().zip(self.widths.split_at(1).1))
        {
            for index in 0..count {
                let stride = if index == 0 { 2 } else { 1 };
                let gated = self.gated && (stage == 4 || (stage == 3 && index >= count - 5));
                let dw = Layer { input, output: input, kernel: 3, stride, groups: input };
                let pw = Layer { input, output: *output, kernel: 1, stride: 1, groups: 1 };
                for (half, layer) in [("dw", dw), ("pw", pw)] {
                    layers.push(Block {
                        name: format!("stage{stage}.{index}.{half}"),
                        layer,
                        gated,
                    });
                }
                input = *output;
            }
        }
        layers
    }

    /// Convolutions after fusion, those of gates included.
    pub fn convs(&self) -> usize {
        self.layers().iter().map(|block| if block.gated { 3 } else { 1 }).sum()
    }

    /// What it costs after fusion on a square picture.
    pub fn cost(&self, mut size: usize, classes: usize) -> Cost {
        let classifier = self.widths[4] * classes;
        let mut cost = Cost { params: classifier + classes, macs: classifier, gate_macs: 0 };
        for Block { layer, gated, .. } in self.layers() {
            size = size.div_ceil(layer.stride);
            let gate = if gated { gate_cost(layer.output, REDUCTION) } else { (0, 0) };
            cost.params += layer.weights() + layer.output + gate.0;
            cost.macs += layer.weights() * size * size;
            cost.gate_macs += gate.1;
        }
        cost
    }
}

/// What a network costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Weights and biases.
    pub params: usize,
    /// Multiply-accumulates outside gates.
    pub macs: usize,
    /// Multiply-accumulates of gates.
    pub gate_macs: usize,
}

/// The network before fusion: input `input [1,3,size,size]`, output `logits [1,classes]`.
pub fn training_model(size: &Size, settings: Settings) -> ModelProto {
    let (mut net, mut x) = Network::new(settings);
    for part in size.layers() {
        x = block(&mut net, &part, &x, size.branches);
    }
    net.classifier("", &x, "logits");
    net.finish(format!("MobileOne-{}", size.name))
}

fn block(net: &mut Network, block: &Block, x: &Feature, branches: usize) -> Feature {
    let Block { name, layer, gated } = block;
    let mut branch = |index| net.branch(&format!("{name}.rbr_conv.{index}"), x, *layer);
    let (first, mut others) = (branch(0), (1..branches).map(branch).collect::<Vec<_>>());
    if layer.kernel > 1 {
        others.push(net.branch(&format!("{name}.rbr_scale"), x, layer.sized(1)));
    }
    if layer.keeps_shape() {
        others.push(net.norm(&format!("{name}.rbr_skip"), x));
    }
    let mut sum = net.sum(name, first, others);
    if *gated {
        sum = net.gate(&format!("{name}.se"), sum, REDUCTION);
    }
    net.relu(name, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_give_the_published_parameters_and_macs() {
        for size in SIZES {
            let cost = size.cost(224, 1000);
            assert_eq!(cost.params as u64, size.deploy_params, "{}", size.name);
            assert_eq!((cost.macs as u64 + 500_000) / 1_000_000, size.mmacs, "{}", size.name);
        }
    }
}
