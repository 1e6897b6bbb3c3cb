//! What reshapes and transpositions lead to. Patch maps: convolutions merge into the dense layer that
//! reads the same patch, exactly and at its border, and only where that is free. Channel shuffles.

use unbraid_converter::fuse::form::{Axis, Form};
use unbraid_converter::fuse::kernel_map::KernelMap;
use unbraid_converter::fuse::{FuseMode, Fused, Reason, fuse};
use unbraid_converter::graph::{Activation, Graph, Hw, Op, ValueId, Window};
use unbraid_converter::tensor::Tensor;
use unbraid_tests::graphs::{Builder, Layer, RELU, difference, square, values};
use unbraid_tests::rng::Random;

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

/// Operations that are left, in order; layers with the shape of their weights and their groups.
fn ops(graph: &Graph) -> Vec<String> {
    let weights = |k: usize| graph.shape(graph.nodes[k].inputs[1]);
    let describe = |(k, op): (usize, &Op)| match op {
        Op::Conv(conv) => format!("Conv {:?} g{}", weights(k), conv.groups),
        Op::Linear { .. } => format!("Gemm {:?}", weights(k)),
        other => other.name().to_string(),
    };
    graph.nodes.iter().map(|node| &node.op).enumerate().map(describe).collect()
}

/// Patches that meet a dense layer and convolutions.
#[derive(Clone, Copy, Debug)]
struct Patches {
    rows: usize,
    inputs: usize,
    outputs: usize,
    size: [usize; 2],
    groups: usize,
}

impl Patches {
    fn pixels(self) -> usize {
        self.size[0] * self.size[1]
    }

    /// The shape of patches with this many channels.
    fn shape(self, channels: usize) -> [usize; 4] {
        [self.rows, channels, self.size[0], self.size[1]]
    }

    /// A picture cut into patches, which regions cannot look behind.
    fn cut(self, seed: u64) -> (Builder, ValueId) {
        let (mut net, x) = Builder::new(seed, self.rows * self.inputs, self.size);
        let patches = net.reshape(x, &self.shape(self.inputs));
        (net, patches)
    }

    /// A dense layer on whole patches, as a grouped 1x1 convolution of one pixel.
    fn dense(self, net: &mut Builder, patches: ValueId) -> ValueId {
        let flat = net.reshape(patches, &[self.rows, self.inputs * self.pixels(), 1, 1]);
        net.conv(flat, Layer::of(self.outputs * self.pixels(), 1, 1, self.groups))
    }

    /// What a merged dense layer looks like.
    fn merged(self) -> String {
        let (o, i) = (self.outputs * self.pixels(), self.inputs * self.pixels() / self.groups);
        format!("Conv {:?} g{}", [o, i, 1, 1], self.groups)
    }
}

#[test]
fn convolutions_merge_into_the_dense_layer_of_their_patch() {
    let case = |rows, inputs, outputs, groups| {
        [[3, 4], [5, 5]].map(|size| Patches { rows, inputs, outputs, size, groups })
    };
    let cases = [
        case(1, 2, 2, 1),
        case(4, 2, 2, 2),
        case(4, 4, 2, 2),
        case(3, 2, 6, 2),
        case(1, 3, 3, 3),
        case(2, 2, 5, 1),
    ];
    for (seed, patches) in cases.concat().into_iter().enumerate() {
        let (mut net, x) = patches.cut(seed as u64);
        let dense = patches.dense(&mut net, x);
        let flat = net.reshape(dense, &[patches.rows, patches.outputs * patches.pixels()]);
        let normal = net.batch_norm(flat);
        let mut branches = vec![net.reshape(normal, &patches.shape(patches.outputs))];
        for k in [1, 3, 5] {
            branches.push(net.conv_bn(x, Layer::of(patches.outputs, k, 1, patches.groups)));
        }
        let y = net.sum(&branches);
        let result = fused(&net.finish(&[y]));
        assert_eq!(ops(&result.graph), ["Reshape", &patches.merged(), "Reshape"], "{patches:?}");
        let [region] = &result.regions[..] else { panic!("{:#?}", result.regions) };
        assert_eq!(region.nodes.len(), 14, "{patches:?}");
        assert_eq!(region.after.macs, region.after.weights * patches.rows as u64);
        assert!(region.certificate.exact.border > 0.0, "{patches:?} has a rim");
        assert!(result.refused.is_empty(), "{patches:?}: {:?}", result.refused);
    }
}

