//! What import makes of models, good and bad: one claim a test.

use std::path::{Path, PathBuf};
use unbraid_converter::graph::Graph;
use unbraid_converter::import::{Options, Problem, Refusal, TensorProblem, from_bytes, load};
use unbraid_converter::onnx::{
    AttributeProto, DataType, DimensionProto, NodeProto, StringStringEntryProto, TensorProto,
};
use unbraid_converter::reference;
use unbraid_tests::onnx_file::{OnnxFile, small_network};
use unbraid_tests::rng::Random;

fn import(file: &OnnxFile) -> Graph {
    from_bytes(file.bytes(), &Options::default()).expect("a good model")
}

fn problem_with(file: &OnnxFile, options: &Options) -> Problem {
    *from_bytes(file.bytes(), options).expect_err("a bad model").problem
}

fn problem(file: &OnnxFile) -> Problem {
    problem_with(file, &Options::default())
}

fn shape_option(name: &str, shape: &[usize]) -> Options {
    Options { input_shapes: vec![(name.into(), shape.to_vec())], ..Options::default() }
}

fn outputs_option(names: &[&str]) -> Options {
    let names = names.iter().map(|&n| n.into()).collect();
    Options { outputs: Some(names), ..Options::default() }
}

/// The refusal of the one node that is at fault.
fn refusal(file: &OnnxFile) -> Refusal {
    match problem(file) {
        Problem::Node { refusal, .. } => refusal,
        other => panic!("expected a refused node, found: {other}"),
    }
}

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

// ---------------------------------------------------------------- good models

#[test]
fn both_exports_of_every_trained_model_import() {
    let paths = models();
    assert_eq!(paths.len(), 6, "{paths:?}");
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
    let expected = ops(&import(&file));
    file.graph.node.reverse();
    assert_eq!(ops(&import(&file)), expected);
}

#[test]
fn nameless_and_equally_named_nodes_get_names_of_their_own() {
    let mut file = small_network();
    file.graph.node[1].name.clear();
    file.graph.node[2].name = "make_c".into();
    let names: Vec<String> = import(&file).nodes.into_iter().map(|n| n.name).collect();
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
    let graph = import(file);
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
    let graph = import(&file);
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
    let graph = import(&file);
    let constant = graph.nodes[0].inputs[1];
    assert_eq!(graph.shape(constant), [1, 3]);
    assert_eq!(graph.constant_f32(constant), Some(&[50.0, 0.0, 7.0][..]));
}

#[test]
fn outputs_that_are_not_kept_take_their_nodes_along() {
    let mut file = small_network().node("NoSuchOperator", "y", "aux");
    file.graph.output.push(unbraid_converter::onnx::ValueInfoProto::floats("aux", &[1, 4]));
    let graph = from_bytes(file.bytes(), &outputs_option(&["n"])).expect("a good part");
    assert_eq!(ops(&graph), ["Conv", "BatchNormalization"]);
    assert!(graph.values.iter().all(|v| v.name != "fc"), "dead weights are dropped");
}

