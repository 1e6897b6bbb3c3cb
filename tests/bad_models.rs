//! Every kind of bad model and bad option is refused with a reason that names place and remedy, and
//! no bytes make import panic. (External data: `external_data.rs`.)

use std::path::Path;
use unbraid_converter::graph::Graph;
use unbraid_converter::import::{Options, Problem, Refusal, TensorProblem, from_bytes, load};
use unbraid_converter::onnx::{
    AttributeProto, DataType, DimensionProto, TensorProto, ValueInfoProto,
};
use unbraid_tests::onnx_file::{OnnxFile, small_network};
use unbraid_tests::rng::Random;

fn shape_option(name: &str, shape: &[usize]) -> Options {
    Options { input_shapes: vec![(name.into(), shape.to_vec())], ..Options::default() }
}

fn outputs_option(names: &[&str]) -> Options {
    let names = names.iter().map(|&n| n.into()).collect();
    Options { outputs: Some(names), ..Options::default() }
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
    for opset in [0, 6, 29, i64::MAX] {
        let file = OnnxFile { opset, ..small_network() };
        assert!(matches!(file.problem(), Problem::Opset { found, .. } if found == opset));
    }
    for opset in [7, 28] {
        OnnxFile { opset, ..small_network() }.import();
    }
}

// ---------------------------------------------------------------- operators

#[test]
fn all_nodes_that_cannot_be_taken_are_listed_at_once() {
    let strides = |n| vec![AttributeProto::ints("strides", [n, n, n])];
    let mut file = small_network()
        .node_with("Conv", "x w", "p", strides(2))
        .node_with("Conv", "x w", "q", strides(2))
        .node("NonMaxSuppression", "y", "e")
        .node("If", "e", "i")
        .node("Range", "i", "t")
        .node("FusedMatMul", "t", "u")
        .node("Sum", "p q u", "z")
        .output("z");
    file.graph.node[11].domain = "com.microsoft".into();
    let message = file.problem().to_string();
    for part in [
        "6 nodes cannot be imported",
        "nodes `make_p`, `make_q` (Conv): attribute `strides` is [2, 2, 2]; expected",
        "node `make_e` (NonMaxSuppression): the operator is not supported; replace it",
        "node `make_i` (If): the operator",
        "node `make_t` (Range): the operator is not supported on values that depend on the input",
        "node `make_u` (com.microsoft::FusedMatMul): the operator",
        "supported are Abs, Add,",
    ] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
}

#[test]
fn nodes_behind_a_refused_one_are_looked_at_where_the_file_says_its_shape() {
    let mut file = OnnxFile::new(13, &[1, 2, 6, 6]).node("If", "x", "i").node_with(
        "Transpose",
        "i",
        "y",
        vec![AttributeProto::ints("perm", [0, 0, 2, 3])],
    );
    assert!(matches!(file.refusal(), Refusal::Operator { constants_only: false }));
    file.graph.value_info = vec![ValueInfoProto::floats("i", &[1, 2, 6, 6])];
    let Problem::Refused(refused) = file.problem() else { panic!("nodes are refused") };
    let faults: Vec<&Refusal> = refused.nodes.iter().map(|node| &node.refusal).collect();
    assert!(matches!(
        faults[..],
        [Refusal::Operator { .. }, Refusal::Attribute { name: "perm", .. }]
    ));
}

#[test]
fn elements_moved_there_and_back_are_not_moved() {
    let swapped = || vec![AttributeProto::ints("perm", [0, 1, 3, 2])];
    let file = OnnxFile::new(13, &[1, 2, 3, 3]).node_with("Transpose", "x", "t", swapped());
    assert_eq!(file.clone().node("Relu", "t", "y").import().nodes.len(), 2);
    let back = file.node_with("Transpose", "t", "u", swapped()).node("Relu", "u", "y");
    assert_eq!(back.import().nodes.len(), 1);
}

