//! Claims about the cures of quantization: equalisation changes nothing but ranges, rounding by least
//! squares and bias correction bring a network nearer to what it computed in float, and mixed precision
//! meets its bound.
#![forbid(unsafe_code)]

use std::path::Path;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{
    Activation, Border, BorderBias, Function, Graph, Node, Op, ValueId,
};
use unbraid_converter::quantize::equalise::{BALANCES, Equaliser};
use unbraid_converter::quantize::judge::Judge;
use unbraid_converter::quantize::rounding::{Fit, fit};
use unbraid_converter::quantize::simulate::simulated;
use unbraid_converter::quantize::{
    Activations, Goal, Labelled, LabelledError, Options, Samples, quantize, quantize_to,
};
use unbraid_converter::{import, reference};
use unbraid_tests::dead::{scale_rows, set_bias};
use unbraid_tests::fashion::Pictures;
use unbraid_tests::graphs::{Builder, Layer, difference, square};
use unbraid_tests::rng::Random;

/// Largest difference that factors rounded to f32 may make, relative to the outputs.
const ROUNDED: f64 = 2e-6;

/// Normal numbers for the only input.
fn noise(graph: &Graph, count: usize) -> Samples {
    let one: usize = graph.shape(graph.inputs[0]).iter().product();
    Samples::new(graph, vec![Random(5).normals(1.0, one * count)]).unwrap()
}

fn set_activation(net: &mut Builder, activation: Activation) {
    match &mut net.graph.nodes.last_mut().expect("a node").op {
        Op::Conv(conv) => conv.activation = activation,
        op => panic!("no activation in {op:?}"),
    }
}

/// Rows of very different sizes, so that there is something to equalise.
fn uneven(graph: &mut Graph) {
    let layers: Vec<ValueId> = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Conv(_)))
        .map(|n| n.output)
        .collect();
    for y in layers {
        scale_rows(graph, y, &[0], 8.0);
        scale_rows(graph, y, &[1], 0.1);
    }
}

/// `y` pooled, dense.
fn ended(mut net: Builder, y: ValueId) -> Graph {
    let shape = net.graph.shape(y).to_vec();
    let pooled = net.node(Op::GlobalAveragePool, vec![y], &[1, shape[1], 1, 1]);
    let flat = net.reshape(pooled, &[1, shape[1]]);
    let y = net.linear(flat, 5);
    let mut graph = net.finish(&[y]);
    uneven(&mut graph);
    graph
}

/// A network for each kind of way on which channels are scaled.
fn ways() -> Vec<(&'static str, Graph)> {
    let start = || {
        let (mut net, x) = Builder::new(3, 3, [9, 8]);
        let y = net.conv_relu(x, Layer::of(8, 3, 1, 1));
        (net, y)
    };
    let mut ways = Vec::new();
    let (net, y) = start();
    ways.push(("pool and dense layer", ended(net, y)));
    let (mut net, y) = start();
    let y = net.conv_relu(y, Layer::of(8, 3, 1, 8));
    let y = net.conv_relu(y, Layer::of(12, 1, 1, 1));
    ways.push(("depthwise", ended(net, y)));
    let (mut net, y) = start();
    let y = net.conv_relu(y, Layer::of(8, 3, 2, 4));
    ways.push(("grouped", ended(net, y)));
    let (mut net, y) = start();
    let z = net.conv_relu(y, Layer::of(8, 3, 1, 1));
    let sum = net.add(y, z);
    let z = net.conv_relu(sum, Layer::of(8, 3, 1, 1));
    let sum = net.add(sum, z);
    ways.push(("residual", ended(net, sum)));
    let (mut net, y) = start();
    let z = net.conv_relu(y, Layer::of(4, 1, 1, 1));
    let both = net.concat(&[z, y]);
    let some = net.channels_from(both, 2, 7);
    let y = net.conv_relu(some, Layer::of(6, 3, 1, 1));
    ways.push(("concat and slice", ended(net, y)));
    let (mut net, y) = start();
    let y = net.conv(y, Layer::of(8, 3, 1, 1).biased());
    set_activation(&mut net, Activation::LeakyRelu { slope: 0.1 });
    let y = net.average(y, square(3, 1, 1), false);
    let y = net.conv(y, Layer::of(8, 3, 1, 1).biased());
    let slope = net.random.tensor(&[8], 0.1, 0.4);
    set_activation(&mut net, Activation::PRelu { slope });
    let window = square(2, 2, 0);
    let y = net.node(Op::MaxPool(window), vec![y], &[1, 8, 4, 4]);
    let y = net.reshape(y, &[1, 128]);
    let y = net.linear(y, 4);
    let mut graph = net.finish(&[y]);
    uneven(&mut graph);
    ways.push(("leaky, slopes, pools, flattened", graph));
    let (mut net, y) = start();
    let pooled = net.node(Op::GlobalAveragePool, vec![y], &[1, 8, 1, 1]);
    let gate = net.conv(pooled, Layer::of(8, 1, 1, 1).biased());
    let gate = net.node(Op::Unary(Function::Sigmoid), vec![gate], &[1, 8, 1, 1]);
    let y = net.node(Op::Mul, vec![y, gate], &[1, 8, 9, 8]);
    ways.push(("gate", ended(net, y)));
    ways.push(("border", bordered()));
    ways
}