#[test]
fn an_output_that_renames_another_is_a_value_of_its_own() {
    let mut file = small_network().node("Identity", "y", "z");
    file.graph.output.push(unbraid_converter::onnx::ValueInfoProto::floats("z", &[1, 4]));
    let graph = import(&file);
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
fn mean_and_std_that_do_not_fit_are_refused() {
    let file = OnnxFile::new(13, &[1, 2, 1, 1]).node("Relu", "x", "y");
    let pairs = [
        (vec![0.0], vec![1.0]),
        (vec![0.0; 2], vec![1.0, 0.0]),
        (vec![f32::NAN, 0.0], vec![1.0; 2]),
    ];
    for normalise in pairs {
        let options = Options { normalise: Some(normalise), ..Options::default() };
        assert!(matches!(problem_with(&file, &options), Problem::Normalise(_)));
    }
    let vector = OnnxFile::new(13, &[1, 2]).node("Relu", "x", "y");
    let options = Options { normalise: Some((vec![], vec![])), ..Options::default() };
    assert!(matches!(problem_with(&vector, &options), Problem::Normalise(_)));
}

// ---------------------------------------------------------------- bytes

#[test]
fn an_empty_file_is_refused() {
    let error = from_bytes(vec![], &Options::default()).expect_err("no model");
    assert!(matches!(*error.problem, Problem::Empty));
}

#[test]
fn something_else_than_onnx_is_refused() {
    for bytes in [&b"\x89PNG\r\n\x1a\n"[..], b"STRAND", b"#!/bin/sh\n", &[0xff; 64]] {
        let error = from_bytes(bytes.to_vec(), &Options::default()).expect_err("no model");
        assert!(matches!(*error.problem, Problem::NotOnnx(_)), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("no/such/model.onnx"), &Options::default()).expect_err("no file");
    assert!(matches!(*error.problem, Problem::Read(_)));
    assert!(error.to_string().starts_with("no/such/model.onnx: "), "{error}");
}

#[test]
fn a_model_cut_anywhere_is_refused() {
    let bytes = small_network().bytes();
    for len in 0..bytes.len() {
        let cut = from_bytes(bytes[..len].to_vec(), &Options::default());
        let problem = *cut.expect_err("a cut model").problem;
        let named = matches!(problem, Problem::Empty | Problem::Damaged(_));
        assert!(named, "{len} of {} bytes: {problem}", bytes.len());
    }
}

#[test]
fn no_damage_makes_import_panic() {
    let bytes = rich_network().bytes();
    let mut random = Random(3);
    for _ in 0..5_000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random.bits() % 4 {
            let at = random.bits() as usize % damaged.len();
            let any = random.bits() as u8;
            damaged[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xff, any]);
        }
        // Any answer will do: a changed weight still is a model.
        drop(from_bytes(damaged, &Options::default()));
    }
}

/// Every kind of operator that reads numbers which damage can change.
fn rich_network() -> OnnxFile {
    let ints = AttributeProto::ints;
    small_network()
        .ints("shape", &[1, -1])
        .ints("starts", &[0, 1])
        .ints("pads", &[0, 0, 1, 1, 0, 0, 0, 0])
        .node_with("MaxPool", "x", "p", vec![ints("kernel_shape", [2, 2]), ints("strides", [2, 2])])
        .node("Pad", "p pads", "q")
        .node_with("AveragePool", "q", "a", vec![ints("kernel_shape", [2, 2])])
        .node("Shape", "a", "s")
        .node("Slice", "s starts shape", "t")
        .node_with("Transpose", "fc", "u", vec![ints("perm", [1, 0])])
        .node("Gather", "u starts", "v")
        .node("ConstantOfShape", "s", "z")
        .node("Add", "a z", "b")
        .node("Reshape", "b shape", "d")
        .node_with("Softmax", "d", "e", vec![AttributeProto::int("axis", 1)])
        .node_with("Concat", "e f v2", "y2", vec![AttributeProto::int("axis", 1)])
        .node("Reshape", "v shape", "v2")
        .output("y2")
}

#[test]
fn opsets_beyond_what_is_known_are_refused() {
    for opset in [0, 8, 29, i64::MAX] {
        let file = OnnxFile { opset, ..small_network() };
        assert!(matches!(problem(&file), Problem::Opset { found, .. } if found == opset));
    }
    for opset in [9, 28] {
        import(&OnnxFile { opset, ..small_network() });
    }
}

// ---------------------------------------------------------------- operators

#[test]
fn all_unsupported_operators_are_listed_at_once() {
    let mut file = small_network()
        .node("Erf", "y", "e")
        .node("If", "e", "i")
        .node("Transpose", "i", "t")
        .node("FusedMatMul", "t", "u")
        .output("u");
    file.graph.node[9].domain = "com.microsoft".into();
    let message = problem(&file).to_string();
    for part in [
        "Erf in `make_e`",
        "If in `make_i`",
        "Transpose (supported on constants only) in `make_t`",
        "com.microsoft::FusedMatMul in `make_u`",
        "Conv",
    ] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
}

