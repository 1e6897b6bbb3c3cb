//! Fusion finds the blocks of the literature, in miniature, keeps their function, leaves alone what
//! would cost more, and says what it refuses.

use unbraid_converter::fuse::{FuseMode, Fused, Reason, fuse};
use unbraid_converter::graph::{Activation, Graph, Hw, Op, Pad, ValueId};
use unbraid_tests::graphs::{Builder, Layer, RELU, difference, square};

/// Fuses, and checks that the function and the names of the outputs are kept.
fn fused(graph: &Graph, mode: FuseMode) -> Fused {
    let fused = fuse(graph.clone(), mode, &mut |_| {});
    let error = difference(graph, &fused.graph);
    assert!(error < 3e-6, "fusion changed the function by {error:e}: {:#?}", fused.regions);
    let names = |g: &Graph| g.outputs.iter().map(|&o| g.get(o).name.clone()).collect::<Vec<_>>();
    assert_eq!(names(graph), names(&fused.graph));
    for region in &fused.regions {
        assert!(region.certificate.exact.worst() <= 1e-9, "{region:?}");
        assert!(region.certificate.rounded.worst() <= 1e-5, "{region:?}");
    }
    fused
}

/// Operations that are left, in order: `conv3x3g2s1p1` for convolutions, else the field's name.
fn ops(graph: &Graph) -> Vec<String> {
    let describe = |op: &Op| match op {
        Op::Conv(c) => {
            let w = c.window;
            let (k, s, p) = (w.kernel, w.stride.h, w.pad.top);
            let border = if c.border.is_some() { " border" } else { "" };
            format!("conv{}x{}g{}s{s}p{p}{border}", k.h, k.w, c.groups)
        }
        other => other.name().to_string(),
    };
    graph.nodes.iter().map(|node| describe(&node.op)).collect()
}

fn relu_out(mut net: Builder, y: ValueId) -> Graph {
    let out = net.relu(y);
    net.finish(&[out])
}

#[test]
fn repvgg_blocks_become_one_convolution() {
    for groups in [1, 2, 4] {
        for stride in [1, 2] {
            for size in [[9, 9], [10, 8]] {
                let (mut net, x) = Builder::new(1, 8, size);
                let y = net.repvgg_sum(x, 8, stride, groups);
                let result = fused(&relu_out(net, y), FuseMode::Free);
                assert_eq!(ops(&result.graph), [format!("conv3x3g{groups}s{stride}p1")]);
                let Op::Conv(conv) = &result.graph.nodes[0].op else { unreachable!() };
                assert_eq!(conv.activation, RELU);
                assert_eq!(conv.window.pad.bottom, 1, "the padding of the model stays");
                assert!(result.refused.is_empty(), "{:?}", result.refused);
            }
        }
    }
}

#[test]
fn a_region_is_reported_with_what_it_saves() {
    let (mut net, x) = Builder::new(2, 8, [9, 9]);
    let y = net.repvgg_sum(x, 8, 1, 1);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    let [region] = &result.regions[..] else { panic!("one region: {:?}", result.regions) };
    assert_eq!((region.nodes.len(), region.source.as_str()), (7, "x"));
    assert_eq!(region.name, "Add_6");
    assert_eq!(region.after.weights, 8 * 8 * 9);
    assert_eq!(region.after.macs, 8 * 8 * 9 * 81);
    assert_eq!(region.before.macs, (8 * 8 * 10 + 3 * 8) * 81);
    assert_eq!(region.params_before, 8 * 8 * 10 + 3 * 16);
    assert_eq!(region.params_after, 8 * 8 * 9 + 8);
    assert_eq!(region.activation_bytes_saved, 6 * 4 * 8 * 81);
    assert_eq!(region.certificate.sizes, [[7, 7], [8, 6]]);
    assert!(region.certificate.rounded.border > 0.0 && region.certificate.rounded.interior > 0.0);
}