#[test]
fn overwritten_elements_that_are_no_padding_are_refused() {
    let scattered = |index: i64, updates: &[f32]| {
        let mut file = OnnxFile::new(13, &[1, 1, 3, 2]).floats("v", &[1, 2], updates);
        file.graph.initializer.push(TensorProto::ints("i", &[1, 3], &[0, 0, index]));
        file.node("ScatterND", "x i v", "y")
    };
    // The last row overwritten is the picture above it, padded, but not all of the picture.
    for file in [scattered(2, &[5.0, 5.0]), scattered(1, &[5.0, 5.0]), scattered(2, &[5.0, 6.0])] {
        assert!(matches!(file.refusal(), Refusal::Unsupported { .. }));
    }
    assert!(matches!(scattered(3, &[5.0, 5.0]).refusal(), Refusal::Shape { .. }));
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
    assert!(matches!(training.refusal(), Refusal::Training(_)));
    let mut several = norm(13, vec![]);
    several.graph.node[0].output.extend(["m".into(), "v".into()]);
    assert_eq!(several.import().nodes.len(), 1, "unread outputs do no harm");
    let read = several.node("Relu", "m", "z").output("z");
    assert!(matches!(read.refusal(), Refusal::ExtraOutput(name) if name == "m"));
    let mut dropout = OnnxFile::new(13, &[1, 2]).node("Dropout", "x ratio on", "y");
    dropout.graph.initializer.push(TensorProto::ints("on", &[], &[1]));
    dropout = dropout.floats("ratio", &[], &[0.5]);
    assert!(matches!(dropout.refusal(), Refusal::Training(_)));
}

fn conv(shape: &[usize], attributes: Vec<AttributeProto>) -> OnnxFile {
    OnnxFile::new(13, &[1, 4, 5, 5]).random("w", shape).node_with("Conv", "x w", "y", attributes)
}

fn group(groups: i64) -> Vec<AttributeProto> {
    vec![AttributeProto::int("group", groups)]
}

#[test]
fn weights_that_contradict_their_node_are_refused() {
    conv(&[6, 2, 3, 3], group(2)).import();
    let shapes = [
        conv(&[6, 3, 3, 3], vec![]),
        conv(&[6, 4, 3], vec![]),
        conv(&[6, 4, 7, 7], vec![]),
        conv(&[6, 4, 0, 3], vec![]),
        conv(&[6, 4, 3, 3], group(2)),
        conv(&[6, 4, 3, 3], vec![]).random("b", &[5]).node("Conv", "x w b", "z").output("z"),
    ];
    for file in &shapes {
        let refusal = file.refusal();
        let shape = matches!(refusal, Refusal::Shape { .. } | Refusal::TooLarge { .. });
        assert!(shape, "{refusal}");
    }
}

#[test]
fn attributes_that_make_no_sense_are_refused() {
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
        let refusal = conv(&[6, 4, 3, 3], attributes).refusal();
        assert!(matches!(refusal, Refusal::Attribute { .. }), "{found}: {refusal}");
    }
}