#[test]
fn share_sets_take_up_depthwise_convolutions_and_their_batch_norm() {
    let sets = Patches { rows: 3, inputs: 4, outputs: 4, size: [4, 3], groups: 4 };
    let (mut net, x) = sets.cut(1);
    let dense = sets.dense(&mut net, x);
    let shown = net.reshape(dense, &sets.shape(4));
    let shared = net.batch_norm(shown);
    let point = net.conv_bn(x, Layer::of(4, 1, 1, 4));
    let local = net.conv_bn(x, Layer::of(4, 3, 1, 4));
    let y = net.sum(&[shared, point, local]);
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["Reshape", &sets.merged(), "Reshape"]);
}

#[test]
fn a_dense_layer_and_a_convolution_meet_that_each_cut_the_same_numbers() {
    let patches = Patches { rows: 3, inputs: 2, outputs: 2, size: [4, 3], groups: 2 };
    for twice in [false, true] {
        let (mut net, picture) = Builder::new(12, 6, patches.size);
        let dense = patches.dense(&mut net, picture);
        let dense = net.reshape(dense, &patches.shape(2));
        let seen = if twice { net.reshape(picture, &[1, 6, 12]) } else { picture };
        let cut = net.reshape(seen, &patches.shape(2));
        let local = net.conv_bn(cut, Layer::of(2, 3, 1, 2));
        let y = net.sum(&[dense, local]);
        let result = fused(&net.finish(&[y]));
        assert_eq!(ops(&result.graph), ["Reshape", &patches.merged(), "Reshape"], "{twice}");
    }
}

#[test]
fn a_bias_under_the_padding_of_the_next_convolution_is_exact_on_the_rim_of_a_patch() {
    let patches = Patches { rows: 2, inputs: 2, outputs: 3, size: [4, 5], groups: 1 };
    let (mut net, x) = patches.cut(2);
    let dense = patches.dense(&mut net, x);
    let dense = net.reshape(dense, &patches.shape(3));
    let inner = net.conv(x, Layer::of(4, 1, 1, 1).biased());
    let outer = net.conv(inner, Layer::of(3, 3, 1, 1).biased());
    let padded = net.pad(x, 1, 0.75);
    let edge = net.conv(padded, Layer::of(3, 3, 1, 1).padded(0));
    let y = net.sum(&[outer, edge, dense]);
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["Reshape", &patches.merged(), "Reshape"]);
    assert_eq!(result.regions[0].bias_vectors, 1, "each row of the dense layer has its own bias");
}

#[test]
fn strides_and_dilations_unfold_like_every_other_window() {
    let mut random = Random(9);
    let mut axis = |taps: usize, low: i64| {
        let (stride, dilation) = (random.pick(&[1, 2]), random.pick(&[1, 2]));
        Axis { taps, stride, dilation: if taps == 1 { 1 } else { dilation }, low, high: low }
    };
    for case in 0..120 {
        let axes = [axis(1 + case % 3, case as i64 % 2), axis(1 + case % 4, case as i64 / 2 % 3)];
        let groups = [1, 2][case / 4 % 2];
        let form = Form { groups, axes, ..Form::diagonal(4, true) };
        let form = Form { outputs: 6, ..form };
        let input = [7, 8];
        let size = |k: usize| {
            (input[k] + 2 * axes[k].low as usize - axes[k].extent()) / axes[k].stride + 1
        };
        let output = [size(0), size(1)];
        let mut random = Random(case as u64);
        let border = (case % 5 > 0).then(|| values(&mut random, 6 * axes[0].taps * axes[1].taps));
        let map = KernelMap {
            kernel: values(&mut random, form.weights()),
            bias: values(&mut random, 6),
            border,
            form,
        };
        let x = values(&mut random, 4 * 7 * 8);
        let expected = map.apply(&x, input, output);
        let unfolded = map.unfolded(input, output).expect("small").apply(&x, [1, 1], [1, 1]);
        assert_eq!(expected.len(), unfolded.len());
        let error = expected.iter().zip(&unfolded).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error < 1e-12, "case {case}: {error:e} {form:?}");
    }
}

