//! Trained models, quantized: what the passes promise, on pictures that calibration has not seen.
#![forbid(unsafe_code)]

use std::path::Path;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Graph, Op, Quantization, ValueId};
use unbraid_converter::quantize::account::ActivationFacts;
use unbraid_converter::quantize::simulate::simulated;
use unbraid_converter::quantize::{Activations, Options, Samples, quantize};
use unbraid_converter::{import, reference};
use unbraid_tests::fashion::Pictures;

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