#[test]
fn windows_of_three_axes_are_refused_with_the_reason() {
    let file = OnnxFile::new(13, &[1, 4, 5, 9, 9]).random("w", &[4, 4, 3, 3, 3]);
    let conv = file.clone().node("Conv", "x w", "y").refusal();
    let kernel = vec![AttributeProto::ints("kernel_shape", [3, 3, 3])];
    let pool = file.node_with("MaxPool", "x", "y", kernel).refusal();
    for refusal in [conv, pool] {
        assert!(refusal.to_string().contains("windows have one or two axes"), "{refusal}");
    }
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
fn a_dynamic_dimension_is_refused_with_the_flag_that_helps() {
    for dim in [dimension(None, Some("width")), dimension(None, None), dimension(Some(-1), None)] {
        let file = with_dimension(3, dim);
        let message = file.problem().to_string();
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
    let of = |name, shape: &[usize]| file.problem_with(&shape_option(name, shape));
    assert!(matches!(of("z", &[1, 2, 6, 6]), Problem::UnknownInput { .. }));
    assert!(matches!(of("x", &[1, 2, 6]), Problem::InputRank { file: 4, .. }));
    assert!(matches!(of("x", &[1, 3, 6, 6]), Problem::InputConflict { axis: 1, .. }));
    assert!(matches!(of("x", &[1, 2, 6, 0]), Problem::InputSize { .. }));
    assert!(matches!(of("x", &[1, 2, 6, usize::MAX]), Problem::InputSize { .. }));
    assert!(matches!(of("x", &[2, 2, 6, 6]), Problem::InputConflict { axis: 0, .. }));
}

#[test]
fn of_a_batch_of_pictures_there_is_one_unless_told_otherwise() {
    let file = with_dimension(0, dimension(Some(8), None));
    let pictures = |graph: Graph| graph.shape(graph.inputs[0])[0];
    assert_eq!(pictures(file.import()), 1);
    for given in [1, 8] {
        let options = shape_option("x", &[given, 2, 6, 6]);
        assert_eq!(pictures(from_bytes(file.bytes(), &options).expect("a good shape")), given);
    }
    assert!(matches!(
        file.problem_with(&shape_option("x", &[4, 2, 6, 6])),
        Problem::InputConflict { axis: 0, given: 4, file: 8, .. }
    ));
}

#[test]
fn pictures_of_a_batch_that_depend_on_each_other_are_refused() {
    let mut file =
        OnnxFile::new(13, &[8, 2, 6, 6]).ints("shape", &[8, -1]).node("Reshape", "x shape", "y");
    file.graph.output = vec![ValueInfoProto::floats("y", &[8, 72])];
    let message = file.problem().to_string();
    assert!(message.contains("output `y` has the shape [8, 9]"), "{message}");
    assert!(message.contains("--input-shape x=8,2,6,6"), "{message}");
    let whole = from_bytes(file.bytes(), &shape_option("x", &[8, 2, 6, 6])).expect("all of it");
    assert_eq!(whole.shape(whole.outputs[0]), [8, 72]);
}

#[test]
fn inputs_of_other_types_are_refused() {
    let mut file = small_network();
    let r#type = file.graph.input[0].r#type.as_mut().expect("typed");
    r#type.tensor_type.as_mut().expect("a tensor").elem_type = DataType::Uint8.into();
    assert!(matches!(file.problem(), Problem::InputType { found: 2, .. }));
}

#[test]
fn sizes_that_overflow_are_refused() {
    let huge = 1_usize << 40;
    let input = OnnxFile::new(13, &[1, huge, huge, 4]).node("Relu", "x", "y");
    assert!(matches!(input.problem(), Problem::InputSize { .. }));
    let mut weight = small_network();
    weight.graph.initializer[0].dims = vec![i64::MAX; 4];
    let found = weight.problem();
    assert!(matches!(found, Problem::Tensor { problem: TensorProblem::Shape(_), .. }), "{found}");
    let filled = OnnxFile::new(13, &[1, 4])
        .ints("shape", &[1 << 20, 1 << 20])
        .node("ConstantOfShape", "shape", "c")
        .node("Add", "x c", "y");
    assert!(matches!(filled.refusal(), Refusal::TooLarge { .. }));
    let outer =
        OnnxFile::new(13, &[1, 1 << 20, 1]).random("row", &[1 << 12]).node("Mul", "x row", "y");
    assert!(matches!(outer.refusal(), Refusal::TooLarge { .. }));
    let padded = |most: i64| {
        OnnxFile::new(13, &[1, 1, 4, 4])
            .ints("pads", &[0, 0, most, 0, 0, 0, most, most])
            .node("Pad", "x pads", "y")
    };
    assert!(matches!(padded(i32::MAX.into()).refusal(), Refusal::TooLarge { .. }));
    assert!(matches!(padded(u32::MAX.into()).refusal(), Refusal::Attribute { .. }));
}

#[test]
fn folding_cannot_be_made_to_fill_the_memory() {
    let mut file = OnnxFile::new(13, &[1, 1]).ints("shape", &[1 << 26]);
    for name in ["a", "b", "c"] {
        file = file.node("ConstantOfShape", "shape", name);
    }
    let file = file.node("Sum", "x a b c", "y");
    assert!(matches!(file.refusal(), Refusal::TooLarge { .. }));
}

#[test]
fn a_symbolic_batch_is_one() {
    let graph = with_dimension(0, dimension(None, Some("batch"))).import();
    assert_eq!(graph.shape(graph.inputs[0]), [1, 2, 6, 6]);
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
        assert!(matches!(file.problem_with(&options), Problem::Normalise(_)));
    }
    let vector = OnnxFile::new(13, &[1, 2]).node("Relu", "x", "y");
    let options = Options { normalise: Some((vec![], vec![])), ..Options::default() };
    assert!(matches!(vector.problem_with(&options), Problem::Normalise(_)));
}

// ---------------------------------------------------------------- weights and names

#[test]
fn weights_that_are_no_numbers_are_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![0.5; 54];
        values[17] = bad;
        let mut file = small_network();
        file.graph.initializer[0] = TensorProto::floats("w", &[3, 2, 3, 3], &values);
        let found = file.refusal();
        let named = matches!(&found, Refusal::NonFinite { name, index: 17, .. } if name == "w");
        assert!(named, "{found}");
    }
}