#[test]
fn mobileone_blocks_become_depthwise_and_pointwise() {
    let (mut net, x) = Builder::new(3, 8, [9, 10]);
    let mut branches: Vec<_> = (0..4).map(|_| net.conv_bn(x, Layer::of(8, 3, 1, 8))).collect();
    branches.push(net.conv_bn(x, Layer::of(8, 1, 1, 8)));
    branches.push(net.batch_norm(x));
    let y = net.sum(&branches);
    let y = net.relu(y);
    let mut branches: Vec<_> = (0..4).map(|_| net.conv_bn(y, Layer::of(8, 1, 1, 1))).collect();
    branches.push(net.batch_norm(y));
    let y = net.sum(&branches);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["conv3x3g8s1p1", "conv1x1g1s1p0"]);
}

#[test]
fn a_1x1_with_padding_of_its_own_before_a_padded_3x3_is_refused() {
    let (mut net, x) = Builder::new(5, 4, [8, 7]);
    let mid = net.conv(x, Layer::of(4, 1, 1, 1).padded(1).biased());
    let y = net.conv(mid, Layer::of(4, 3, 1, 1));
    let result = fused(&relu_out(net, y), FuseMode::All);
    assert_eq!(result.graph.nodes.len(), 2);
    assert_eq!(result.refused.len(), 1);
    assert_eq!(result.refused[0].reason, Reason::PaddingBetween);
    assert_eq!(result.refused[0].nodes, ["Conv_0", "Conv_1"]);
}

#[test]
fn two_3x3_compose_unless_the_second_is_padded_where_the_first_could_see_more_of_the_picture() {
    for (inner, outer, left) in [(1, 1, 2), (1, 0, 1), (2, 1, 1), (2, 2, 1)] {
        let (mut net, x) = Builder::new(6, 3, [9, 8]);
        let mid = net.conv(x, Layer::of(3, 3, 1, 1).padded(inner));
        let y = net.conv_bn(mid, Layer::of(3, 3, 2, 1).padded(outer));
        let result = fused(&relu_out(net, y), FuseMode::All);
        assert_eq!(result.graph.nodes.len(), left, "{:?}", ops(&result.graph));
    }
}

#[test]
fn a_bias_beside_the_picture_is_not_zero_and_refuses_the_next_padding() {
    let (mut net, x) = Builder::new(6, 3, [9, 8]);
    let mid = net.conv(x, Layer::of(3, 3, 1, 1).padded(2).biased());
    let y = net.conv_bn(mid, Layer::of(3, 3, 1, 1));
    let result = fused(&relu_out(net, y), FuseMode::All);
    assert_eq!(result.graph.nodes.len(), 2, "{:?}", ops(&result.graph));
    assert_eq!(result.refused[0].reason, Reason::PaddingBetween);
}

#[test]
fn an_average_pool_branch_fuses_if_it_counts_the_padding() {
    for (count_include_pad, left) in [(true, 1), (false, 3)] {
        for stride in [1, 2] {
            let (mut net, x) = Builder::new(7, 6, [9, 8]);
            let main = net.conv_bn(x, Layer::of(6, 3, stride, 1));
            let pool = net.average(x, square(3, stride, 1), count_include_pad);
            let pool = net.batch_norm(pool);
            let y = net.add(main, pool);
            let result = fused(&relu_out(net, y), FuseMode::Free);
            let kinds = ops(&result.graph);
            assert_eq!(kinds.len(), if left == 1 { 1 } else { 4 }, "{kinds:?}");
        }
    }
}

#[test]
fn a_zero_padding_before_a_pool_becomes_its_padding() {
    let (mut net, x) = Builder::new(8, 4, [6, 7]);
    let y = net.pad(x, 1, 0.0);
    let y = net.average(y, square(3, 2, 0), false);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["AveragePool", "Relu"]);
}

#[test]
fn asymmetric_kernels_merge_axis_by_axis() {
    let (mut net, x) = Builder::new(9, 5, [8, 9]);
    let mut tall = Layer::of(5, 3, 2, 1);
    tall.window.kernel = Hw { h: 3, w: 1 };
    tall.window.pad = Pad { top: 1, bottom: 1, left: 0, right: 0 };
    let mut wide = Layer::of(5, 3, 2, 1);
    wide.window.kernel = Hw { h: 1, w: 3 };
    wide.window.pad = Pad { top: 0, bottom: 0, left: 1, right: 1 };
    let branches = [Layer::of(5, 3, 2, 1), tall, wide].map(|layer| net.conv_bn(x, layer));
    let y = net.sum(&branches);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["conv3x3g1s2p1"]);
}

