//! Trained models, quantized: what the passes promise, on pictures that calibration has not seen.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::Path;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Activation, Conv, Graph, Op, Quantization, ValueId, Window};
use unbraid_converter::quantize::account::{ActivationFacts, Noise};
use unbraid_converter::quantize::simulate::simulated;
use unbraid_converter::quantize::{
    Activations, Options, QuantizeError, Samples, Warning, quantize,
};
use unbraid_converter::tensor::Tensor;
use unbraid_converter::{import, reference};
use unbraid_tests::fashion::Pictures;
use unbraid_tests::rng::Random;

/// A trained network, fused.
fn trained(net: &str) -> Graph {
    let file = format!("models/{net}_preserve.onnx");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let graph = import::load(&path, &import::Options::default()).unwrap();
    fuse(graph, FuseMode::Free, &mut |_| {}).graph
}

/// The first pictures as samples.
fn samples(graph: &Graph, pictures: &Pictures) -> Samples {
    let values = (0..pictures.len()).flat_map(|index| pictures.normalised(index)).collect();
    Samples::new(graph, vec![values]).unwrap()
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

#[test]
fn activations_are_those_of_the_oracle_in_its_order() {
    let graph = trained("repmlp");
    let samples = samples(&graph, &Pictures::test(3).unwrap());
    let computed = graph.nodes.iter().map(|node| node.output);
    let watched: Vec<ValueId> = graph.inputs.iter().copied().chain(computed).collect();
    let found = Activations::new(&graph, &watched).unwrap().all(&samples).unwrap();
    for (index, found) in found.iter().enumerate() {
        let picture = samples.get(index).next().unwrap();
        let exact = reference::run_values(&graph, &[widened(picture)]).unwrap();
        for (&id, found) in watched.iter().zip(found) {
            let exact = exact[id.index()].clone().unwrap_or_else(|| widened(picture));
            let largest = exact.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            assert_eq!(exact.len(), found.len());
            let pairs = exact.iter().zip(found);
            let worst = pairs.map(|(y, &x)| (y - f64::from(x)).abs()).fold(0.0, f64::max);
            assert!(worst <= 1e-5 * largest, "{}: {worst:e}", graph.get(id).name);
        }
    }
}

#[test]
fn simulation_rounds_to_the_grid() {
    let mut graph = trained("plain");
    let (input, hidden) = (graph.inputs[0], graph.nodes[1].output);
    let samples = samples(&graph, &Pictures::test(2).unwrap());
    let quantization =
        |scale, zero_point| Quantization { scales: vec![scale], zero_point, bits: 8 };
    graph.values[input.index()].quantization = Some(quantization(0.02, -30));
    graph.values[hidden.index()].quantization = Some(quantization(0.5, -128));
    let simulated = simulated(&graph);
    let watched = [input, hidden];
    for values in Activations::new(&simulated, &watched).unwrap().all(&samples).unwrap() {
        for (values, (scale, zero_point)) in values.iter().zip([(0.02_f32, -30), (0.5, -128)]) {
            let integer = |value: &f32| (value / scale).round() as i32 + zero_point;
            assert!(values.iter().all(|v| (v / scale - (v / scale).round()).abs() < 1e-3));
            assert!(values.iter().all(|v| (-128..=127).contains(&integer(v))));
            assert!(values.iter().any(|v| integer(v) > zero_point + 1));
        }
    }
}

/// Training pictures, which is what calibration may see.
fn calibration(graph: &Graph, count: usize) -> Samples {
    samples(graph, &Pictures::training(count).unwrap())
}

#[test]
fn convolutions_become_integers_and_outputs_stay_float() {
    let graph = trained("repvgg");
    let quantized = quantize(&graph, &calibration(&graph, 32), &Options::plain()).unwrap();
    let is_layer = |op: &Op| matches!(op, Op::Conv(_) | Op::Linear { .. });
    let layers = graph.nodes.iter().filter(|node| is_layer(&node.op)).count();
    assert_eq!(quantized.account.layers.len(), layers);
    let stored = |id: ValueId| quantized.graph.get(id).quantization.as_ref();
    for node in quantized.graph.nodes.iter().filter(|node| is_layer(&node.op)) {
        assert!(stored(node.inputs[0]).is_some(), "{}", node.name);
        let weights = stored(node.inputs[1]).expect("scales of weights");
        assert_eq!(weights.scales.len(), graph.shape(node.inputs[1])[0], "{}", node.name);
    }
    assert!(quantized.graph.outputs.iter().all(|&id| stored(id).is_none()));
    for value in &quantized.graph.values {
        assert_eq!(value.check_quantization(), Ok(()), "{}", value.name);
    }
}

#[test]
fn what_only_moves_values_keeps_their_quantization() {
    for net in ["ecb", "repvgg"] {
        let graph = trained(net);
        let quantized = quantize(&graph, &calibration(&graph, 32), &Options::plain()).unwrap();
        let stored = |id: ValueId| quantized.graph.get(id).quantization.clone();
        let moves = |op: &Op| matches!(op, Op::MaxPool(_) | Op::Reshape | Op::Slice { .. });
        let moving: Vec<_> = graph.nodes.iter().filter(|node| moves(&node.op)).collect();
        assert!(!moving.is_empty());
        for node in moving.iter().filter(|node| stored(node.output).is_some()) {
            assert_eq!(stored(node.inputs[0]), stored(node.output), "{}", node.name);
        }
    }
}

#[test]
fn values_after_a_relu_have_all_256_integers_above_zero() {
    let graph = trained("plain");
    let quantized = quantize(&graph, &calibration(&graph, 32), &Options::default()).unwrap();
    let relu = |facts: &&ActivationFacts| facts.seen[0] == 0.0;
    let facts = &quantized.account.activations;
    assert!(facts.iter().filter(relu).count() >= 7);
    assert!(facts.iter().filter(relu).all(|facts| facts.zero_point == -128));
}

#[test]
fn raw_pixels_are_their_own_integers() {
    let options = import::Options {
        normalise: Some((vec![72.94], vec![90.02])),
        ..import::Options::default()
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/plain_eval.onnx");
    let graph = fuse(import::load(&path, &options).unwrap(), FuseMode::Free, &mut |_| {}).graph;
    let pictures = Pictures::training(32).unwrap();
    let raw = (0..pictures.len()).flat_map(|index| pictures.raw(index)).collect();
    let samples = Samples::new(&graph, vec![raw]).unwrap();
    let options = Options { raw_pixels: true, ..Options::plain() };
    let quantized = quantize(&graph, &samples, &options).unwrap();
    let input = quantized.graph.get(graph.inputs[0]).quantization.as_ref().unwrap();
    assert_eq!((&input.scales[..], input.zero_point), (&[1.0][..], -128));
}

#[test]
fn first_last_and_named_layers_can_stay_in_float() {
    let graph = trained("repvgg");
    let samples = calibration(&graph, 8);
    let named = graph.nodes[1].name.clone();
    let options = Options {
        float_first: true,
        float_last: true,
        float_nodes: vec![named.clone()],
        ..Options::plain()
    };
    let account = quantize(&graph, &samples, &options).unwrap().account;
    let float: Vec<&str> = account.float_layers.iter().map(|layer| layer.name.as_str()).collect();
    let last = graph.nodes.iter().rfind(|node| matches!(node.op, Op::Linear { .. })).unwrap();
    assert_eq!(float, [graph.nodes[0].name.as_str(), &named, &last.name]);
    let unknown = Options { float_nodes: vec!["nowhere".to_owned()], ..Options::plain() };
    let error = quantize(&graph, &samples, &unknown).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// Logits of some test pictures by the kernels that the graph's steps have.
fn executed(graph: &Graph, pictures: &Pictures) -> Vec<Vec<f32>> {
    let found = Activations::new(graph, &graph.outputs).unwrap();
    let found = found.all(&samples(graph, pictures)).unwrap();
    found.into_iter().map(|mut outputs| outputs.swap_remove(0)).collect()
}

/// Percent of the pictures whose best class is the right one.
fn accuracy(logits: &[Vec<f32>], pictures: &Pictures) -> f64 {
    let best = |logits: &Vec<f32>| {
        (0..logits.len()).fold(0, |best, k| if logits[k] > logits[best] { k } else { best })
    };
    let pairs = logits.iter().zip(&pictures.labels);
    let right = pairs.filter(|(logits, label)| best(logits) == usize::from(**label)).count();
    100.0 * right as f64 / pictures.len() as f64
}

fn decibels(exact: &[Vec<f32>], found: &[Vec<f32>]) -> f64 {
    let mut noise = Noise::default();
    exact.iter().zip(found).for_each(|(exact, found)| noise.add(exact, found));
    noise.decibels()
}

/// Prints a measured figure also where the test passes: the harness captures macros only.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error takes text");
}

/// Accuracy of the float network less that of the quantized one, and signal to noise of its logits.
fn quality(net: &str, what: &str, options: &Options) -> (f64, f64) {
    let count = std::env::var("UNBRAID_PICTURES").map_or(1000, |n| n.parse().expect("a number"));
    let pictures = Pictures::test(count).unwrap();
    let graph = trained(net);
    let quantized = quantize(&graph, &calibration(&graph, 256), options).unwrap();
    let (exact, found) = (executed(&graph, &pictures), executed(&quantized.graph, &pictures));
    let [float, integer] = [&exact, &found].map(|logits| accuracy(logits, &pictures));
    let decibels = decibels(&exact, &found);
    say(&format!("{net}, {what}: {integer:.2} % of {float:.2} %, {decibels:.1} dB"));
    (float - integer, decibels)
}

#[test]
fn eight_bits_cost_no_accuracy_and_gain_on_plain_quantization() {
    let plain = Options { per_tensor: true, ..Options::plain() };
    let (_, before) = quality("repvgg", "8 bits, plain, one scale a layer", &plain);
    let (drop, after) = quality("repvgg", "8 bits", &Options::default());
    assert!(drop <= 0.2, "{drop} points");
    assert!(after >= before + 10.0, "{before} dB, then {after} dB");
}

#[test]
fn four_bits_with_one_scale_a_layer_survive_what_collapses_without_the_passes() {
    let four = |options| Options { per_tensor: true, weight_bits: 4, ..options };
    let (collapse, _) =
        quality("repvgg", "4 bits, plain, one scale a layer", &four(Options::plain()));
    let (drop, _) = quality("repvgg", "4 bits, one scale a layer", &four(Options::default()));
    assert!(collapse > 20.0, "{collapse} points");
    assert!(drop <= 2.0, "{drop} points");
}

#[test]
fn four_bits_a_channel_cost_little() {
    let four = |options| Options { weight_bits: 4, ..options };
    quality("repvgg", "4 bits, plain", &four(Options::plain()));
    let (drop, _) = quality("repvgg", "4 bits", &four(Options::default()));
    assert!(drop <= 0.7, "{drop} points");
}

#[test]
fn same_graph_samples_and_options_give_the_same_graph() {
    let graph = trained("qarepvgg");
    let samples = calibration(&graph, 24);
    let once = || quantize(&graph, &samples, &Options::default()).unwrap();
    let (one, other) = (once(), once());
    assert_eq!(one.graph, other.graph);
    assert_eq!(one.account, other.account);
}

/// Warnings of a quantization of `graph` on `samples`.
fn warnings(graph: &Graph, samples: &Samples) -> Vec<Warning> {
    quantize(graph, samples, &Options::plain()).unwrap().account.warnings
}

#[test]
fn calibration_on_noise_on_one_picture_and_on_copies_is_warned_about() {
    let graph = trained("plain");
    let good = warnings(&graph, &calibration(&graph, 64));
    assert_eq!(good, []);
    let noise = Samples::new(&graph, vec![Random(7).vec(64 * 784)]).unwrap();
    let found = warnings(&graph, &noise);
    assert!(found.iter().any(|warning| matches!(warning, Warning::Noise { .. })), "{found:?}");
    let one = warnings(&graph, &calibration(&graph, 1));
    assert!(one.iter().any(|warning| matches!(warning, Warning::Few { found: 1 })), "{one:?}");
    let picture = Pictures::training(1).unwrap().normalised(0);
    let copies = Samples::new(&graph, vec![picture.repeat(32)]).unwrap();
    let found = warnings(&graph, &copies);
    assert!(found.iter().any(|w| matches!(w, Warning::Copies { found: 31, all: 32 })), "{found:?}");
    let flat = Samples::new(&graph, vec![vec![0.5; 32 * 784]]).unwrap();
    let found = warnings(&graph, &flat);
    assert!(
        found.iter().any(|warning| matches!(warning, Warning::Flat { found: 32, .. })),
        "{found:?}"
    );
}

/// Two convolutions of one pixel and one channel, the first with this weight and bias.
fn two_layers(weight: f32, bias: f32) -> Graph {
    let mut graph = Graph::default();
    let window = Window::POINT;
    let conv = |activation| Op::Conv(Conv { window, groups: 1, border: None, activation });
    let x = graph.value("x", [1, 1, 8, 8]);
    let hidden = graph.value("hidden", [1, 1, 8, 8]);
    let y = graph.value("y", [1, 1, 8, 8]);
    let w = graph.constant("w", Tensor::f32([1, 1, 1, 1], vec![weight]).unwrap());
    let v = graph.constant("v", Tensor::f32([1, 1, 1, 1], vec![0.7]).unwrap());
    let b = graph.constant("b", Tensor::vector(vec![bias]));
    let relu = Activation::Clamp { lo: 0.0, hi: f32::INFINITY };
    graph.push("first", conv(relu), vec![x, w, b], hidden);
    graph.push("second", conv(Activation::None), vec![hidden, v], y);
    (graph.inputs, graph.outputs) = (vec![x], vec![y]);
    graph
}

/// Pictures that grow brighter to one side.
fn gradients(graph: &Graph) -> Samples {
    let pixel = |at: usize| (at / 64 + 1) as f32 * ((at % 8) as f32 / 8.0 - 0.3);
    Samples::new(graph, vec![(0..32 * 64).map(pixel).collect()]).unwrap()
}

#[test]
fn activations_that_never_vary_stay_sound_and_are_named() {
    let dead = two_layers(0.0, -1.0);
    let quantized = quantize(&dead, &gradients(&dead), &Options::default()).unwrap();
    let empty = Warning::Empty { value: "hidden".to_owned() };
    assert!(quantized.account.warnings.contains(&empty), "{:?}", quantized.account.warnings);
    assert_eq!(quantized.account.float_layers.len(), 1, "{:?}", quantized.account.float_layers);
    let constant = two_layers(0.0, 3.0);
    let quantized = quantize(&constant, &gradients(&constant), &Options::default()).unwrap();
    let named = Warning::Constant { value: "hidden".to_owned(), constant: 3.0 };
    assert!(quantized.account.warnings.contains(&named), "{:?}", quantized.account.warnings);
    let found = Activations::new(&quantized.graph, &constant.outputs).unwrap();
    let found = found.all(&gradients(&constant)).unwrap();
    assert!(found.iter().flatten().flatten().all(|y| (y - 2.1).abs() < 0.02));
}

#[test]
fn huge_biases_keep_their_value_and_are_named() {
    let graph = two_layers(1e-6, 1e6);
    let quantized = quantize(&graph, &gradients(&graph), &Options::default()).unwrap();
    let named = Warning::HugeBias { layer: "first".to_owned(), channels: 1 };
    assert!(quantized.account.warnings.contains(&named), "{:?}", quantized.account.warnings);
    let found = Activations::new(&quantized.graph, &graph.outputs).unwrap();
    let found = found.all(&gradients(&graph)).unwrap();
    assert!(found.iter().flatten().flatten().all(|y| (y / 0.7e6 - 1.0).abs() < 0.01));
}

#[test]
fn a_network_that_answers_with_no_number_is_refused_by_name() {
    let graph = two_layers(1e38, 0.0);
    let samples = Samples::new(&graph, vec![vec![1e10; 64]]).unwrap();
    let error = quantize(&graph, &samples, &Options::default()).unwrap_err();
    assert!(matches!(error, QuantizeError::NotFinite { sample: 0, .. }), "{error}");
}
