//! What import makes of good models: one claim a test. (Bad ones: `bad_models.rs`.)

use std::path::{Path, PathBuf};
use unbraid_converter::graph::Graph;
use unbraid_converter::import::{Options, from_bytes, load};
use unbraid_converter::onnx::{AttributeProto, DataType, NodeProto, TensorProto};
use unbraid_converter::reference;
use unbraid_tests::onnx_file::{OnnxFile, small_network};
use unbraid_tests::rng::Random;

fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.nodes.iter().map(|n| n.op.name()).collect()
}

fn models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let entries = std::fs::read_dir(folder).expect("tests/models");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    paths.sort();
    paths
}

fn random_inputs(graph: &Graph, seed: u64) -> Vec<Vec<f64>> {
    let mut random = Random(seed);
    let len = |&id| graph.shape(id).iter().product();
    let values = |len| random.vec(len).into_iter().map(f64::from).collect();
    graph.inputs.iter().map(len).map(values).collect()
}

#[test]
fn both_exports_of_every_trained_model_import() {
    let paths = models();
    assert!(paths.len() >= 6 && paths.len().is_multiple_of(2), "{paths:?}");
    for path in paths {
        let graph = load(&path, &Options::default()).expect("a good model");
        let shape = |ids: &[_]| graph.shape(ids[0]).to_vec();
        assert_eq!(
            (shape(&graph.inputs), shape(&graph.outputs)),
            (vec![1, 1, 28, 28], vec![1, 10])
        );
        let absent = |n: &&str| ["Identity", "Constant", "Dropout"].contains(n);
        assert_eq!(ops(&graph).iter().find(|n| absent(n)), None);
    }
}

#[test]
fn preserved_and_folded_exports_are_the_same_function() {
    for pair in models().chunks(2) {
        let run = |path: &PathBuf| {
            let graph = load(path, &Options::default()).expect("a good model");
            reference::run(&graph, &random_inputs(&graph, 1)).expect("a whole graph").remove(0)
        };
        let (a, b) = (run(&pair[0]), run(&pair[1]));
        let largest = a.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let error = a.iter().zip(&b).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(error / largest < 1e-5, "{pair:?}: {error} of {largest}");
    }
}

#[test]
fn nodes_may_come_in_any_order() {
    let mut file = small_network();
    let expected = ops(&file.import());
    file.graph.node.reverse();
    assert_eq!(ops(&file.import()), expected);
}

#[test]
fn nameless_and_equally_named_nodes_get_names_of_their_own() {
    let mut file = small_network();
    file.graph.node[1].name.clear();
    file.graph.node[2].name = "make_c".into();
    let names: Vec<String> = file.import().nodes.into_iter().map(|n| n.name).collect();
    assert_eq!(names[..3], ["make_c", "BatchNormalization_1", "make_c_2"]);
}

#[test]
fn weights_may_be_constant_nodes_or_initialisers_listed_as_inputs() {
    let mut file = small_network();
    let expected = reference_of(&file);
    let weight = file.graph.initializer.remove(0);
    let node = NodeProto::new("Constant", "", &[], "w");
    file.graph.node.push(node.with(AttributeProto::tensor("value", weight)));
    let gamma = unbraid_converter::onnx::ValueInfoProto::floats("gamma", &[3]);
    file.graph.input.push(gamma);
    assert_eq!(reference_of(&file), expected);
}

fn reference_of(file: &OnnxFile) -> Vec<f64> {
    let graph = file.import();
    reference::run(&graph, &random_inputs(&graph, 2)).expect("a whole graph").remove(0)
}

#[test]
fn shape_arithmetic_of_exporters_folds_away() {
    let file = OnnxFile::new(13, &[1, 2, 3, 4])
        .ints("zero", &[0])
        .ints("minus", &[-1])
        .node("Shape", "x", "s")
        .node_with("Gather", "s zero", "n", vec![AttributeProto::int("axis", 0)])
        .node_with("Concat", "n minus", "shape", vec![AttributeProto::int("axis", 0)])
        .node("Reshape", "x shape", "r")
        .node("Identity", "r", "i")
        .node("Dropout", "i", "y");
    let graph = file.import();
    assert_eq!((ops(&graph), graph.shape(graph.outputs[0])), (vec!["Reshape"], &[1, 24][..]));
    assert_eq!(graph.get(graph.outputs[0]).name, "y");
}