#[test]
fn batch_norm_after_the_sum_folds_too() {
    let (mut net, x) = Builder::new(10, 6, [8, 9]);
    let main = net.conv_bn(x, Layer::of(6, 3, 1, 1));
    let point = net.conv(x, Layer::of(6, 1, 1, 1));
    let y = net.sum(&[main, point, x]);
    let y = net.batch_norm(y);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["conv3x3g1s1p1"]);
}

#[test]
fn mean_and_deviation_of_the_input_fold_into_the_first_convolutions() {
    for size in [[9, 9], [11, 7], [8, 10]] {
        let (mut net, x) = Builder::new(11, 3, size);
        let y = net.with_constant(Op::Sub, x, 0.3, 0.6);
        let y = net.with_constant(Op::Div, y, 0.2, 0.3);
        let y = net.repvgg_sum(y, 8, 2, 1);
        let result = fused(&relu_out(net, y), FuseMode::Free);
        assert_eq!(ops(&result.graph), ["conv3x3g1s2p1 border"]);
        let odd = |n: usize| n % 2;
        let expected = (2 + odd(size[0])) * (2 + odd(size[1]));
        assert_eq!(result.regions[0].bias_vectors, expected, "an even side has no lower border");
    }
}

#[test]
fn dilated_branches_merge_on_a_common_grid() {
    let (mut net, x) = Builder::new(12, 4, [13, 12]);
    let large = net.conv_bn(x, Layer::of(4, 5, 1, 4));
    let mut dilated = Layer::of(4, 3, 1, 4).padded(2);
    dilated.window.dilation = Hw::square(2);
    let dilated = net.conv_bn(x, dilated);
    let y = net.add(large, dilated);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["conv5x5g4s1p2"]);

    let (mut net, x) = Builder::new(13, 4, [13, 12]);
    let branches = [0, 1].map(|_| {
        let mut dilated = Layer::of(4, 3, 1, 1).padded(2);
        dilated.window.dilation = Hw::square(2);
        net.conv_bn(x, dilated)
    });
    let y = net.sum(&branches);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    let Op::Conv(conv) = &result.graph.nodes[0].op else { panic!("{:?}", ops(&result.graph)) };
    assert_eq!((conv.window.kernel, conv.window.dilation), (Hw::square(3), Hw::square(2)));
}

#[test]
fn a_value_with_readers_in_two_regions_is_computed_once() {
    let (mut net, x) = Builder::new(14, 6, [8, 8]);
    let shared = net.repvgg_sum(x, 6, 1, 1);
    let left = net.conv_bn(shared, Layer::of(6, 3, 1, 1));
    let left = net.relu(left);
    let right = net.conv_bn(shared, Layer::of(6, 1, 1, 1));
    let right = net.relu(right);
    let graph = net.finish(&[left, right]);
    for mode in [FuseMode::Free, FuseMode::All] {
        let result = fused(&graph, mode);
        assert_eq!(ops(&result.graph), ["conv3x3g1s1p1", "conv3x3g1s1p1", "conv1x1g1s1p0"]);
    }
}

#[test]
fn factors_are_not_multiplied_out_unless_asked() {
    // Few channels between two 1x1; a depthwise before a pointwise; a separable pair.
    let project_expand = [Layer::of(4, 1, 1, 1), Layer::of(16, 1, 1, 1)];
    let depthwise_pointwise = [Layer::of(16, 3, 1, 16), Layer::of(16, 1, 1, 1)];
    for pair in [project_expand, depthwise_pointwise] {
        let (mut net, x) = Builder::new(15, 16, [8, 8]);
        let y = net.conv_bn(x, pair[0]);
        let y = net.conv_bn(y, pair[1]);
        let graph = relu_out(net, y);
        let free = fused(&graph, FuseMode::Free);
        assert_eq!(free.graph.nodes.len(), 2, "{:?}", ops(&free.graph));
        assert!(
            matches!(free.refused[..], [ref one] if matches!(one.reason, Reason::CostsMore { .. }))
        );
        assert_eq!(fused(&graph, FuseMode::All).graph.nodes.len(), 1);
    }
}

