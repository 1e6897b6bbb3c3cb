//! ResNet-50 as `ResRep` leaves it: after every convolution that is pruned a compactor, a 1x1
//! convolution whose rows are zero for the channels that go.
//!
//! Sources: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (stride in the
//! 3x3, as torchvision has it); Ding et al., "`ResRep`: Lossless CNN Pruning via Decoupling Remembering
//! and Forgetting", ICCV 2021, whose log gives the widths.

use crate::dead::scale_rows;
use crate::graphs::{Builder, Layer, square};
use unbraid_converter::graph::{Graph, Op, ValueId};

/// For each stage and block the channels that are left after its 1x1 and its 3x3 convolution.
pub const WIDTHS: [&[[usize; 2]]; 4] = [
    &[[22, 22], [23, 36], [1, 1]],
    &[[62, 97], [16, 49], [38, 68], [41, 92]],
    &[[189, 204], [69, 145], [65, 139], [64, 94], [67, 89], [86, 95]],
    &[[473, 488], [171, 281], [511, 512]],
];

/// The network for pictures of `size` x `size`, with random weights, before fusion and pruning.
pub fn resrep50(size: usize) -> Graph {
    let (mut net, x) = Builder::new(50, 3, [size, size]);
    let stem = net.conv_bn(x, Layer::of(64, 7, 2, 1));
    let stem = net.relu(stem);
    let half = net.graph.shape(stem)[2].div_ceil(2);
    let mut x = net.node(Op::MaxPool(square(3, 2, 1)), vec![stem], &[1, 64, half, half]);
    for (stage, blocks) in WIDTHS.iter().enumerate() {
        for (block, kept) in blocks.iter().enumerate() {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = bottleneck(&mut net, x, 64 << stage, stride, *kept);
        }
    }
    let channels = net.channels(x);
    let mean = net.node(Op::GlobalAveragePool, vec![x], &[1, channels, 1, 1]);
    let vector = net.node(Op::Reshape, vec![mean], &[1, channels]);
    let logits = net.linear(vector, 1000);
    net.finish(&[logits])
}

/// 1x1, 3x3, 1x1 beside the identity or, where the shape changes, a 1x1 projection.
fn bottleneck(
    net: &mut Builder,
    x: ValueId,
    width: usize,
    stride: u32,
    kept: [usize; 2],
) -> ValueId {
    let reduced = compacted(net, x, Layer::of(width, 1, 1, 1), kept[0]);
    let spread = compacted(net, reduced, Layer::of(width, 3, stride, 1), kept[1]);
    let expanded = net.conv_bn(spread, Layer::of(4 * width, 1, 1, 1));
    let shortcut = if net.channels(x) == 4 * width {
        x
    } else {
        net.conv_bn(x, Layer::of(4 * width, 1, stride, 1))
    };
    let sum = net.add(expanded, shortcut);
    net.relu(sum)
}

/// A convolution, its BatchNorm, its compactor with `kept` rows that are not zero, and a ReLU.
fn compacted(net: &mut Builder, x: ValueId, layer: Layer, kept: usize) -> ValueId {
    let normalised = net.conv_bn(x, layer);
    let compacted = net.conv(normalised, Layer::of(layer.outputs, 1, 1, 1));
    // Spread over all rows: row r is left where r * kept / rows steps.
    let step = |row: usize| row * kept / layer.outputs;
    let zero: Vec<usize> = (0..layer.outputs).filter(|&row| step(row) == step(row + 1)).collect();
    scale_rows(&mut net.graph, compacted, &zero, 0.0);
    net.relu(compacted)
}