/// Two layers, the first with nine bias vectors.
fn bordered() -> Graph {
    let (mut net, x) = Builder::new(8, 3, [9, 8]);
    let y = net.conv(x, Layer::of(6, 3, 1, 1));
    let bias = net.random.tensor(&[9, 6], -1.0, 1.0);
    let classes = Border { top: 1, left: 1, bottom: 1, right: 1 };
    match &mut net.graph.nodes[0].op {
        Op::Conv(conv) => conv.border = Some(BorderBias { classes, bias }),
        op => panic!("{op:?}"),
    }
    set_activation(&mut net, Activation::Clamp { lo: 0.0, hi: f32::INFINITY });
    let y = net.conv_relu(y, Layer::of(6, 3, 1, 1));
    ended(net, y)
}

#[test]
fn equalisation_keeps_the_function_on_every_way_between_layers() {
    for (name, graph) in ways() {
        let samples = noise(&graph, 4);
        let equaliser = Equaliser::new(&graph, &samples).unwrap();
        assert!(equaliser.has_sets(), "{name}");
        for balance in BALANCES {
            let equalised = equaliser.equalised(balance);
            assert_ne!(equalised, graph, "{name}, {balance:?}");
            let error = difference(&graph, &equalised);
            assert!(error <= ROUNDED, "{name}, {balance:?}: {error:e}");
        }
    }
}

#[test]
fn equalised_trained_networks_compute_the_same() {
    for net in ["repvgg", "acnet", "ecb"] {
        let graph = trained(net);
        let equaliser = Equaliser::new(&graph, &pictures(&graph, 0..4)).unwrap();
        for balance in BALANCES {
            let error = difference(&graph, &equaliser.equalised(balance));
            assert!(error <= ROUNDED, "{net}, {balance:?}: {error:e}");
        }
    }
}

#[test]
fn channels_that_reach_an_upper_bound_stay_and_others_stay_below_it() {
    let (mut net, x) = Builder::new(4, 3, [8, 8]);
    let y = net.conv(x, Layer::of(8, 3, 1, 1).biased());
    set_activation(&mut net, Activation::Clamp { lo: 0.0, hi: 6.0 });
    let z = net.conv_relu(y, Layer::of(8, 3, 1, 1));
    let graph = ended(net, z);
    let samples = noise(&graph, 8);
    let values = Activations::new(&graph, &[y]).unwrap().all(&samples).unwrap();
    let reaches = |v: &Vec<Vec<f32>>| v[0].contains(&6.0);
    assert!(values.iter().any(reaches), "the case is of no use otherwise");
    let equaliser = Equaliser::new(&graph, &samples).unwrap();
    for balance in BALANCES {
        let equalised = equaliser.equalised(balance);
        for index in 0..samples.len() {
            let x: Vec<f64> =
                samples.get(index).next().unwrap().iter().map(|&v| v.into()).collect();
            let [exact, found] = [&graph, &equalised]
                .map(|graph| reference::run(graph, std::slice::from_ref(&x)).unwrap().remove(0));
            let largest = exact.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            let errors = exact.iter().zip(&found).map(|(a, b)| (a - b).abs() / largest);
            assert!(errors.fold(0.0, f64::max) <= ROUNDED, "{balance:?}");
        }
    }
}

/// A trained network, fused.
fn trained(net: &str) -> Graph {
    let file = format!("models/{net}_preserve.onnx");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let graph = import::load(&path, &import::Options::default()).unwrap();
    fuse(graph, FuseMode::Free, &mut |_| {}).graph
}