#[test]
fn training_behaviour_is_refused() {
    let norm = |opset, attribute: Vec<AttributeProto>| {
        OnnxFile::new(opset, &[1, 3, 2, 2]).statistics(3).node_with(
            "BatchNormalization",
            "x gamma beta mean var",
            "y",
            attribute,
        )
    };
    let training = norm(15, vec![AttributeProto::int("training_mode", 1)]);
    assert!(matches!(refusal(&training), Refusal::Training(_)));
    let mut several = norm(13, vec![]);
    several.graph.node[0].output.extend(["m".into(), "v".into()]);
    assert_eq!(ops(&import(&several)), ["BatchNormalization"], "unread outputs do no harm");
    let read = several.node("Relu", "m", "z").output("z");
    assert!(matches!(refusal(&read), Refusal::ExtraOutput(name) if name == "m"));
    let mut dropout = OnnxFile::new(13, &[1, 2]).node("Dropout", "x ratio on", "y");
    dropout.graph.initializer.push(TensorProto::ints("on", &[], &[1]));
    dropout = dropout.floats("ratio", &[], &[0.5]);
    assert!(matches!(refusal(&dropout), Refusal::Training(_)));
}

#[test]
fn weights_that_contradict_their_node_are_refused() {
    let conv = |shape: &[usize], attributes| {
        OnnxFile::new(13, &[1, 4, 5, 5])
            .random("w", shape)
            .node_with("Conv", "x w", "y", attributes)
    };
    let group = |g| vec![AttributeProto::int("group", g)];
    import(&conv(&[6, 2, 3, 3], group(2)));
    let shapes = [
        conv(&[6, 3, 3, 3], vec![]),
        conv(&[6, 4, 3], vec![]),
        conv(&[6, 4, 7, 7], vec![]),
        conv(&[6, 4, 0, 3], vec![]),
        conv(&[6, 4, 3, 3], group(2)),
        conv(&[6, 4, 3, 3], vec![]).random("b", &[5]).node("Conv", "x w b", "z").output("z"),
    ];
    for file in &shapes {
        let refusal = refusal(file);
        let shape = matches!(refusal, Refusal::Shape { .. } | Refusal::TooLarge { .. });
        assert!(shape, "{refusal}");
    }
    let ints = |name, values: &[i64]| vec![AttributeProto::ints(name, values)];
    let attributes = [
        group(3),
        group(0),
        group(-1),
        group(i64::MIN),
        ints("kernel_shape", &[3, 1]),
        ints("strides", &[0, 1]),
        ints("strides", &[1]),
        ints("dilations", &[1, -1]),
        ints("pads", &[1, 1, 1]),
        ints("pads", &[-1, 0, 0, 0]),
        vec![AttributeProto::string("auto_pad", "SIDEWAYS")],
        vec![AttributeProto::float("group", 1.0)],
    ];
    for attributes in attributes {
        let found = format!("{attributes:?}");
        let refusal = refusal(&conv(&[6, 4, 3, 3], attributes));
        assert!(matches!(refusal, Refusal::Attribute { .. }), "{found}: {refusal}");
    }
}

#[test]
fn one_dimensional_convolution_is_refused_with_the_reason() {
    let file = OnnxFile::new(13, &[1, 4, 9]).random("w", &[4, 4, 3]).node("Conv", "x w", "y");
    assert!(problem(&file).to_string().contains("only two-dimensional"), "{}", problem(&file));
}

// ---------------------------------------------------------------- shapes

fn dimension(value: Option<i64>, name: Option<&str>) -> DimensionProto {
    DimensionProto { dim_value: value, dim_param: name.map(Into::into) }
}