#[test]
fn a_convolution_between_reshapes_stays_a_convolution() {
    let patches = Patches { rows: 2, inputs: 3, outputs: 3, size: [4, 4], groups: 1 };
    let (mut net, x) = patches.cut(3);
    let y = net.conv_bn(x, Layer::of(3, 3, 1, 1));
    let flat = net.reshape(y, &[2, 48]);
    let normal = net.batch_norm(flat);
    let out = net.reshape(normal, &[1, 6, 4, 4]);
    let result = fused(&net.finish(&[out]));
    assert_eq!(
        ops(&result.graph),
        ["Reshape", "Conv [3, 3, 3, 3] g1", "Reshape", "BatchNormalization", "Reshape"]
    );
}

#[test]
fn reshapes_there_and_back_keep_nothing_apart() {
    let (mut net, x) = Builder::new(3, 3, [4, 4]);
    let y = net.conv_bn(x, Layer::of(3, 3, 1, 1));
    let flat = net.reshape(y, &[1, 48]);
    let shown = net.reshape(flat, &[1, 3, 4, 4]);
    let normal = net.batch_norm(shown);
    let result = fused(&net.finish(&[normal]));
    assert_eq!(ops(&result.graph), ["Conv [3, 3, 3, 3] g1"]);
}

#[test]
fn batch_norm_after_a_pool_folds_into_the_dense_layer_behind_the_flattening() {
    let (mut net, x) = Builder::new(4, 4, [14, 14]);
    let x = net.relu(x);
    let pooled = net.average(x, square(7, 7, 0), true);
    let normal = net.batch_norm(pooled);
    let flat = net.reshape(normal, &[1, 16]);
    let hidden = net.linear(flat, 16);
    let hidden = net.relu(hidden);
    let y = net.linear(hidden, 16);
    let result = fused(&net.finish(&[y]));
    let expected = ["Relu", "AveragePool", "Reshape", "Gemm [16, 16]", "Gemm [16, 16]"];
    assert_eq!(ops(&result.graph), expected);
}

#[test]
fn batch_norm_before_a_global_average_folds_into_the_classifier() {
    for windowed in [false, true] {
        let (mut net, x) = Builder::new(5, 6, [5, 4]);
        let x = net.relu(x);
        let normal = net.batch_norm(x);
        let shifted = net.with_constant(Op::Sub, normal, 0.5, 1.5);
        let mean = if windowed {
            let pool = Window { kernel: Hw { h: 5, w: 4 }, ..square(1, 1, 0) };
            net.average(shifted, pool, true)
        } else {
            net.node(Op::GlobalAveragePool, vec![shifted], &[1, 6, 1, 1])
        };
        let flat = net.reshape(mean, &[1, 6]);
        let y = net.linear(flat, 10);
        let result = fused(&net.finish(&[y]));
        let pool = if windowed { "AveragePool" } else { "GlobalAveragePool" };
        assert_eq!(ops(&result.graph), ["Relu", pool, "Reshape", "Gemm [10, 6]"]);
    }
}

#[test]
fn crops_and_choices_of_channels_unfold_too() {
    let patches = Patches { rows: 3, inputs: 4, outputs: 2, size: [5, 6], groups: 1 };
    let (mut net, x) = patches.cut(8);
    let dense = patches.dense(&mut net, x);
    let dense = net.reshape(dense, &patches.shape(2));
    let wide = net.conv_bn(x, Layer::of(2, 3, 1, 1).padded(2));
    let wide = net.crop(wide, 1, 1);
    let chosen = net.channels_from(x, 1, 2);
    let y = net.sum(&[wide, chosen, dense]);
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["Reshape", &patches.merged(), "Reshape"]);
}

