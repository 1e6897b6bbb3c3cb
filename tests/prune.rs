//! Claims about pruning: channels that carry nothing go, their constants stay, and the outputs are
//! those of the network before.
#![forbid(unsafe_code)]

use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{
    Activation, Conv, Function, Graph, Node, Op, Pad, Reduction, ValueId,
};
use unbraid_converter::plan::{self, facts, plan};
use unbraid_converter::prune::{Pruning, prune};
use unbraid_converter::reference;
use unbraid_converter::report::{GraphFacts, Report};
use unbraid_converter::resize::{Coordinates, Interpolation, Resize, ResizedAxis};
use unbraid_converter::write::strand;
use unbraid_runtime::Model;
use unbraid_tests::dead::{edit, is_layer, random_network, scale_rows, set_bias, zero_columns};
use unbraid_tests::execute::{cpus, relative_error, run};
use unbraid_tests::graphs::{Builder, Layer, RELU, difference, values};
use unbraid_tests::resnet::resrep50;
use unbraid_tests::rng::Random;

/// Largest difference that rounding pushed constants to f32 may make.
const ROUNDED: f64 = 1e-6;

/// The graph without dead channels, its account, and the proof that it computes the same.
fn pruned(graph: &Graph) -> (Graph, Pruning) {
    let mut pruned = graph.clone();
    let account = prune(&mut pruned);
    assert_eq!(account.refused, None);
    let error = difference(graph, &pruned);
    assert!(error <= ROUNDED, "{error:e}");
    (pruned, account)
}

/// Channels of the value of this graph that has the name of `id` in `before`.
fn channels(before: &Graph, after: &Graph, id: ValueId) -> usize {
    let name = &before.get(id).name;
    let value = after.values.iter().find(|value| value.name == *name);
    value.expect("a value that stays").shape[1]
}