/// [`small_network`] with another dimension in place of one of the input's.
fn with_dimension(axis: usize, dim: DimensionProto) -> OnnxFile {
    let mut file = small_network();
    let r#type = file.graph.input[0].r#type.as_mut().expect("typed");
    let shape = r#type.tensor_type.as_mut().and_then(|t| t.shape.as_mut()).expect("shaped");
    shape.dim[axis] = dim;
    file
}

#[test]
fn a_symbolic_batch_is_one() {
    let graph = import(&with_dimension(0, dimension(None, Some("batch"))));
    assert_eq!(graph.shape(graph.inputs[0]), [1, 2, 6, 6]);
}

#[test]
fn a_dynamic_dimension_is_refused_with_the_flag_that_helps() {
    for dim in [dimension(None, Some("width")), dimension(None, None), dimension(Some(-1), None)] {
        let file = with_dimension(3, dim);
        let message = problem(&file).to_string();
        assert!(message.contains("input `x`: axis 3 has no fixed length"), "{message}");
        assert!(message.contains("--input-shape x=1,2,6,224"), "{message}");
        let options = shape_option("x", &[1, 2, 6, 9]);
        let graph = from_bytes(file.bytes(), &options).expect("a complete shape");
        assert_eq!(graph.shape(graph.inputs[0]), [1, 2, 6, 9]);
    }
}

#[test]
fn a_wrong_input_shape_is_refused() {
    let file = with_dimension(3, dimension(None, Some("width")));
    let of = |name, shape: &[usize]| problem_with(&file, &shape_option(name, shape));
    assert!(matches!(of("z", &[1, 2, 6, 6]), Problem::UnknownInput { .. }));
    assert!(matches!(of("x", &[1, 2, 6]), Problem::InputRank { file: 4, .. }));
    assert!(matches!(of("x", &[1, 3, 6, 6]), Problem::InputConflict { axis: 1, .. }));
    assert!(matches!(of("x", &[1, 2, 6, 0]), Problem::InputSize { .. }));
    assert!(matches!(of("x", &[1, 2, 6, usize::MAX]), Problem::InputSize { .. }));
    assert!(matches!(of("x", &[2, 2, 6, 6]), Problem::InputConflict { axis: 0, .. }));
}

#[test]
fn a_batch_is_refused_with_the_flag_that_helps() {
    let file = with_dimension(0, dimension(Some(8), None));
    let message = problem(&file).to_string();
    assert!(message.contains("--input-shape x=1,2,6,6"), "{message}");
    let graph = from_bytes(file.bytes(), &shape_option("x", &[1, 2, 6, 6])).expect("batch of one");
    assert_eq!(graph.shape(graph.inputs[0]), [1, 2, 6, 6]);
}

#[test]
fn inputs_of_other_types_are_refused() {
    let mut file = small_network();
    let r#type = file.graph.input[0].r#type.as_mut().expect("typed");
    r#type.tensor_type.as_mut().expect("a tensor").elem_type = DataType::Uint8.into();
    assert!(matches!(problem(&file), Problem::InputType { found: 2, .. }));
}

#[test]
fn sizes_that_overflow_are_refused() {
    let huge = 1_usize << 40;
    let input = OnnxFile::new(13, &[1, huge, huge, 4]).node("Relu", "x", "y");
    assert!(matches!(problem(&input), Problem::InputSize { .. }));
    let mut weight = small_network();
    weight.graph.initializer[0].dims = vec![i64::MAX; 4];
    let found = problem(&weight);
    assert!(matches!(found, Problem::Tensor { problem: TensorProblem::Shape(_), .. }), "{found}");
    let filled = OnnxFile::new(13, &[1, 4])
        .ints("shape", &[1 << 20, 1 << 20])
        .node("ConstantOfShape", "shape", "c")
        .node("Add", "x c", "y");
    assert!(matches!(refusal(&filled), Refusal::TooLarge { .. }));
    let outer =
        OnnxFile::new(13, &[1, 1 << 20, 1]).random("row", &[1 << 12]).node("Mul", "x row", "y");
    assert!(matches!(refusal(&outer), Refusal::TooLarge { .. }));
    let padded = OnnxFile::new(13, &[1, 1, 4, 4])
        .ints("pads", &[0, 0, u32::MAX.into(), 0, 0, 0, u32::MAX.into(), u32::MAX.into()])
        .node("Pad", "x pads", "y");
    assert!(matches!(refusal(&padded), Refusal::TooLarge { .. }));
}

