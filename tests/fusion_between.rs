//! Branches of several layers whose padding lies between them: with what the layers before make of
//! zero, as the papers say, or with zero, as implementations that forget it do.

use unbraid_converter::fuse::{FuseMode, Region, fuse};
use unbraid_converter::graph::{Conv, Graph, Hw, Op, Pad, ValueId};
use unbraid_tests::graphs::{Builder, Layer, difference, square};

/// What a layer's results are padded with before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// What the layer makes of zero: it reads a picture that is padded already.
    Bias,
    /// Zero.
    Zero,
}

/// The one convolution that a graph becomes, and its region; the function is kept, the region proved.
fn merged(graph: &Graph) -> (Conv, Region) {
    let result = fuse(graph.clone(), FuseMode::Free, &mut |_| {});
    let error = difference(graph, &result.graph);
    assert!(error < 3e-6, "fusion changed the function by {error:e}: {:#?}", result.regions);
    let [region] = &result.regions[..] else { panic!("{:#?}", result.refused) };
    let exact = region.certificate.exact;
    assert!(exact.interior <= 1e-12 && exact.border <= 1e-12, "{region:?}");
    let [node] = &result.graph.nodes[..] else { panic!("{:#?}", result.refused) };
    let Op::Conv(conv) = &node.op else { panic!("{node:?}") };
    (conv.clone(), region.clone())
}

/// A 1x1 convolution with BatchNorm and the padding behind it, and what the next layer has to pad.
fn point(
    net: &mut Builder,
    x: ValueId,
    layer: Layer,
    pad: u32,
    between: Between,
) -> (ValueId, u32) {
    match between {
        Between::Bias => {
            let padded = net.pad(x, pad, 0.0);
            (net.conv_bn(padded, layer), 0)
        }
        Between::Zero => (net.conv_bn(x, layer), pad),
    }
}

/// 3x3 beside 1x1 → BatchNorm → 3x3 → BatchNorm.
fn two_branches(between: Between, size: [usize; 2]) -> Graph {
    let (mut net, x) = Builder::new(4, 6, size);
    let main = net.conv_bn(x, Layer::of(6, 3, 1, 1));
    let (mid, pad) = point(&mut net, x, Layer::of(6, 1, 1, 1), 1, between);
    let side = net.conv_bn(mid, Layer::of(6, 3, 1, 1).padded(pad));
    let y = net.add(main, side);
    net.finish(&[y])
}

#[test]
fn a_1x1_that_sees_the_padding_merges_into_the_next_3x3() {
    for size in [[7, 7], [8, 6]] {
        let (conv, _) = merged(&two_branches(Between::Bias, size));
        assert_eq!((conv.window, conv.border.is_some()), (square(3, 1, 1), false));
    }
}

#[test]
fn a_biased_1x1_before_zero_padding_is_exact_on_every_border_pixel() {
    for size in [[7, 7], [8, 6], [2, 9], [1, 1], [1, 2]] {
        let (conv, region) = merged(&two_branches(Between::Zero, size));
        assert_eq!((conv.window, conv.border.is_some()), (square(3, 1, 1), true));
        let classes = |n: usize| if n == 1 { 2 } else { 3 };
        assert_eq!(region.bias_vectors, classes(size[0]) * classes(size[1]), "{size:?}");
    }
}

/// Every transformation of the Diverse Branch Block (Ding et al., CVPR 2021) on one picture: `layer`
/// and a 1x1 with their BatchNorm, a 1x1 before a layer of the same kernel, an average behind a 1x1,
/// strips of several scales, two layers side by side, and the sum of all. `wide`: channels between for
/// each that is read.
fn diverse(layer: Layer, wide: usize, between: Between) -> Graph {
    const CHANNELS: usize = 4;
    let (mut net, x) = Builder::new(5, CHANNELS, [11, 10]);
    let Layer { outputs, window, groups, .. } = layer;
    let (k, stride) = (window.kernel.h, window.stride.h);
    let main = net.conv_bn(x, layer);
    let dot = net.conv_bn(x, Layer::of(outputs, 1, stride, groups));
    let (mid, pad) = point(&mut net, x, Layer::of(CHANNELS * wide, 1, 1, groups), k / 2, between);
    let sequence = net.conv_bn(mid, layer.padded(pad));
    let (mid, pad) = point(&mut net, x, Layer::of(outputs, 1, 1, groups), k / 2, between);
    let average = net.average(mid, square(k, stride, pad), true);
    let average = net.batch_norm(average);
    let strips = [(k, 1), (1, k)].map(|(h, w)| {
        let mut strip = layer;
        strip.window.kernel = Hw { h, w };
        strip.window.pad = Pad { top: h / 2, bottom: h / 2, left: w / 2, right: w / 2 };
        net.conv_bn(x, strip)
    });
    let mut branches = vec![main, dot, sequence, average, strips[0], strips[1]];
    if groups == 1 {
        let halves = [0, 1].map(|_| net.conv_bn(x, Layer { outputs: outputs / 2, ..layer }));
        branches.push(net.concat(&halves));
    }
    let y = net.sum(&branches);
    net.finish(&[y])
}

#[test]
fn diverse_branches_of_every_kernel_stride_and_grouping_merge_up_to_the_border() {
    for between in [Between::Bias, Between::Zero] {
        for (k, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            // Depthwise ones have twice as many channels between.
            for (groups, wide) in [(1, 1), (2, 1), (4, 2)] {
                let layer = Layer::of(if groups == 4 { 4 } else { 8 }, k, stride, groups);
                let (conv, region) = merged(&diverse(layer, wide, between));
                let case = format!("{between:?} {k} {stride} {groups}");
                assert_eq!((conv.window, conv.groups), (layer.window, groups), "{case}");
                assert_eq!(conv.border.is_some(), between == Between::Zero, "{case}");
                assert_eq!(region.bias_vectors == 1, between == Between::Bias, "{case}");
            }
        }
    }
}