#[test]
fn constant_folding_computes_what_the_operators_say() {
    let slice = |file: OnnxFile| file.ints("from", &[-1]).ints("to", &[-9]).ints("along", &[1]);
    let file = slice(OnnxFile::new(13, &[1, 3]))
        .ints("step", &[-2])
        .floats("a", &[3, 1], &[1.0, 2.0, 3.0])
        .floats("b", &[2], &[10.0, 20.0])
        .node("Mul", "a b", "m") // [[10, 20], [20, 40], [30, 60]]
        .node_with("Transpose", "m", "t", vec![AttributeProto::ints("perm", [1, 0])])
        .node("Slice", "t from to along step", "s") // [[30, 10], [60, 20]]
        .node("Sub", "s b", "d") // [[20, -10], [50, 0]]
        .ints("last", &[1])
        .node_with("Gather", "d last", "g", vec![AttributeProto::int("axis", 0)]) // [[50, 0]]
        .node_with("Concat", "g b2", "c", vec![AttributeProto::int("axis", 1)])
        .floats("b2", &[1, 1], &[7.0])
        .node("Add", "x c", "y");
    let graph = file.import();
    let constant = graph.nodes[0].inputs[1];
    assert_eq!(graph.shape(constant), [1, 3]);
    assert_eq!(graph.constant_f32(constant), Some(&[50.0, 0.0, 7.0][..]));
}

/// The constant that `x` is multiplied with, made by `nodes` under the name `c`.
fn folded(file: OnnxFile) -> Vec<f32> {
    let graph = file.node("Mul", "x c", "y").import();
    graph.constant_f32(graph.nodes[0].inputs[1]).expect("a constant").to_vec()
}

fn numbers() -> OnnxFile {
    OnnxFile::new(13, &[1, 4]).floats("a", &[2, 2], &[1.0, 4.0, -9.0, 16.0]).ints("flat", &[1, 4])
}

fn flat(file: OnnxFile) -> Vec<f32> {
    folded(file.node("Reshape", "r flat", "c"))
}

#[test]
fn folded_arithmetic_is_that_of_the_operators() {
    let of = |op: &str, operands: &str| flat(numbers().node(op, operands, "r"));
    assert_eq!(of("Neg", "a"), [-1.0, -4.0, 9.0, -16.0]);
    assert_eq!(of("Abs", "a"), [1.0, 4.0, 9.0, 16.0]);
    assert_eq!(of("Reciprocal", "a"), [1.0, 0.25, 1.0 / -9.0, 0.0625]);
    assert_eq!(flat(numbers().node("Abs", "a", "b").node("Sqrt", "b", "r")), [1.0, 2.0, 3.0, 4.0]);
    let with = |op: &str| flat(numbers().floats("b", &[2], &[2.0, 3.0]).node(op, "a b", "r"));
    assert_eq!(with("Min"), [1.0, 3.0, -9.0, 3.0]);
    assert_eq!(with("Max"), [2.0, 4.0, 2.0, 16.0]);
    assert_eq!(with("Pow"), [1.0, 64.0, 81.0, 4096.0]);
    for (op, truths) in
        [("Less", [1.0, 0.0, 1.0, 0.0]), ("Greater", [0.0, 1.0, 0.0, 1.0]), ("Equal", [0.0; 4])]
    {
        let file = numbers().floats("b", &[2], &[2.0, 3.0]).node(op, "a b", "t");
        let cast = vec![AttributeProto::int("to", 1)];
        assert_eq!(flat(file.node_with("Cast", "t", "r", cast)), truths, "{op}");
    }
}

#[test]
fn folded_choices_and_logic_broadcast() {
    let file = numbers().ints("p", &[1, 0]).ints("q", &[1, 1]).floats("z", &[], &[7.0]);
    let file = file.node("And", "p q", "both").node("Not", "both", "n").node("Or", "n p", "any");
    let chosen = |by: &str| flat(file.clone().node("Where", &format!("{by} a z"), "r"));
    assert_eq!(chosen("both"), [1.0, 7.0, -9.0, 7.0]);
    assert_eq!(chosen("n"), [7.0, 4.0, 7.0, 16.0]);
    assert_eq!(chosen("any"), [1.0, 4.0, -9.0, 16.0]);
}

#[test]
fn folded_rearrangements_move_the_right_elements() {
    let file = OnnxFile::new(13, &[1, 4]).floats("v", &[1, 2], &[1.0, 2.0]);
    let expanded = file.clone().ints("to", &[2, 1]).ints("flat", &[1, 4]);
    assert_eq!(flat(expanded.node("Expand", "v to", "r")), [1.0, 2.0, 1.0, 2.0]);
    let tiled = file.clone().floats("w", &[2, 1], &[3.0, 4.0]).ints("by", &[1, 2]);
    assert_eq!(flat(tiled.ints("flat", &[1, 4]).node("Tile", "w by", "r")), [3.0, 3.0, 4.0, 4.0]);
    let mut written = numbers().floats("u", &[1, 2], &[5.0, 6.0]);
    written.graph.initializer.push(TensorProto::ints("i", &[1, 1], &[-1]));
    assert_eq!(flat(written.node("ScatterND", "a i u", "r")), [1.0, 4.0, 5.0, 6.0]);
    let mut range = OnnxFile::new(13, &[1, 4]);
    for (name, value) in [("from", 7), ("to", -1), ("by", -2)] {
        range.graph.initializer.push(TensorProto::ints(name, &[], &[value]));
    }
    let range = range.node("Range", "from to by", "r");
    let cast = vec![AttributeProto::int("to", 1)];
    assert_eq!(folded(range.node_with("Cast", "r", "c", cast)), [7.0, 5.0, 3.0, 1.0]);
}

