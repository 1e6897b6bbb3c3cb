//! Where branches read different parts of a picture: crops, and paddings that repeat its pixels.

use unbraid_converter::fuse::{FuseMode, Fused, fuse};
use unbraid_converter::graph::{Graph, Hw, Op, Pad, PadMode, ValueId};
use unbraid_tests::graphs::{Builder, Layer, difference, square};

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

/// A RepVGG block whose 3x3 reads a padded picture and whose other branches read the picture.
fn padded_repvgg(
    net: &mut Builder,
    x: ValueId,
    outputs: usize,
    stride: u32,
    mode: PadMode,
) -> ValueId {
    let mut point = Layer::of(outputs, 1, stride, 1);
    let mut branches = vec![net.conv_bn(x, point)];
    let padded = net.pad_mode(x, 1, mode);
    point.window = square(3, stride, 0);
    branches.push(net.conv_bn(padded, point));
    if stride == 1 && outputs == net.channels(x) {
        branches.push(net.batch_norm(x));
    }
    net.sum(&branches)
}

#[test]
fn branches_beside_a_repeating_padding_merge_into_the_convolution_behind_it() {
    for mode in [PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        for (outputs, stride) in [(4, 1), (6, 1), (4, 2)] {
            let (mut net, x) = Builder::new(4, 4, [8, 9]);
            let x = net.relu(x);
            let y = padded_repvgg(&mut net, x, outputs, stride, mode);
            let y = net.relu(y);
            let y = padded_repvgg(&mut net, y, 4, 1, mode);
            let result = fused(&net.finish(&[y]));
            let first = format!("conv3x3s{stride}p0");
            assert_eq!(ops(&result.graph), ["Relu", "Pad", &first, "Pad", "conv3x3s1p0"]);
            let model = |name: &String| !name.contains("centre");
            assert!(result.regions.iter().all(|region| region.nodes.iter().all(model)));
            assert!(result.refused.is_empty(), "{:?}", result.refused);
        }
    }
}

/// Rows or columns of a picture.
fn strip_of(net: &mut Builder, x: ValueId, axis: usize, from: usize, len: usize) -> ValueId {
    let mut shape = net.graph.shape(x).to_vec();
    shape[axis] = len;
    let mut starts = vec![0; 4];
    starts[axis] = from;
    net.node(Op::Slice { starts, steps: vec![1; 4] }, vec![x], &shape)
}

/// One row or column of a picture, the picture, and its first ones, in this order.
fn continued(net: &mut Builder, x: ValueId, axis: usize, from: usize, first: usize) -> ValueId {
    let mut shape = net.graph.shape(x).to_vec();
    let before = strip_of(net, x, axis, from, 1);
    let after = strip_of(net, x, axis, 0, first);
    shape[axis] += 1 + first;
    net.node(Op::Concat { axis }, vec![before, x, after], &shape)
}

#[test]
fn a_picture_between_its_own_last_and_first_rows_is_padded_and_between_others_is_not() {
    let padded = ["Relu", "Pad", "conv3x3s1p0"].as_slice();
    let joined = ["Relu", "Slice", "Slice", "Concat", "Pad", "conv3x3s1p0", "conv1x1s1p0", "Add"];
    for (from, expected) in [(7, padded), (6, &joined)] {
        let (mut net, x) = Builder::new(8, 4, [8, 9]);
        let x = net.relu(x);
        let rows = continued(&mut net, x, 2, from, 1);
        let both = continued(&mut net, rows, 3, 8, 1);
        let dense = net.conv_bn(both, Layer::of(4, 3, 1, 1).padded(0));
        let point = net.conv_bn(x, Layer::of(4, 1, 1, 1));
        let y = net.add(dense, point);
        let result = fused(&net.finish(&[y]));
        assert_eq!(ops(&result.graph), expected);
    }
}

#[test]
fn rows_may_wrap_further_on_one_side_and_on_one_axis_alone() {
    for (axis, first, expected) in [(2, 3, [1, 0, 3, 0]), (3, 1, [0, 1, 0, 1])] {
        let (mut net, x) = Builder::new(9, 2, [6, 6]);
        let y = continued(&mut net, x, axis, 5, first);
        let result = fused(&net.finish(&[y]));
        let [top, left, bottom, right] = expected;
        let pad = Pad { top, left, bottom, right };
        let [node] = &result.graph.nodes[..] else { panic!("{:?}", ops(&result.graph)) };
        assert_eq!(node.op, Op::Pad { pad, mode: PadMode::Wrap });
    }
}

#[test]
fn what_does_not_merge_across_a_repeating_padding_reads_the_picture_again() {
    let (mut net, x) = Builder::new(5, 4, [8, 9]);
    let x = net.relu(x);
    let wide = net.conv_bn(x, Layer::of(4, 3, 1, 1));
    let padded = net.pad_mode(x, 1, PadMode::Reflect);
    let narrow = net.conv_bn(padded, Layer::of(4, 3, 1, 1).padded(0));
    let y = net.add(wide, narrow);
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["Relu", "Pad", "conv3x3s1p1", "conv3x3s1p0", "Add"]);
    assert!(result.refused.is_empty(), "{:?}", result.refused);
}