#[test]
fn missing_weights_are_named_with_their_reader() {
    let mut file = small_network();
    file.graph.initializer.retain(|t| t.name != "mean");
    let Problem::MissingValue { value, node, .. } = file.problem() else { panic!("not missing") };
    assert_eq!((&*value, &*node), ("mean", "make_n"));
}

#[test]
fn data_that_does_not_fill_its_shape_is_refused() {
    let mut file = small_network();
    file.graph.initializer[0].dims[0] = 4;
    let found = file.problem();
    let length = TensorProblem::Length { found: 216, expected: 288, unit: "bytes" };
    assert_eq!(found.to_string(), format!("initialiser `w`: {length}"));
    let weight = &mut file.graph.initializer[0];
    weight.raw_data = vec![].into();
    weight.float_data = vec![1.0; 5];
    let found = file.problem().to_string();
    assert!(found.contains("holds 5 values, its shape needs 72"), "{found}");
    file.graph.initializer[0].data_type = DataType::String.into();
    let found = file.problem();
    assert!(matches!(found, Problem::Tensor { problem: TensorProblem::Type(8), .. }), "{found}");
}

#[test]
fn values_defined_twice_are_refused() {
    let again = small_network().node("Relu", "x", "r");
    assert!(matches!(again.problem(), Problem::DuplicateValue(name) if name == "r"));
    let shadow = small_network().random("c", &[1]);
    assert!(matches!(shadow.problem(), Problem::DuplicateValue(name) if name == "c"));
    let mut inputs = small_network();
    inputs.graph.input.push(inputs.graph.input[0].clone());
    assert!(matches!(inputs.problem(), Problem::DuplicateValue(name) if name == "x"));
}

#[test]
fn cycles_are_refused() {
    let file = OnnxFile::new(13, &[1, 2]).node("Add", "x b", "a").node("Relu", "a", "b");
    assert!(matches!(file.output("b").problem(), Problem::Cycle(_)));
    let itself = OnnxFile::new(13, &[1, 2]).node("Relu", "y", "y");
    assert!(matches!(itself.problem(), Problem::Cycle(node) if node == "make_y"));
}

#[test]
fn outputs_that_cannot_be_are_refused() {
    let file = small_network();
    let unknown = file.problem_with(&outputs_option(&["nothing"]));
    assert!(matches!(unknown, Problem::UnknownOutput { .. }));
    let constant = file.problem_with(&outputs_option(&["w"]));
    assert!(matches!(constant, Problem::ConstantOutput { name } if name == "w"));
    assert!(matches!(file.problem_with(&outputs_option(&[])), Problem::NoOutputs));
}