#[test]
fn folding_cannot_be_made_to_fill_the_memory() {
    let mut file = OnnxFile::new(13, &[1, 1]).ints("shape", &[1 << 26]);
    for name in ["a", "b", "c"] {
        file = file.node("ConstantOfShape", "shape", name);
    }
    let file = file.node("Sum", "x a b c", "y");
    assert!(matches!(refusal(&file), Refusal::TooLarge { .. }));
}

// ---------------------------------------------------------------- weights and names

#[test]
fn weights_that_are_no_numbers_are_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![0.5; 54];
        values[17] = bad;
        let mut file = small_network();
        file.graph.initializer[0] = TensorProto::floats("w", &[3, 2, 3, 3], &values);
        let found = refusal(&file);
        let named = matches!(&found, Refusal::NonFinite { name, index: 17, .. } if name == "w");
        assert!(named, "{found}");
    }
}

#[test]
fn missing_weights_are_named_with_their_reader() {
    let mut file = small_network();
    file.graph.initializer.retain(|t| t.name != "mean");
    let Problem::MissingValue { value, node, .. } = problem(&file) else { panic!("not missing") };
    assert_eq!((&*value, &*node), ("mean", "make_n"));
}

#[test]
fn data_that_does_not_fill_its_shape_is_refused() {
    let mut file = small_network();
    file.graph.initializer[0].dims[0] = 4;
    let found = problem(&file);
    let length = TensorProblem::Length { found: 216, expected: 288, unit: "bytes" };
    assert_eq!(found.to_string(), format!("initialiser `w`: {length}"));
    let weight = &mut file.graph.initializer[0];
    weight.raw_data = vec![].into();
    weight.float_data = vec![1.0; 5];
    let found = problem(&file).to_string();
    assert!(found.contains("holds 5 values, its shape needs 72"), "{found}");
    file.graph.initializer[0].data_type = DataType::String.into();
    let found = problem(&file);
    assert!(matches!(found, Problem::Tensor { problem: TensorProblem::Type(8), .. }), "{found}");
}