#[test]
fn folded_products_and_reductions_sum_over_the_right_axes() {
    let both = || numbers().floats("b", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(flat(both().node("MatMul", "a b", "r")), [13.0, 18.0, 39.0, 46.0]);
    let equation = |text: &'static str| vec![AttributeProto::string("equation", text)];
    let einsum = |text: &'static str| flat(both().node_with("Einsum", "a b", "r", equation(text)));
    assert_eq!(einsum("ij,jk->ik"), [13.0, 18.0, 39.0, 46.0]);
    assert_eq!(einsum("ij,kj->ki"), [9.0, 23.0, 19.0, 37.0]);
    assert_eq!(einsum("ij, ij -> ji"), [1.0, -27.0, 8.0, 64.0]);
    let sum = |axes: &[i64]| {
        let file = numbers().ints("axes", axes).node("ReduceSum", "a axes", "s");
        folded(file.node("Add", "s zero", "c").floats("zero", &[1, 4], &[0.0; 4]))
    };
    assert_eq!(sum(&[0, 1]), [12.0; 4]);
    let rows = numbers().ints("axes", &[-1]).node("ReduceSum", "a axes", "s");
    assert_eq!(flat(rows.node("Mul", "s a", "r")), [5.0, 20.0, -63.0, 112.0]);
    let columns = vec![AttributeProto::ints("axes", [0])];
    let product = numbers().node_with("ReduceProd", "a", "p", columns).node("Mul", "p a", "r");
    assert_eq!(flat(product), [-9.0, 256.0, 81.0, 1024.0]);
}

#[test]
fn outputs_that_are_not_kept_take_their_nodes_along() {
    let mut file = small_network().node("NoSuchOperator", "y", "aux");
    file.graph.output.push(unbraid_converter::onnx::ValueInfoProto::floats("aux", &[1, 4]));
    let options = Options { outputs: Some(vec!["n".into()]), ..Options::default() };
    let graph = from_bytes(file.bytes(), &options).expect("a good part");
    assert_eq!(ops(&graph), ["Conv", "BatchNormalization"]);
    assert!(graph.values.iter().all(|v| v.name != "fc"), "dead weights are dropped");
}

#[test]
fn an_output_that_renames_another_is_a_value_of_its_own() {
    let mut file = small_network().node("Identity", "y", "z");
    file.graph.output.push(unbraid_converter::onnx::ValueInfoProto::floats("z", &[1, 4]));
    let graph = file.import();
    let names: Vec<&str> = graph.outputs.iter().map(|&o| &*graph.get(o).name).collect();
    assert_eq!(names, ["y", "z"]);
    assert_ne!(graph.outputs[0], graph.outputs[1]);
}

#[test]
fn mean_and_std_normalise_the_first_picture() {
    let file = OnnxFile::new(13, &[1, 2, 1, 1]).node("Relu", "x", "y");
    let normalise = Some((vec![2.0, -4.0], vec![4.0, 0.5]));
    let options = Options { normalise, ..Options::default() };
    let graph = from_bytes(file.bytes(), &options).expect("a good model");
    let result = reference::run(&graph, &[vec![6.0, -3.0]]).expect("a whole graph");
    assert_eq!(result, [[1.0, 2.0]]);
    assert_eq!(graph.get(graph.inputs[0]).name, "x");
}

#[test]
fn every_numeric_type_becomes_floats_or_integers() {
    let graph = |weight: TensorProto| {
        let mut file = OnnxFile::new(13, &[1, 2]).node("Mul", "x w", "y");
        file.graph.initializer.push(weight);
        let graph = file.import();
        graph.constant_f32(graph.nodes[0].inputs[1]).expect("floats").to_vec()
    };
    let of = |kind: DataType| TensorProto {
        name: "w".into(),
        dims: vec![2],
        data_type: kind.into(),
        ..TensorProto::default()
    };
    let double = [1.5_f64, -2.0].map(f64::to_le_bytes).concat();
    let weights = [
        TensorProto { float_data: vec![1.5, -2.0], ..of(DataType::Float) },
        TensorProto { double_data: vec![1.5, -2.0], ..of(DataType::Double) },
        TensorProto { raw_data: double.into(), ..of(DataType::Double) },
        TensorProto { int32_data: vec![0x3e00, 0xc000], ..of(DataType::Float16) },
        TensorProto { raw_data: vec![0x00, 0x3e, 0x00, 0xc0].into(), ..of(DataType::Float16) },
        TensorProto { raw_data: vec![0xc0, 0x3f, 0x00, 0xc0].into(), ..of(DataType::Bfloat16) },
    ];
    for weight in weights {
        assert_eq!(graph(weight.clone()), [1.5, -2.0], "{weight:?}");
    }
}