/// Some test pictures as samples.
fn pictures(graph: &Graph, which: std::ops::Range<usize>) -> Samples {
    let pictures = Pictures::test(which.end).unwrap();
    Samples::new(graph, vec![which.flat_map(|index| pictures.normalised(index)).collect()]).unwrap()
}

/// Plain quantization with 4-bit weights, one scale a layer: the case that collapses.
fn collapsing() -> Options {
    Options { weight_bits: 4, per_tensor: true, ..Options::plain() }
}

#[test]
fn fitted_layers_save_a_network_that_collapses_on_pictures_not_seen() {
    let graph = trained("repvgg");
    let samples = pictures(&graph, 0..96);
    let judge = Judge::new(&graph, pictures(&graph, 96..224)).unwrap();
    let plain = quantize(&graph, &samples, &collapsing()).unwrap().graph;
    let fitted = |fit_what| {
        let mut fitted = plain.clone();
        let facts = fit(&graph, &mut fitted, &samples, fit_what).unwrap();
        (judge.decibels(&fitted).unwrap(), facts)
    };
    let before = judge.decibels(&plain).unwrap();
    let (bias, _) = fitted(Fit { rounding: false, bias: true });
    let (rounding, facts) = fitted(Fit { rounding: true, bias: false });
    let (both, _) = fitted(Fit { rounding: true, bias: true });
    println!("plain {before:.2} dB, bias {bias:.2}, rounding {rounding:.2}, both {both:.2}");
    assert!(bias > before && rounding > before + 15.0 && both > before + 15.0);
    assert_eq!(facts.len(), 8);
    assert!(facts.iter().all(|layer| layer.gain.is_some_and(|gain| gain > 0.0)), "{facts:?}");
}

#[test]
fn rounded_weights_stay_on_their_grids() {
    let graph = trained("repvgg");
    let samples = pictures(&graph, 0..16);
    let mut quantized = quantize(&graph, &samples, &collapsing()).unwrap().graph;
    fit(&graph, &mut quantized, &samples, Fit { rounding: true, bias: true }).unwrap();
    let mut layers = 0;
    for value in &quantized.values {
        let (Some(tensor), Some(quantization)) = (&value.constant, &value.quantization) else {
            continue;
        };
        let scale = quantization.scales[0];
        let integers = tensor.as_f32().unwrap().iter().map(|weight| weight / scale);
        integers.for_each(|q| assert!((q - q.round()).abs() < 1e-4 && q.abs() < 7.5, "{q}"));
        layers += 1;
    }
    assert_eq!(layers, 8);
}

/// Means of each channel (of 6) in each border class of the result.
fn class_means(graph: &Graph, samples: &Samples) -> Vec<f64> {
    let y = graph.outputs[0];
    let (mut sums, mut counts) = (vec![0.0; 54], vec![0.0; 54]);
    let class = |at: usize, len: usize| match at {
        0 => 0,
        at if at + 1 == len => 2,
        _ => 1,
    };
    for values in Activations::new(graph, &[y]).unwrap().all(samples).unwrap() {
        for (at, &value) in values[0].iter().enumerate() {
            let (channel, row, column) = (at / 72, at / 8 % 9, at % 8);
            let k = (class(row, 9) * 3 + class(column, 8)) * 6 + channel;
            sums[k] += f64::from(value);
            counts[k] += 1.0;
        }
    }
    sums.iter().zip(&counts).map(|(sum, count)| sum / count).collect()
}