/// A biased 1x1 whose results are padded with `pad` before a 3x3 without padding.
fn bias_padded(pad: impl Fn(f32) -> f32) -> Graph {
    let (mut net, x) = Builder::new(6, 3, [8, 8]);
    let y = net.conv(x, Layer::of(1, 1, 1, 1).biased());
    let bias = net.graph.nodes.last().expect("a convolution").inputs[2];
    let bias = net.graph.constant_f32(bias).expect("a bias")[0];
    let y = net.pad(y, 1, pad(bias));
    let y = net.conv(y, Layer::of(4, 3, 1, 1).padded(0).biased());
    let wide = net.conv_bn(x, Layer::of(4, 3, 1, 1));
    let y = net.add(y, wide);
    net.finish(&[y])
}

#[test]
fn rounding_of_the_value_that_a_bias_is_padded_with_makes_no_border_classes() {
    let classes = |graph: &Graph| fused(graph).regions[0].bias_vectors;
    assert_eq!(classes(&bias_padded(|bias| bias)), 1);
    assert_eq!(classes(&bias_padded(f32::next_up)), 1);
    assert_eq!(classes(&bias_padded(|bias| bias * 1.0001)), 9);
}

#[test]
fn a_crop_that_takes_a_padding_away_leaves_no_border() {
    let (mut net, x) = Builder::new(7, 3, [8, 7]);
    let padded = net.pad(x, 1, 0.75);
    let same = net.crop(padded, 1, 1);
    let scaled = net.batch_norm(same);
    let y = net.conv_bn(scaled, Layer::of(4, 3, 1, 1));
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["conv3x3s1p1"]);
    assert_eq!(result.regions[0].bias_vectors, 9, "of the shift before the convolution");
}

/// `YOLOv5`'s Focus: every second pixel four times, on channels.
fn focus(net: &mut Builder, x: ValueId) -> ValueId {
    let [_, c, h, w] = net.graph.shape(x)[..] else { panic!("a picture") };
    let mut part = |row, column| {
        let slice = Op::Slice { starts: vec![0, 0, row, column], steps: vec![1, 1, 2, 2] };
        net.node(slice, vec![x], &[1, c, h / 2, w / 2])
    };
    let parts = [part(0, 0), part(1, 0), part(0, 1), part(1, 1)];
    net.concat(&parts)
}

#[test]
fn pixels_gathered_into_channels_are_read_by_a_window_that_steps() {
    for sliced in [true, false] {
        let (mut net, x) = Builder::new(20, 3, [10, 12]);
        let gather = Op::SpaceToDepth { block: 2 };
        let y = if sliced { focus(&mut net, x) } else { net.node(gather, vec![x], &[1, 12, 5, 6]) };
        let y = net.conv_bn(y, Layer::of(8, 3, 1, 1));
        assert_eq!(ops(&fused(&net.finish(&[y])).graph), ["conv6x6s2p2"]);
    }
}

#[test]
fn padding_joins_a_window_that_reads_nothing_of_the_picture_beyond_its_results() {
    // The last window of 10 pixels ends with them; of 11 it leaves one behind, which padding is not.
    for (size, expected) in [(10, &["conv4x4s2p2"][..]), (11, &["conv2x2s2p0", "conv2x2s1p1"])] {
        let (mut net, x) = Builder::new(22, 4, [size, size]);
        let halved = net.conv(x, Layer::of(8, 2, 2, 1).padded(0));
        let y = net.conv(halved, Layer::of(4, 2, 1, 1).padded(1));
        let all = fuse(net.finish(&[y]), FuseMode::All, &mut |_| {});
        assert_eq!(ops(&all.graph), expected, "{:?}", all.refused);
    }
}

/// Channels in `parts` equal parts, each through a RepVGG block of its own, and concatenated.
fn split_and_joined(net: &mut Builder, x: ValueId, parts: usize, stride: u32) -> ValueId {
    let count = net.channels(x) / parts;
    let joined: Vec<ValueId> = (0..parts)
        .map(|part| {
            let own = net.channels_from(x, part * count, count);
            net.repvgg_sum(own, 4, stride, 1)
        })
        .collect();
    net.concat(&joined)
}

#[test]
fn convolutions_of_parts_of_the_channels_become_one_in_groups() {
    for (seed, (parts, stride)) in [(2, 1), (2, 2), (4, 1)].into_iter().enumerate() {
        let (mut net, x) = Builder::new(30 + seed as u64, 8, [9, 8]);
        let y = split_and_joined(&mut net, x, parts, stride);
        let y = net.batch_norm(y);
        let result = fused(&net.finish(&[y]));
        let [node] = &result.graph.nodes[..] else { panic!("{:#?}", result.refused) };
        let Op::Conv(conv) = &node.op else { panic!("{node:?}") };
        assert_eq!(conv.groups, parts);
        let weights = (4 * parts * 8 / parts * 9) as u64;
        assert_eq!(result.regions[0].after.weights, weights);
    }
}

#[test]
fn parts_that_are_joined_in_another_order_stay_apart() {
    let (mut net, x) = Builder::new(33, 8, [9, 8]);
    let parts = [4, 0].map(|first| {
        let own = net.channels_from(x, first, 4);
        net.conv(own, Layer::of(4, 3, 1, 1))
    });
    let y = net.concat(&parts);
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["Slice", "conv3x3s1p1", "Slice", "conv3x3s1p1", "Concat"]);
    assert!(result.refused.iter().any(|refusal| refusal.nodes.len() == 5), "{:?}", result.refused);
}
