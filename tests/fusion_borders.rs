//! Where branches read different parts of a picture: crops, and paddings that repeat its pixels.

use unbraid_converter::fuse::{FuseMode, Fused, fuse};
use unbraid_converter::graph::{Graph, Hw, Op, Pad, ValueId};
use unbraid_tests::graphs::{Builder, Layer, difference};

/// Fuses, and checks that the function is kept and every region proved.
fn fused(graph: &Graph) -> Fused {
    let fused = fuse(graph.clone(), FuseMode::Free, &mut |_| {});
    let error = difference(graph, &fused.graph);
    assert!(error < 3e-6, "fusion changed the function by {error:e}: {:#?}", fused.regions);
    for region in &fused.regions {
        assert!(region.certificate.exact.worst() <= 1e-9, "{region:?}");
    }
    fused
}

/// Operations that are left, in order: `conv3x3s2p1` for convolutions, else the field's name.
fn ops(graph: &Graph) -> Vec<String> {
    let describe = |op: &Op| match op {
        Op::Conv(conv) => {
            let (k, s, p) = (conv.window.kernel, conv.window.stride.h, conv.window.pad.top);
            format!("conv{}x{}s{s}p{p}", k.h, k.w)
        }
        other => other.name().to_string(),
    };
    graph.nodes.iter().map(|node| describe(&node.op)).collect()
}

/// A branch of `k x 1` or `1 x k` taps beside a `k x k` window with padding `p`. Where the window
/// keeps to the picture more than the branch has to, the branch reads a cropped picture.
fn strip(net: &mut Builder, x: ValueId, square: Layer, vertical: bool) -> ValueId {
    let (k, p) = (square.window.kernel.h, square.window.pad.top);
    let (across, crop) = (p.saturating_sub(k / 2), (k / 2).saturating_sub(p) as usize);
    let mut layer = square;
    let x = if vertical {
        layer.window.kernel = Hw { h: k, w: 1 };
        layer.window.pad = Pad { top: p, left: across, bottom: p, right: across };
        if crop > 0 { net.crop(x, 0, crop) } else { x }
    } else {
        layer.window.kernel = Hw { h: 1, w: k };
        layer.window.pad = Pad { top: across, left: p, bottom: across, right: p };
        if crop > 0 { net.crop(x, crop, 0) } else { x }
    };
    net.conv_bn(x, layer)
}

#[test]
fn asymmetric_branches_merge_at_every_padding_cropped_inputs_included() {
    let grid = [(3, 1), (3, 0), (5, 1), (5, 2), (5, 3), (5, 4), (5, 6)];
    for (seed, (k, p)) in grid.into_iter().enumerate() {
        for stride in [1, 2] {
            for groups in [1, 2] {
                let (mut net, x) = Builder::new(seed as u64, 4, [11, 12]);
                let square = Layer::of(6, k, stride, groups).padded(p);
                let branches = [
                    net.conv_bn(x, square),
                    strip(&mut net, x, square, true),
                    strip(&mut net, x, square, false),
                ];
                let y = net.sum(&branches);
                let result = fused(&net.finish(&[y]));
                let expected = format!("conv{k}x{k}s{stride}p{p}");
                assert_eq!(ops(&result.graph), [expected], "{k} {p}: {:?}", result.refused);
            }
        }
    }
}

#[test]
fn a_crop_behind_a_padded_convolution_takes_its_padding_away() {
    let (mut net, x) = Builder::new(1, 3, [9, 8]);
    let y = net.conv_bn(x, Layer::of(3, 3, 1, 1));
    let y = net.crop(y, 1, 1);
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["conv3x3s1p0"]);
}

#[test]
fn a_crop_before_a_padded_convolution_stays() {
    let (mut net, x) = Builder::new(2, 3, [9, 8]);
    let cropped = net.crop(x, 1, 1);
    let y = net.conv_bn(cropped, Layer::of(3, 3, 1, 1));
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["Slice", "conv3x3s1p1"]);
}

#[test]
fn channels_that_nobody_takes_are_not_computed() {
    let (mut net, x) = Builder::new(3, 3, [6, 6]);
    let y = net.conv_bn(x, Layer::of(8, 3, 1, 1));
    let y = net.channels_from(y, 2, 4);
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["conv3x3s1p1"]);
    assert_eq!(result.graph.shape(result.graph.nodes[0].inputs[1])[0], 4);
}