#[test]
fn corrected_biases_remove_the_mean_error_of_every_channel_and_border_class() {
    let mut graph = bordered();
    // What the layer adds up, before anything bends or rounds it.
    graph.nodes.truncate(1);
    graph.outputs = vec![graph.nodes[0].output];
    if let Node { op: Op::Conv(conv), .. } = &mut graph.nodes[0] {
        conv.activation = Activation::None;
    }
    let samples = noise(&graph, 12);
    let mut quantized = quantize(&graph, &samples, &collapsing()).unwrap().graph;
    let worst = |quantized: &Graph| {
        let exact = class_means(&graph, &samples);
        let found = class_means(&simulated(quantized), &samples);
        exact.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let before = worst(&quantized);
    fit(&graph, &mut quantized, &samples, Fit { rounding: false, bias: true }).unwrap();
    let after = worst(&quantized);
    assert!(before > 1e-2 && after < 1e-4, "{before:e} {after:e}");
}

#[test]
fn mixed_precision_meets_its_bound_and_a_lower_one_with_less_float() {
    let graph = trained("repvgg");
    let samples = pictures(&graph, 0..64);
    let options = Options { per_tensor: true, ..Options::plain() };
    let judge = Judge::new(&graph, samples.clone()).unwrap();
    let mut costs = Vec::new();
    for bound in [15.0, 27.0, 32.0, 150.0] {
        let goal = Goal::MinSqnr(bound);
        let mixed = quantize_to(&graph, &samples, &options, Some(&goal)).unwrap();
        let found = judge.decibels(&mixed.graph).unwrap();
        assert!(found >= bound, "{found} of {bound} dB");
        let account = &mixed.account;
        assert_eq!(account.sensitivity.len(), 8);
        let is_float = |name: &str| account.float_layers.iter().any(|float| float.name == name);
        let float = account.sensitivity.iter().filter(|layer| is_float(&layer.name));
        let float: u64 = float.map(|layer| layer.macs).sum();
        costs.push((account.float_layers.len(), float));
    }
    assert_eq!(costs[0].0, 0, "{costs:?}");
    assert!((1..8).contains(&costs[1].0), "{costs:?}");
    assert!(costs.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{costs:?}");
    assert_eq!(costs[3].0, 8, "only float is that exact: {costs:?}");
}

#[test]
fn a_drop_in_accuracy_is_bounded_by_labelled_samples() {
    let graph = trained("repvgg");
    let (samples, labels) = (pictures(&graph, 0..64), Pictures::test(64).unwrap().labels);
    let classes: Vec<usize> = labels.iter().map(|&label| usize::from(label)).collect();
    let labelled = Labelled::new(&graph, samples.clone(), classes.clone()).unwrap();
    let exact = labelled.accuracy(&graph).unwrap();
    let plain = quantize(&graph, &samples, &collapsing()).unwrap();
    assert!(labelled.accuracy(&plain.graph).unwrap() < exact - 20.0, "it collapses");
    let goal = Goal::MaxDrop { points: 2.0, labelled: labelled.clone() };
    let mixed = quantize_to(&graph, &samples, &collapsing(), Some(&goal)).unwrap();
    assert!(labelled.accuracy(&mixed.graph).unwrap() >= exact - 2.0);
    assert!(mixed.account.float_layers.len() < 8);
    let few = Labelled::new(&graph, samples.clone(), classes[1..].to_vec());
    assert_eq!(few, Err(LabelledError::Count { labels: 63, samples: 64 }));
    let wrong = Labelled::new(&graph, samples, vec![10; 64]);
    assert_eq!(wrong, Err(LabelledError::Class { sample: 0, class: 10, classes: 10 }));
}

#[test]
fn dead_channels_huge_biases_and_empty_pictures_leave_numbers() {
    let (mut net, x) = Builder::new(6, 3, [8, 8]);
    let y = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let z = net.conv_relu(y, Layer::of(8, 3, 1, 1));
    let mut graph = ended(net, z);
    scale_rows(&mut graph, y, &[2, 3], 0.0);
    set_bias(&mut graph, y, &[3], -1.0);
    set_bias(&mut graph, y, &[4], 1e6);
    set_bias(&mut graph, y, &[5], -1e6);
    let some = noise(&graph, 8);
    let zeros = Samples::new(&graph, vec![vec![0.0; 8 * 8 * 3 * 4]]).unwrap();
    for samples in [some, zeros] {
        for options in [Options::default(), Options { weight_bits: 4, ..Options::default() }] {
            let quantized = quantize(&graph, &samples, &options).unwrap();
            let simulated = simulated(&quantized.graph);
            let outputs = Activations::new(&simulated, &graph.outputs).unwrap().all(&samples);
            assert!(outputs.unwrap().iter().flatten().flatten().all(|v| v.is_finite()));
        }
    }
}

#[test]
fn a_shared_constant_is_scaled_for_its_reader_only() {
    let (mut net, x) = Builder::new(9, 4, [6, 6]);
    let y = net.conv_relu(x, Layer::of(4, 3, 1, 1));
    let z = net.conv_relu(y, Layer::of(4, 3, 1, 1));
    let mut graph = ended(net, z);
    // Both layers have the same weights and the same biases.
    graph.nodes[1].inputs = vec![y, graph.nodes[0].inputs[1], graph.nodes[0].inputs[2]];
    let equaliser = Equaliser::new(&graph, &noise(&graph, 4)).unwrap();
    for balance in BALANCES {
        let error = difference(&graph, &equaliser.equalised(balance));
        assert!(error <= ROUNDED, "{balance:?}: {error:e}");
    }
}
