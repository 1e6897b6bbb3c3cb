//! What is written as ONNX comes back as the same function. (Other importers: `oracle.rs`.)

use std::path::{Path, PathBuf};
use unbraid_converter::export::to_onnx;
use unbraid_converter::graph::Graph;
use unbraid_converter::import::{Options, from_bytes, load};
use unbraid_converter::onnx::ModelProto;
use unbraid_converter::reference;
use unbraid_tests::every_op;
use unbraid_tests::graphs::random_affine;
use unbraid_tests::rng::Random;

fn random_input(graph: &Graph) -> Vec<f32> {
    Random(4).vec(graph.shape(graph.inputs[0]).iter().product())
}

fn run(graph: &Graph, x: &[f32]) -> Vec<Vec<f64>> {
    let input = x.iter().map(|&v| f64::from(v)).collect();
    reference::run(graph, &[input]).expect("a whole graph")
}

/// Writes, reads back, and compares the functions bit by bit.
fn round_trip(graph: &Graph) -> Graph {
    let bytes = to_onnx(graph);
    assert_eq!(bytes, to_onnx(graph), "same graph, same bytes");
    let again = from_bytes(bytes, &Options::default()).expect("what was written");
    let x = random_input(graph);
    assert_eq!(run(graph, &x), run(&again, &x));
    let names = |g: &Graph| g.outputs.iter().map(|&o| g.get(o).name.clone()).collect::<Vec<_>>();
    assert_eq!(names(graph), names(&again));
    again
}

fn trained_models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let nets = ["repvgg", "mobileone", "plain"].into_iter();
    nets.flat_map(|n| ["eval", "preserve"].map(|e| folder.join(format!("{n}_{e}.onnx")))).collect()
}

#[test]
fn trained_models_come_back_node_for_node() {
    for path in trained_models() {
        let graph = load(&path, &Options::default()).expect("a good model");
        let again = round_trip(&graph);
        let nodes =
            |g: &Graph| g.nodes.iter().map(|n| (n.name.clone(), n.op.clone())).collect::<Vec<_>>();
        assert_eq!(nodes(&graph), nodes(&again), "{}", path.display());
    }
}

#[test]
fn random_graphs_come_back() {
    for seed in 0..20 {
        round_trip(&random_affine(seed));
    }
}

#[test]
fn fused_activations_and_border_biases_come_back() {
    round_trip(&every_op::fused());
}

#[test]
fn every_other_operation_comes_back() {
    round_trip(&every_op::plain(1));
}

#[test]
fn dilated_average_pools_come_back_in_the_opset_that_has_them() {
    let opset = |graph: &Graph| {
        let model: ModelProto = prost::Message::decode(&*to_onnx(graph)).expect("what was written");
        model.opset_import[0].version
    };
    let dilated = every_op::plain(2);
    round_trip(&dilated);
    assert_eq!((opset(&every_op::plain(1)), opset(&dilated)), (13, 19));
}

#[test]
fn values_of_equal_names_stay_apart() {
    let mut graph = every_op::plain(1);
    for value in &mut graph.values {
        value.name = "v".into();
    }
    let again = from_bytes(to_onnx(&graph), &Options::default()).expect("unique names");
    let x = random_input(&graph);
    assert_eq!(run(&graph, &x), run(&again, &x));
}
