//! Trained models, quantized: what the passes promise, on pictures that calibration has not seen.
#![forbid(unsafe_code)]

use std::path::Path;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Graph, Quantization, ValueId};
use unbraid_converter::quantize::simulate::simulated;
use unbraid_converter::quantize::{Activations, Samples};
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