#[test]
fn a_low_rank_branch_beside_a_3x3_is_absorbed() {
    let (mut net, x) = Builder::new(16, 8, [8, 9]);
    let main = net.conv_bn(x, Layer::of(8, 3, 1, 1));
    let low = net.conv_bn(x, Layer::of(2, 3, 1, 1));
    let low = net.conv_bn(low, Layer::of(8, 1, 1, 1));
    let y = net.add(main, low);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["conv3x3g1s1p1"]);
}

#[test]
fn concatenated_kernels_of_one_size_stack_and_of_different_sizes_do_not() {
    for (sizes, left) in [([3, 3], 1), ([1, 5], 3)] {
        let (mut net, x) = Builder::new(17, 6, [9, 8]);
        let parts = sizes.map(|k| net.conv_bn(x, Layer::of(4, k, 1, 1)));
        let y = net.concat(&parts);
        let y = net.batch_norm(y);
        let result = fused(&relu_out(net, y), FuseMode::Free);
        // The Concat, its BatchNorm and the ReLU stay where the parts stay.
        assert_eq!(
            result.graph.nodes.len(),
            if left == 1 { 1 } else { 5 },
            "{:?}",
            ops(&result.graph)
        );
    }
}

#[test]
fn a_sum_of_two_sources_stays_a_sum() {
    let (mut net, x) = Builder::new(18, 6, [8, 8]);
    let y = net.conv_bn(x, Layer::of(6, 3, 1, 1));
    let y = net.relu(y);
    let y = net.conv_bn(y, Layer::of(6, 3, 1, 1));
    let y = net.add(y, x);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["conv3x3g1s1p1", "conv3x3g1s1p1", "Add"]);
    assert!(matches!(result.graph.nodes[2].op, Op::Add { activation: Activation::Clamp { .. } }));
}

#[test]
fn terms_of_one_source_meet_in_whatever_order_sources_are_added() {
    for order in [[0, 1, 2, 3], [2, 0, 3, 1], [1, 3, 0, 2], [3, 2, 1, 0]] {
        let (mut net, x) = Builder::new(12, 4, [8, 8]);
        let (x, y) = (net.relu(x), net.conv_relu(x, Layer::of(4, 3, 1, 1)));
        let terms = [
            net.conv_bn(x, Layer::of(4, 3, 1, 1)),
            y,
            net.conv_bn(x, Layer::of(4, 1, 1, 1)),
            net.batch_norm(y),
        ];
        let sum = net.sum(&order.map(|k: usize| terms[k]));
        let result = fused(&net.finish(&[sum]), FuseMode::Free);
        let mut left = ops(&result.graph);
        left.sort();
        let expected = ["Add", "BatchNormalization", "Relu", "conv3x3g1s1p1", "conv3x3g1s1p1"];
        assert_eq!(left, expected, "{order:?}");
    }
}

#[test]
fn a_lone_1x1_stays_a_1x1() {
    let (mut net, x) = Builder::new(19, 6, [8, 8]);
    let y = net.conv_bn(x, Layer::of(4, 1, 2, 1));
    let result = fused(&relu_out(net, y), FuseMode::All);
    assert_eq!(ops(&result.graph), ["conv1x1g1s2p0"]);
}

#[test]
fn zeros_at_the_rim_of_a_kernel_are_dropped() {
    let (mut net, x) = Builder::new(20, 4, [8, 8]);
    let a = net.conv(x, Layer::of(4, 3, 1, 1));
    let z = net.conv(x, Layer::of(4, 1, 1, 1));
    let sum = net.add(a, z);
    // What was added is taken away again, all but the 1x1.
    let shape = net.graph.shape(a).to_vec();
    let y = net.node(Op::Sub, vec![sum, a], &shape);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["conv1x1g1s1p0"]);
}

#[test]
fn switched_off_fusion_folds_batch_norm_and_keeps_branches() {
    let (mut net, x) = Builder::new(21, 6, [8, 8]);
    let y = net.repvgg_sum(x, 6, 1, 1);
    let result = fused(&relu_out(net, y), FuseMode::Off);
    let kept = ["conv3x3g1s1p1", "conv1x1g1s1p0", "BatchNormalization", "Add", "Add"];
    assert_eq!(ops(&result.graph), kept);
}