#[test]
fn every_numeric_type_becomes_floats_or_integers() {
    let graph = |weight: TensorProto| {
        let mut file = OnnxFile::new(13, &[1, 2]).node("Mul", "x w", "y");
        file.graph.initializer.push(weight);
        let graph = import(&file);
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

#[test]
fn values_defined_twice_are_refused() {
    let again = small_network().node("Relu", "x", "r");
    assert!(matches!(problem(&again), Problem::DuplicateValue(name) if name == "r"));
    let shadow = small_network().random("c", &[1]);
    assert!(matches!(problem(&shadow), Problem::DuplicateValue(name) if name == "c"));
    let mut inputs = small_network();
    inputs.graph.input.push(inputs.graph.input[0].clone());
    assert!(matches!(problem(&inputs), Problem::DuplicateValue(name) if name == "x"));
}

#[test]
fn cycles_are_refused() {
    let file = OnnxFile::new(13, &[1, 2]).node("Add", "x b", "a").node("Relu", "a", "b");
    assert!(matches!(problem(&file.output("b")), Problem::Cycle(_)));
    let itself = OnnxFile::new(13, &[1, 2]).node("Relu", "y", "y");
    assert!(matches!(problem(&itself), Problem::Cycle(node) if node == "make_y"));
}

#[test]
fn outputs_that_cannot_be_are_refused() {
    let file = small_network();
    let unknown = problem_with(&file, &outputs_option(&["nothing"]));
    assert!(matches!(unknown, Problem::UnknownOutput { .. }));
    let constant = problem_with(&file, &outputs_option(&["w"]));
    assert!(matches!(constant, Problem::ConstantOutput { name } if name == "w"));
    assert!(matches!(problem_with(&file, &outputs_option(&[])), Problem::NoOutputs));
}

// ---------------------------------------------------------------- external data

/// A folder of its own for one test, with `model/model.onnx` whose weight `w` lies elsewhere.
struct External {
    folder: PathBuf,
}

impl External {
    fn new(test: &str, location: &str, offset: &str, length: &str) -> Self {
        let name = format!("unbraid-import-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(folder.join("model")).expect("a temporary folder");
        let mut file = small_network();
        let weight = &mut file.graph.initializer[0];
        let data = [vec![9; 16], std::mem::take(&mut weight.raw_data).to_vec()].concat();
        weight.data_location = 1;
        let entries = [("location", location), ("offset", offset), ("length", length)];
        let entry = |(key, value): (&str, &str)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        weight.external_data = entries.map(entry).to_vec();
        std::fs::write(folder.join("model/weights.bin"), &data).expect("weights");
        std::fs::write(folder.join("outside.bin"), &data).expect("weights");
        std::fs::write(folder.join("model/model.onnx"), file.bytes()).expect("a model");
        Self { folder }
    }

    fn load(&self) -> Result<Graph, TensorProblem> {
        let path = self.folder.join("model/model.onnx");
        load(&path, &Options::default()).map_err(|error| match *error.problem {
            Problem::Tensor { name, problem } if name == "w" => problem,
            other => panic!("expected a problem with `w`, found: {other}"),
        })
    }
}

impl Drop for External {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).expect("the folder was made by this test");
    }
}

#[test]
fn external_data_beside_the_model_is_read() {
    let expected = import(&small_network());
    let graph = External::new("beside", "weights.bin", "16", "216").load().expect("good data");
    let weight = |graph: &Graph| graph.constant_f32(graph.nodes[0].inputs[1]).map(<[f32]>::to_vec);
    assert_eq!(weight(&graph), weight(&expected));
}

#[test]
fn external_data_outside_the_folder_is_refused() {
    let absolute = std::env::temp_dir().join("weights.bin").display().to_string();
    for location in ["../outside.bin", "sub/../../outside.bin", &absolute, ""] {
        let found = External::new("outside", location, "16", "216").load().expect_err("outside");
        assert!(matches!(found, TensorProblem::Outside(_)), "{location}: {found}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_refused() {
    let model = External::new("link", "link.bin", "16", "216");
    let (target, link) = (model.folder.join("outside.bin"), model.folder.join("model/link.bin"));
    std::os::unix::fs::symlink(target, link).expect("a link");
    assert!(matches!(model.load(), Err(TensorProblem::Outside(_))));
}

#[test]
fn external_data_that_is_missing_or_short_is_refused() {
    let missing = External::new("missing", "nowhere.bin", "0", "216").load();
    assert!(matches!(missing, Err(TensorProblem::External { .. })));
    for (offset, length) in
        [("17", "216"), ("16", "212"), ("18446744073709551615", "216"), ("-1", "216"), ("0", "x")]
    {
        let found = External::new("short", "weights.bin", offset, length).load();
        let extent = matches!(found, Err(TensorProblem::Extent { .. }));
        assert!(extent, "offset {offset}, length {length}");
    }
}

#[test]
fn external_data_of_a_model_in_memory_is_refused() {
    let model = External::new("memory", "weights.bin", "16", "216");
    let bytes = std::fs::read(model.folder.join("model/model.onnx")).expect("a model");
    let error = from_bytes(bytes, &Options::default()).expect_err("no folder");
    assert!(matches!(*error.problem, Problem::Tensor { problem: TensorProblem::NoFolder, .. }));
}