/// Runs the planned graph on every set of CPU features against the oracle.
fn runs(graph: &Graph) {
    let plan = plan(graph, &plan::Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let strand = strand(&plan).unwrap();
    let model = Model::new(&strand).unwrap();
    let len = graph.shape(graph.inputs[0]).iter().product();
    let x = Random(3).vec(len);
    let truth = reference::run(graph, &[x.iter().map(|&v| f64::from(v)).collect()]).unwrap();
    for (name, cpu) in cpus() {
        let found = run(&model, cpu, std::slice::from_ref(&x));
        let error = relative_error(&truth[0], &found[0]);
        assert!(error <= 1e-5, "{name}: {error:e}");
    }
}

fn set_activation(net: &mut Builder, activation: Activation) {
    match &mut net.graph.nodes.last_mut().expect("a node").op {
        Op::Conv(conv) => conv.activation = activation,
        op => panic!("no activation in {op:?}"),
    }
}

const RELU6: Activation = Activation::Clamp { lo: 0.0, hi: 6.0 };

#[test]
fn a_channel_of_zeros_goes_with_its_row_and_all_columns_that_read_it() {
    let (mut net, x) = Builder::new(1, 4, [9, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv_relu(a, Layer::of(6, 3, 2, 1));
    let c = net.conv_relu(a, Layer::of(6, 1, 2, 1));
    let y = net.add(b, c);
    scale_rows(&mut net.graph, a, &[0, 3, 7], 0.0);
    set_bias(&mut net.graph, a, &[0, 3, 7], -0.5);
    let graph = net.finish(&[y]);
    let (after, account) = pruned(&graph);
    assert_eq!(channels(&graph, &after, a), 5);
    let shapes: Vec<_> = account.layers.iter().map(|l| (l.inputs, l.outputs)).collect();
    assert_eq!(shapes, [([4, 4], [8, 5]), ([8, 5], [6, 6]), ([8, 5], [6, 6])]);
    let saved: i128 = account.layers.iter().map(|layer| layer.macs_saved).sum();
    assert_eq!(saved, i128::from(facts::macs(&graph) - facts::macs(&after)));
    assert!(account.certificate.expect("a certificate").error < 1e-15);
    runs(&after);
}

#[test]
fn a_constant_moves_into_the_bias_of_unpadded_and_dense_readers() {
    let (mut net, x) = Builder::new(2, 4, [7, 7]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv_relu(a, Layer::of(6, 3, 1, 1).padded(0));
    let flat = net.node(Op::Reshape, vec![b], &[1, 6 * 25]);
    let y = net.linear(flat, 3);
    scale_rows(&mut net.graph, a, &[2, 5], 0.0);
    set_bias(&mut net.graph, a, &[2, 5], 0.75);
    scale_rows(&mut net.graph, b, &[1], 0.0);
    set_bias(&mut net.graph, b, &[1], 1.5);
    let graph = net.finish(&[y]);
    let (after, _) = pruned(&graph);
    assert_eq!((channels(&graph, &after, a), channels(&graph, &after, b)), (6, 5));
    assert!(after.nodes.iter().all(|node| !matches!(&node.op, Op::Conv(c) if c.border.is_some())));
    // Columns [i * HW, (i + 1) * HW) of a flattened picture belong to channel i.
    assert_eq!(channels(&graph, &after, flat), 5 * 25);
    runs(&after);
}

#[test]
fn a_constant_under_zero_padding_becomes_a_border_bias() {
    for stride in [1, 2] {
        let (mut net, x) = Builder::new(3, 4, [8, 9]);
        let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
        let b = net.conv_relu(a, Layer::of(6, 3, stride, 1));
        // Twice: constants meet a layer that has border classes already.
        let c = net.conv_relu(b, Layer::of(5, 3, 1, 1));
        scale_rows(&mut net.graph, a, &[2, 5], 0.0);
        set_bias(&mut net.graph, a, &[2, 5], 0.75);
        let graph = net.finish(&[c]);
        let (mut after, _) = pruned(&graph);
        assert_eq!(channels(&graph, &after, a), 6);
        let borders = |graph: &Graph| {
            let border = |node: &&Node| matches!(&node.op, Op::Conv(Conv { border: Some(_), .. }));
            graph.nodes.iter().filter(border).count()
        };
        assert_eq!(borders(&after), 1);
        runs(&after);
        let left = after.nodes[0].output;
        scale_rows(&mut after, left, &[0], 0.0);
        let (last, _) = pruned(&after);
        assert_eq!((borders(&last), last.shape(left)[1]), (1, 5));
        runs(&last);
    }
}

#[test]
fn a_dead_channel_goes_through_a_depthwise_convolution_as_its_constant() {
    for activation in [RELU, RELU6] {
        // MobileNetV2: expand, depthwise, project. The constant of the depthwise is above 6.
        let (mut net, x) = Builder::new(4, 4, [8, 8]);
        let expand = net.conv_relu(x, Layer::of(8, 1, 1, 1));
        set_activation(&mut net, activation.clone());
        let depthwise = net.conv_relu(expand, Layer::of(8, 3, 1, 8));
        set_activation(&mut net, activation.clone());
        let y = net.conv(depthwise, Layer::of(4, 1, 1, 1).biased());
        scale_rows(&mut net.graph, expand, &[1, 6], 0.0);
        set_bias(&mut net.graph, expand, &[1, 6], -1.0);
        set_bias(&mut net.graph, depthwise, &[1, 6], 7.5);
        let graph = net.finish(&[y]);
        let (after, account) = pruned(&graph);
        assert_eq!(account.layers[1].outputs, [8, 6]);
        assert_eq!((channels(&graph, &after, expand), channels(&graph, &after, depthwise)), (6, 6));
        let Op::Conv(depthwise) = &after.nodes[1].op else { panic!("{:?}", after.nodes[1]) };
        assert_eq!(depthwise.groups, 6);
        assert!(after.nodes.iter().all(|n| !matches!(&n.op, Op::Conv(c) if c.border.is_some())));
        runs(&after);
    }
}

#[test]
fn a_dead_channel_goes_through_what_works_on_pixels_alone() {
    let (mut net, x) = Builder::new(5, 4, [6, 6]);
    let first = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let axis = |axis| ResizedAxis { axis, scale: Some(2.0), crop: [0.0, 1.0] };
    let resize = Op::Resize(Resize {
        axes: vec![axis(2), axis(3)],
        interpolation: Interpolation::Linear,
        coordinates: Coordinates::HalfPixel,
        exclude_outside: false,
        antialias: false,
    });
    let larger = net.node(resize, vec![first], &[1, 8, 12, 12]);
    let axes = vec![2, 3];
    let normal = Op::Normalise { axes: axes.clone(), centred: false, eps: 0.5 };
    let normal = net.node(normal, vec![larger], &[1, 8, 12, 12]);
    let top = Op::Reduce { function: Reduction::Max, axes };
    let top = net.node(top, vec![normal], &[1, 8, 1, 1]);
    let y = net.conv(top, Layer::of(4, 1, 1, 1).biased());
    scale_rows(&mut net.graph, first, &[2, 5], 0.0);
    set_bias(&mut net.graph, first, &[2, 5], 3.0);
    let graph = net.finish(&[y]);
    let (after, _) = pruned(&graph);
    for id in [first, larger, normal, top] {
        assert_eq!(channels(&graph, &after, id), 6);
    }
    runs(&after);
}

#[test]
fn a_constant_that_a_padded_depthwise_bends_at_the_border_is_pushed_exactly() {
    let (mut net, x) = Builder::new(5, 4, [9, 8]);
    let expand = net.conv_relu(x, Layer::of(8, 1, 1, 1));
    let depthwise = net.conv_relu(expand, Layer::of(8, 3, 1, 8));
    let project = net.conv(depthwise, Layer::of(4, 1, 1, 1).biased());
    let y = net.conv(depthwise, Layer::of(4, 3, 1, 1).padded(0).biased());
    scale_rows(&mut net.graph, expand, &[1, 6], 0.0);
    set_bias(&mut net.graph, expand, &[1, 6], 0.5);
    set_bias(&mut net.graph, depthwise, &[1, 6], 0.25);
    let graph = net.finish(&[project, y]);
    let (after, _) = pruned(&graph);
    assert_eq!(channels(&graph, &after, depthwise), 6);
    let classes = after.nodes.iter().filter_map(|node| match &node.op {
        Op::Conv(Conv { border: Some(border), .. }) => Some(border.bias.shape()[0]),
        _ => None,
    });
    assert_eq!(classes.collect::<Vec<_>>(), [9, 9]);
    runs(&after);
}

#[test]
fn a_residual_channel_goes_only_if_every_summand_and_every_reader_can_do_without() {
    let (mut net, x) = Builder::new(6, 4, [8, 8]);
    let stem = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let inner = net.conv_relu(stem, Layer::of(8, 3, 1, 1));
    let branch = net.conv(inner, Layer::of(8, 3, 1, 1).biased());
    let sum = net.add(stem, branch);
    let sum = net.relu(sum);
    let head = net.conv(sum, Layer::of(3, 3, 1, 1).biased());
    let other = net.conv(sum, Layer::of(3, 1, 2, 1).biased());
    // 1 and 2: dead in both summands; 3: in the stem only; 4: in the branch only; 5: nobody reads it.
    scale_rows(&mut net.graph, stem, &[1, 2, 3], 0.0);
    scale_rows(&mut net.graph, branch, &[1, 2, 4], 0.0);
    for layer in [inner, head, other] {
        zero_columns(&mut net.graph, layer, &[5]);
    }
    let graph = net.finish(&[head, other]);
    let (after, _) = pruned(&graph);
    for value in [stem, branch, sum] {
        assert_eq!(channels(&graph, &after, value), 5, "{}", graph.get(value).name);
    }
    runs(&after);
}

#[test]
fn a_gated_dead_channel_leaves_the_gate_too() {
    let (mut net, x) = Builder::new(7, 4, [6, 6]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let mean = net.node(Op::GlobalAveragePool, vec![a], &[1, 8, 1, 1]);
    let squeezed = net.conv_relu(mean, Layer::of(4, 1, 1, 1));
    let excited = net.conv(squeezed, Layer::of(8, 1, 1, 1).biased());
    let gate = net.node(Op::Unary(Function::Sigmoid), vec![excited], &[1, 8, 1, 1]);
    let gated = net.node(Op::Mul, vec![a, gate], &[1, 8, 6, 6]);
    let y = net.conv(gated, Layer::of(3, 3, 1, 1).biased());
    scale_rows(&mut net.graph, a, &[0, 7], 0.0);
    set_bias(&mut net.graph, a, &[0, 7], 0.0);
    let graph = net.finish(&[y]);
    let (after, _) = pruned(&graph);
    for value in [a, excited, gated] {
        assert_eq!(channels(&graph, &after, value), 6);
    }
}

#[test]
fn what_only_dead_channels_read_goes_however_far_back() {
    let (mut net, x) = Builder::new(8, 4, [8, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv_relu(a, Layer::of(8, 1, 1, 1));
    let c = net.conv(b, Layer::of(2, 1, 1, 1).biased());
    // Channel 3 of b reads nothing but channel 2 of a, and nobody reads channel 3 of b.
    zero_columns(&mut net.graph, c, &[3]);
    let graph = net.graph.clone();
    let row_3: Vec<f32> = {
        let weight = graph.nodes[1].inputs[1];
        graph.constant_f32(weight).expect("weights")[24..32].to_vec()
    };
    zero_columns(&mut net.graph, b, &[2]);
    edit(&mut net.graph, b, 1, |weights| {
        weights[24..32].copy_from_slice(&row_3);
    });
    let graph = net.finish(&[c]);
    let (after, _) = pruned(&graph);
    assert_eq!((channels(&graph, &after, a), channels(&graph, &after, b)), (7, 7));
}

#[test]
fn of_a_layer_that_is_dead_as_a_whole_one_channel_stays() {
    let (mut net, x) = Builder::new(9, 4, [8, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv(a, Layer::of(4, 1, 1, 1).biased());
    scale_rows(&mut net.graph, a, &[0, 1, 2, 3, 4, 5, 6, 7], 0.0);
    let graph = net.finish(&[b]);
    let (after, _) = pruned(&graph);
    assert_eq!(channels(&graph, &after, a), 1);
    runs(&after);
}

#[test]
fn rows_near_zero_count_as_zero_and_are_reported_with_their_effect() {
    let (mut net, x) = Builder::new(10, 4, [8, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv(a, Layer::of(4, 3, 1, 1).biased());
    scale_rows(&mut net.graph, a, &[1, 4], 1e-6);
    set_bias(&mut net.graph, a, &[1, 4], 0.0);
    // Small, but not beside the others: they are all small.
    scale_rows(&mut net.graph, b, &[0, 1, 2, 3], 1e-6);
    let graph = net.finish(&[b]);
    let (after, account) = pruned(&graph);
    assert_eq!(channels(&graph, &after, a), 6);
    let near_zero: Vec<usize> = account.layers.iter().map(|layer| layer.near_zero).collect();
    assert_eq!(near_zero, [2, 0]);
    let certificate = account.certificate.expect("a certificate");
    assert!(certificate.near_zero_effect > 0.0 && certificate.near_zero_effect < 1e-6);
}

#[test]
fn the_report_says_what_was_removed_in_text_page_and_json() {
    let (mut net, x) = Builder::new(14, 4, [8, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv(a, Layer::of(4, 3, 1, 1).biased());
    let whole = net.graph.clone();
    scale_rows(&mut net.graph, a, &[1], 0.0);
    scale_rows(&mut net.graph, a, &[4], 1e-6);
    let report = |mut graph: Graph| {
        graph.outputs = vec![b];
        let before = GraphFacts::new(&graph);
        let mut fused = fuse(graph, FuseMode::Free, &mut |_| {});
        let account = prune(&mut fused.graph);
        let plan = plan(&fused.graph, &plan::Options::default()).unwrap();
        Report::new(before, &fused, &plan, 0).with_pruning(account)
    };
    let pruned = report(net.graph);
    let text = pruned.to_string();
    assert!(text.contains("pruned: 2 layers") && text.contains("8 to 6"), "{text}");
    assert!(text.contains("1 near-zero rows"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let page = pruned.to_html();
    assert!(page.contains("Channels that carried nothing") && page.contains("<td>8 to 6</td>"));
    let json: serde_json::Value = serde_json::from_str(&pruned.to_json()).unwrap();
    let layers = &json["pruned"]["layers"];
    assert_eq!((&layers[0]["outputs"][1], &layers[1]["inputs"][1]), (&6.into(), &6.into()));
    assert!(json["pruned"]["certificate"]["near_zero_effect"].as_f64() > Some(0.0));
    let untouched = report(whole);
    assert!(!untouched.to_string().contains("pruned"));
    assert!(!untouched.to_html().contains("carried nothing"));
}

#[test]
fn near_zero_rows_that_a_later_layer_makes_large_stay() {
    let (mut net, x) = Builder::new(11, 4, [8, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv(a, Layer::of(4, 3, 1, 1).biased());
    scale_rows(&mut net.graph, a, &[1, 4], 1e-6);
    set_bias(&mut net.graph, a, &[1, 4], 0.0);
    scale_rows(&mut net.graph, a, &[6], 0.0);
    edit(&mut net.graph, b, 1, |weights| {
        weights.chunks_exact_mut(9).skip(1).step_by(8).flatten().for_each(|w| *w *= 1e6);
    });
    let graph = net.finish(&[b]);
    let (after, account) = pruned(&graph);
    assert_eq!(channels(&graph, &after, a), 7, "only the row of exact zeros");
    assert!(account.layers.iter().all(|layer| layer.near_zero == 0));
}

#[test]
fn a_network_without_dead_channels_is_untouched() {
    let (mut net, x) = Builder::new(12, 4, [8, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv_relu(a, Layer::of(8, 3, 1, 8));
    let y = net.add(a, b);
    let graph = net.finish(&[y]);
    let (after, account) = pruned(&graph);
    assert_eq!(after, graph);
    assert_eq!(account, Pruning::default());
}

#[test]
fn pruning_twice_removes_nothing_more() {
    for seed in 0..60 {
        let (once, _) = pruned(&random_network(seed));
        let mut twice = once.clone();
        assert_eq!(prune(&mut twice).layers, [], "seed {seed}");
    }
}

/// By value: channels of a node's result that hold the same picture whatever goes in, found by
/// execution. `None` where a ReLU happens to stop all it gets: that proves nothing about weights.
fn observed_constants(graph: &Graph) -> Option<Vec<Vec<bool>>> {
    let len: usize = graph.shape(graph.inputs[0]).iter().product();
    let mut random = Random(99);
    let mut run = || reference::run_values(graph, &[values(&mut random, len)]).expect("runs");
    let runs = [run(), run(), run()];
    let constant = |id: usize| -> Vec<bool> {
        let Some(first) = &runs[0][id] else { return Vec::new() };
        let channels = graph.values[id].shape[1];
        let plane = |values: &[f64], c: usize| {
            values[c * first.len() / channels..(c + 1) * first.len() / channels].to_vec()
        };
        let of_run = |run: usize| runs[run][id].as_deref().expect("computed");
        let same = |c: usize| (1..3).all(|run| plane(of_run(run), c) == plane(first, c));
        (0..channels).map(same).collect()
    };
    let constants: Vec<Vec<bool>> = (0..graph.values.len()).map(constant).collect();
    let activations = graph.nodes.iter().filter(|node| matches!(node.op, Op::Activation(_)));
    let [from, to] = [|node: &Node| node.inputs[0], |node: &Node| node.output];
    let faithful = |node: &Node| constants[from(node).index()] == constants[to(node).index()];
    activations.clone().all(faithful).then_some(constants)
}

/// Whether every way from a value leads through activations into unpadded or dense layers that mix
/// channels: those can take up any constant.
fn readers_take_constants(graph: &Graph, id: ValueId) -> bool {
    let readers = graph.nodes.iter().filter(|node| node.inputs.contains(&id));
    let takes = |node: &Node| match &node.op {
        Op::Linear { .. } => true,
        Op::Conv(conv) => conv.groups == 1 && conv.window.pad == Pad::default(),
        Op::Activation(_) => readers_take_constants(graph, node.output),
        _ => false,
    };
    !graph.outputs.contains(&id) && readers.clone().all(takes) && readers.count() > 0
}

#[test]
fn random_networks_compute_the_same_and_lose_what_execution_shows_to_be_constant() {
    let (mut expected, mut removed) = (0, 0);
    for seed in 0..400 {
        let graph = random_network(seed);
        let mut after = graph.clone();
        let account = prune(&mut after);
        assert_eq!(account.refused, None, "seed {seed}");
        let error = difference(&graph, &after);
        assert!(error <= 1e-9, "seed {seed}: {error:e}");
        let constants = observed_constants(&graph);
        for node in graph.nodes.iter().filter(|node| is_layer(node)) {
            let (id, all) = (node.output, graph.shape(node.output)[1]);
            let left = channels(&graph, &after, id);
            removed += all - left;
            let grouped = matches!(&node.op, Op::Conv(conv) if conv.groups > 1);
            if let Some(constants) = &constants
                && !grouped
                && readers_take_constants(&graph, id)
            {
                let dead = constants[id.index()].iter().filter(|&&c| c).count();
                expected += dead;
                assert!(left <= (all - dead).max(1), "seed {seed}, {}", graph.get(id).name);
            }
        }
    }
    println!("{removed} channels removed, {expected} of them shown by execution to be constant");
    assert!(expected > 400 && removed > 2 * expected, "{removed} {expected}");
}

#[test]
fn layers_of_1_22_281_and_511_channels_run_right() {
    let widths = [1, 22, 281, 511];
    for (k, outputs) in widths.into_iter().enumerate() {
        let (mut net, x) = Builder::new(13, widths[(k + 1) % 4], [5, 6]);
        let mut y = net.conv_relu(x, Layer::of(outputs, 3, 1, 1));
        y = net.conv_relu(y, Layer::of(outputs, 3, 2, outputs));
        y = net.conv_relu(y, Layer::of(widths[(k + 2) % 4], 1, 1, 1));
        let flat = net.channels(y) * 9;
        y = net.node(Op::Reshape, vec![y], &[1, flat]);
        y = net.linear(y, outputs);
        runs(&net.finish(&[y]));
    }
}

#[test]
fn resrep_resnet50_has_its_published_cost_and_runs() {
    let mut fused = fuse(resrep50(224), FuseMode::Free, &mut |_| {});
    let graph = &mut fused.graph;
    let account = prune(graph);
    // 54.54 % of the 4.0892 GMAC gone.
    assert_eq!(facts::macs(graph), 1_858_866_887);
    // The published 16.51 M count weights and the classifier's bias; fusion gives each of the 53
    // convolutions a bias.
    let biases = |node: &Node| match node.op {
        Op::Conv(_) => graph.shape(node.output)[1] as u64,
        _ => 0,
    };
    let biases: u64 = graph.nodes.iter().map(biases).sum();
    assert_eq!((facts::params(graph) - biases, biases), (16_510_767, 23_318));
    assert_eq!(account.certificate.map(|c| c.error <= 1e-6), Some(true), "{account:?}");
    runs(graph);
}