#[test]
fn dense_layers_take_up_batch_norm_on_both_sides() {
    let (mut net, x) = Builder::new(22, 6, [4, 4]);
    let y = net.node(Op::GlobalAveragePool, vec![x], &[1, 6, 1, 1]);
    let y = net.node(Op::Reshape, vec![y], &[1, 6]);
    let y = net.batch_norm(y);
    let y = net.linear(y, 5);
    let y = net.batch_norm(y);
    let result = fused(&relu_out(net, y), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["GlobalAveragePool", "Reshape", "Gemm"]);
}

#[test]
fn weights_that_overflow_are_refused_and_the_nodes_stay() {
    let (mut net, x) = Builder::new(23, 4, [6, 6]);
    let y = net.conv(x, Layer::of(4, 3, 1, 1));
    let y = net.with_constant(Op::Mul, y, 1e30, 2e30);
    let y = net.with_constant(Op::Mul, y, 1e30, 2e30);
    let graph = relu_out(net, y);
    let result = fuse(graph, FuseMode::Free, &mut |_| {});
    assert_eq!(result.graph.nodes.len(), 4, "{:?}", ops(&result.graph));
    assert_eq!(result.refused[0].reason, Reason::NotFinite);
}

#[test]
fn identities_disappear_and_names_of_outputs_stay() {
    let (mut net, x) = Builder::new(24, 4, [6, 6]);
    let identity = Op::Activation(Activation::None);
    let y = net.node(identity.clone(), vec![x], &[1, 4, 6, 6]);
    let y = net.conv(y, Layer::of(4, 3, 1, 1));
    let y = net.node(identity.clone(), vec![y], &[1, 4, 6, 6]);
    let y = net.relu(y);
    let y = net.node(identity, vec![y], &[1, 4, 6, 6]);
    let result = fused(&net.finish(&[y]), FuseMode::Free);
    assert_eq!(ops(&result.graph), ["conv3x3g1s1p1"]);
}

#[test]
fn what_is_computed_twice_is_computed_once() {
    let (mut net, x) = Builder::new(29, 3, [8, 8]);
    let pools = [(); 2].map(|()| net.average(x, square(3, 2, 1), true));
    let [a, b] = pools.map(|pool| {
        let y = net.relu(pool);
        net.node(Op::MaxPool(square(2, 2, 0)), vec![y], &[1, 3, 2, 2])
    });
    let other = net.node(Op::MaxPool(square(2, 2, 0)), vec![x], &[1, 3, 4, 4]);
    let other = net.node(Op::MaxPool(square(2, 2, 0)), vec![other], &[1, 3, 2, 2]);
    let product = net.node(Op::Mul, vec![a, b], &[1, 3, 2, 2]);
    let last = net.node(Op::Mul, vec![product, other], &[1, 3, 2, 2]);
    let graph = net.finish(&[last, a, b]);
    // Both results are outputs, which keep nodes of their own; what leads to them is computed once.
    let ops = ops(&fused(&graph, FuseMode::Free).graph);
    assert_eq!(ops.iter().filter(|op| *op == "AveragePool").count(), 1, "{ops:?}");
    assert_eq!(ops.iter().filter(|op| *op == "Relu").count(), 1, "{ops:?}");
    assert_eq!(ops.iter().filter(|op| *op == "MaxPool").count(), 4, "{ops:?}");
}

#[test]
fn a_long_linear_chain_becomes_one_node() {
    let (mut net, x) = Builder::new(26, 4, [8, 8]);
    let y = net.conv(x, Layer::of(4, 3, 1, 1));
    let y = (0..100).fold(y, |y, _| net.batch_norm(y));
    let result = fuse(relu_out(net, y), FuseMode::Free, &mut |_| {});
    assert_eq!(ops(&result.graph), ["conv3x3g1s1p1"]);
    assert_eq!(result.regions[0].nodes.len(), 101);
}

#[test]
fn progress_counts_regions() {
    let (mut net, x) = Builder::new(25, 4, [8, 8]);
    let y = net.repvgg_sum(x, 4, 1, 1);
    let y = net.relu(y);
    let y = net.repvgg_sum(y, 4, 1, 1);
    let graph = relu_out(net, y);
    let mut seen = Vec::new();
    fuse(graph, FuseMode::Free, &mut |p| seen.push((p.done, p.total, p.name.to_string())));
    assert_eq!(seen, [(0, 2, "Add_6".into()), (1, 2, "Add_14".into())]);
}