/// Channel `i * groups + k` of the result is channel `k * (channels / groups) + i`.
fn shuffle(net: &mut Builder, x: ValueId, groups: usize) -> ValueId {
    let [n, c, h, w] = net.graph.shape(x)[..] else { panic!("a picture") };
    let split = net.reshape(x, &[n, groups, c / groups, h, w]);
    let perm = vec![0, 2, 1, 3, 4];
    let turned = net.node(Op::Transpose { perm }, vec![split], &[n, c / groups, groups, h, w]);
    net.reshape(turned, &[n, c, h, w])
}

#[test]
fn a_channel_shuffle_beside_a_dense_convolution_costs_nothing() {
    for before in [false, true] {
        let (mut net, x) = Builder::new(9, 6, [5, 5]);
        let x = net.relu(x);
        let x = if before { shuffle(&mut net, x, 3) } else { x };
        let y = net.conv_bn(x, Layer::of(6, 3, 1, 1));
        let y = if before { y } else { shuffle(&mut net, y, 2) };
        let result = fused(&net.finish(&[y]));
        assert_eq!(ops(&result.graph), ["Relu", "Conv [6, 6, 3, 3] g1"]);
    }
}

#[test]
fn a_channel_shuffle_between_grouped_convolutions_stays() {
    let (mut net, x) = Builder::new(10, 6, [5, 5]);
    let y = net.conv_bn(x, Layer::of(6, 1, 1, 3));
    let y = shuffle(&mut net, y, 3);
    let y = net.conv_bn(y, Layer::of(6, 3, 1, 6));
    let result = fused(&net.finish(&[y]));
    let (point, depthwise) = ("Conv [6, 2, 1, 1] g3", "Conv [6, 1, 3, 3] g6");
    assert_eq!(ops(&result.graph), [point, "Reshape", "Transpose", "Reshape", depthwise]);
}

#[test]
fn transpositions_of_axes_of_length_one_are_views() {
    let (mut net, x) = Builder::new(11, 4, [3, 3]);
    let split = net.reshape(x, &[1, 4, 1, 3, 1, 3]);
    let perm = vec![0, 2, 4, 1, 3, 5];
    let turned = net.node(Op::Transpose { perm }, vec![split], &[1, 1, 1, 4, 3, 3]);
    let picture = net.reshape(turned, &[1, 4, 3, 3]);
    let y = net.conv_bn(picture, Layer::of(4, 3, 1, 1));
    let result = fused(&net.finish(&[y]));
    assert_eq!(ops(&result.graph), ["Conv [4, 4, 3, 3] g1"]);
}

#[test]
fn an_activation_behind_views_moves_into_the_layer_before_them() {
    let slopes = Activation::PRelu { slope: Tensor::vector(vec![0.1, 0.2, 0.3]) };
    let left = [(RELU, vec!["Reshape", "Gemm [12, 12]", "Reshape", "Transpose"]), {
        (slopes, vec!["Reshape", "Gemm [12, 12]", "Reshape", "Transpose", "PRelu"])
    }];
    for (activation, expected) in left {
        let (mut net, x) = Builder::new(7, 3, [2, 2]);
        let flat = net.reshape(x, &[1, 12]);
        let dense = net.linear(flat, 12);
        let shown = net.reshape(dense, &[1, 2, 3, 2]);
        let turned = net.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, vec![shown], &[1, 3, 2, 2]);
        let y = net.node(Op::Activation(activation), vec![turned], &[1, 3, 2, 2]);
        assert_eq!(ops(&fused(&net.finish(&[y])).graph), expected);
    }
}

#[test]
fn a_dense_map_that_would_not_fit_is_refused_at_any_cost() {
    let (mut net, x) = Builder::new(6, 2, [80, 80]);
    let y = net.conv(x, Layer::of(2, 3, 1, 1));
    let flat = net.reshape(y, &[1, 2 * 6400, 1, 1]);
    let y = net.with_constant(Op::Mul, flat, 0.5, 1.5);
    let graph = net.finish(&[y]);
    let result = fuse(graph.clone(), FuseMode::All, &mut |_| {});
    let large = |reason: &Reason| matches!(reason, Reason::TooManyWeights { .. });
    assert!(result.refused.iter().any(|r| large(&r.reason)), "{:?}", result.refused);
    assert_eq!(result.graph.nodes.len(), graph.nodes.len());
}
