//! Our f64 interpreter against tract, an independent implementation: import and interpreter would
//! have to be wrong in the same way as tract to pass. Models trained and small, one operator each.

mod tract;

use std::path::{Path, PathBuf};
use tract::tract;
use unbraid_converter::export::to_onnx;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::Graph;
use unbraid_converter::import::{Options, from_bytes, load};
use unbraid_converter::onnx::AttributeProto;
use unbraid_converter::reference;
use unbraid_tests::every_op;
use unbraid_tests::onnx_file::{OnnxFile, small_network};
use unbraid_tests::rng::Random;

/// Largest difference, relative to the largest output: tract computes in f32.
const TOLERANCE: f64 = 1e-5;

/// Panics unless the graph in our interpreter and the file in tract agree on a random picture.
fn agree(name: &str, graph: &Graph, bytes: &[u8]) {
    let shape = graph.shape(graph.inputs[0]);
    let x = Random(11).vec(shape.iter().product());
    let inputs = vec![x.iter().map(|&v| f64::from(v)).collect()];
    let ours = reference::run(graph, &inputs).expect(name);
    let theirs = tract(bytes, shape, &x).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let largest = ours.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let difference = |(a, b): (&f64, &f32)| (a - f64::from(*b)).abs();
        let error = ours.iter().zip(theirs).map(difference).fold(0.0, f64::max);
        assert!(largest > 0.0 && largest.is_finite(), "{name}: largest output {largest}");
        assert!(error <= TOLERANCE * largest, "{name}: {error} of {largest}");
    }
}

/// [`agree`] on a file and what we import from it.
fn compare(name: &str, bytes: Vec<u8>) {
    let graph = from_bytes(bytes.clone(), &Options::default()).expect(name);
    agree(name, &graph, &bytes);
}

fn trained_models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let nets = ["repvgg", "mobileone", "plain"].into_iter();
    nets.flat_map(|n| ["eval", "preserve"].map(|e| folder.join(format!("{n}_{e}.onnx")))).collect()
}

#[test]
fn interpreter_and_tract_agree_on_the_trained_models() {
    for path in trained_models() {
        compare(&path.display().to_string(), std::fs::read(&path).expect("a committed model"));
    }
}

#[test]
fn tract_reads_fused_models_as_the_function_that_was_trained() {
    for path in trained_models() {
        let trained = load(&path, &Options::default()).expect("a good model");
        let fused = fuse(trained.clone(), FuseMode::Free, &mut |_| {}).graph;
        assert!(fused.nodes.len() < trained.nodes.len());
        agree(&path.display().to_string(), &trained, &to_onnx(&fused));
    }
}

#[test]
fn tract_reads_every_exported_operation_as_the_interpreter_does() {
    for (name, graph) in [("fused", every_op::fused()), ("plain", every_op::plain(1))] {
        agree(name, &graph, &to_onnx(&graph));
    }
}

#[test]
fn interpreter_and_tract_agree_on_a_small_network_in_every_opset() {
    for opset in 9..=21 {
        compare(&format!("opset {opset}"), OnnxFile { opset, ..small_network() }.bytes());
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto::int(name, value)
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto::ints(name, values)
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto::float(name, value)
}

fn picture(opset: i64) -> OnnxFile {
    OnnxFile::new(opset, &[1, 4, 9, 10])
}

#[test]
fn interpreter_and_tract_agree_on_convolutions() {
    let auto =
        |pad: &'static str| vec![AttributeProto::string("auto_pad", pad), ints("strides", &[2, 3])];
    let cases = [
        ([4, 4, 3, 3], vec![]),
        ([6, 4, 3, 2], vec![ints("pads", &[1, 0, 2, 1]), ints("strides", &[2, 1])]),
        ([5, 4, 1, 1], vec![ints("pads", &[1, 1, 1, 1])]),
        ([6, 2, 3, 3], vec![int("group", 2), ints("kernel_shape", &[3, 3])]),
        (
            [8, 1, 3, 3],
            vec![int("group", 4), ints("dilations", &[2, 3]), ints("pads", &[2, 3, 2, 3])],
        ),
        ([3, 4, 3, 2], auto("SAME_UPPER")),
        ([3, 4, 3, 2], auto("SAME_LOWER")),
        ([3, 4, 2, 2], auto("VALID")),
    ];
    for (shape, attributes) in cases {
        let name = format!("{shape:?} {attributes:?}");
        let file = picture(13).random("w", &shape).random("b", &shape[..1]);
        compare(&name, file.clone().node_with("Conv", "x w", "y", attributes.clone()).bytes());
        compare(&name, file.node_with("Conv", "x w b", "y", attributes).bytes());
    }
}

#[test]
fn interpreter_and_tract_agree_on_pools() {
    let square = |k: i64, s: i64| vec![ints("kernel_shape", &[k, k]), ints("strides", &[s, s])];
    let with = |mut attributes: Vec<AttributeProto>, more: &[AttributeProto]| {
        attributes.extend_from_slice(more);
        attributes
    };
    let pads = ints("pads", &[1, 0, 1, 1]);
    let (ceil, include) = (int("ceil_mode", 1), int("count_include_pad", 1));
    let cases = [
        ("MaxPool", square(2, 2)),
        ("MaxPool", with(square(3, 2), std::slice::from_ref(&pads))),
        ("MaxPool", with(square(2, 2), std::slice::from_ref(&ceil))),
        // A window that would start right of the picture is left out.
        ("MaxPool", with(square(2, 3), std::slice::from_ref(&ceil))),
        ("MaxPool", with(square(3, 1), &[ints("dilations", &[2, 3])])),
        ("MaxPool", with(square(3, 2), &[AttributeProto::string("auto_pad", "SAME_UPPER")])),
        ("AveragePool", square(3, 2)),
        ("AveragePool", with(square(3, 2), std::slice::from_ref(&pads))),
        ("AveragePool", with(square(3, 2), &[pads, include])),
        ("AveragePool", with(square(2, 2), &[ceil])),
        ("GlobalAveragePool", vec![]),
        ("ReduceMean", vec![ints("axes", &[2, 3])]),
        ("ReduceMean", vec![ints("axes", &[-1, -2]), int("keepdims", 0)]),
    ];
    for (op, attributes) in cases {
        let name = format!("{op} {attributes:?}");
        compare(&name, picture(13).node_with(op, "x", "y", attributes).bytes());
    }
    let axes_as_operand = picture(18).ints("axes", &[2, 3]).node("ReduceMean", "x axes", "y");
    compare("ReduceMean of opset 18", axes_as_operand.bytes());
}

#[test]
fn interpreter_and_tract_agree_on_element_wise_operators() {
    let constant = |shape: &[usize]| picture(13).random("c", shape);
    let halves = |file: OnnxFile| file.floats("lo", &[], &[-0.5]).floats("hi", &[], &[0.5]);
    let norm = picture(13).statistics(4);
    let norm = norm.node_with(
        "BatchNormalization",
        "x gamma beta mean var",
        "y",
        vec![float("epsilon", 0.1)],
    );
    let mut cases = vec![
        ("batch norm", norm),
        ("relu", picture(13).node("Relu", "x", "y")),
        ("sigmoid", picture(13).node("Sigmoid", "x", "y")),
        ("leaky relu", picture(13).node_with("LeakyRelu", "x", "y", vec![float("alpha", 0.3)])),
        (
            "clip by attributes",
            picture(9).node_with("Clip", "x", "y", vec![float("min", -0.5), float("max", 0.5)]),
        ),
        ("clip by operands", halves(picture(13)).node("Clip", "x lo hi", "y")),
        ("clip from below", halves(picture(13)).node("Clip", "x lo", "y")),
        ("clip from above", halves(picture(13)).node("Clip", "x _ hi", "y")),
        ("prelu", constant(&[4, 1, 1]).node("PRelu", "x c", "y")),
        ("prelu with one slope", constant(&[1]).node("PRelu", "x c", "y")),
        ("sum", constant(&[1, 4, 1, 10]).node("Sum", "x c x x", "y")),
    ];
    for op in ["Add", "Sub", "Mul", "Div"] {
        cases.push((op, constant(&[4, 1, 1]).node(op, "x c", "y")));
        // x + 2, since a random x is too close to 0 to divide by.
        let shifted = constant(&[9, 10]).floats("two", &[], &[2.0]).node("Add", "x two", "s");
        cases.push((op, shifted.node(op, "c s", "y")));
    }
    for (name, file) in cases {
        compare(name, file.bytes());
    }
}

#[test]
fn interpreter_and_tract_agree_on_dense_layers() {
    let row =
        || OnnxFile::new(13, &[1, 6]).random("w", &[6, 5]).random("t", &[5, 6]).random("b", &[5]);
    let gemm = |inputs, attributes| row().node_with("Gemm", inputs, "y", attributes);
    let cases = [
        ("gemm", gemm("x w b", vec![])),
        ("gemm without bias", gemm("x t", vec![int("transB", 1)])),
        (
            "gemm with factors",
            gemm("x t b", vec![int("transB", 1), float("alpha", 0.5), float("beta", -2.0)]),
        ),
        ("gemm with a scalar bias", row().floats("one", &[1], &[0.7]).node("Gemm", "x w one", "y")),
        ("matmul and add", row().node("MatMul", "x w", "m").node("Add", "m b", "y")),
    ];
    for (name, file) in cases {
        compare(name, file.bytes());
    }
}

#[test]
fn interpreter_and_tract_agree_on_shapes() {
    let axis = |axis| vec![int("axis", axis)];
    let two = picture(13).random("c", &[1, 2, 9, 10]);
    let added = picture(13).ints("a", &[0, 3]).node("Unsqueeze", "x a", "u");
    let dropped = vec![ints("axes", &[0])];
    let cases = [
        ("flatten", picture(13).node_with("Flatten", "x", "y", axis(2))),
        ("reshape", picture(13).ints("s", &[0, -1, 5]).node("Reshape", "x s", "y")),
        ("unsqueeze and squeeze", added.node("Squeeze", "u a", "y")),
        ("squeeze by attribute", picture(11).node_with("Squeeze", "x", "y", dropped)),
        ("concat", two.node_with("Concat", "x c x", "y", axis(1))),
    ];
    for (name, file) in cases {
        compare(name, file.bytes());
    }
}

#[test]
fn interpreter_and_tract_agree_on_padding() {
    let pads = [0, 0, 1, 2, 0, 0, 3, 0];
    let pad = || picture(13).ints("pads", &pads).floats("v", &[], &[0.25]);
    let attributes = vec![ints("pads", &pads), float("value", 0.25)];
    let cases = [
        ("pad", pad().node("Pad", "x pads v", "y")),
        ("pad with zeros", pad().node("Pad", "x pads", "y")),
        ("pad by attributes", picture(10).node_with("Pad", "x", "y", attributes)),
    ];
    for (name, file) in cases {
        compare(name, file.bytes());
    }
    for mode in ["reflect", "edge"] {
        let attributes = vec![AttributeProto::string("mode", mode)];
        compare(mode, pad().node_with("Pad", "x pads", "y", attributes).bytes());
    }
}

#[test]
fn interpreter_and_tract_agree_on_functions() {
    let plain = ["Abs", "Erf", "Exp", "HardSwish", "Mish", "Neg", "Softplus", "Tanh"];
    for op in plain {
        compare(op, picture(18).node(op, "x", "y").bytes());
    }
    for op in ["Log", "Reciprocal", "Sqrt"] {
        // Where the function is steep, f32 and f64 differ by more than the tolerance.
        let positive = picture(13).floats("two", &[], &[2.0]).node("Add", "x two", "p");
        compare(op, positive.node(op, "p", "y").bytes());
    }
    let with = |op: &str, attributes| picture(20).node_with(op, "x", "y", attributes);
    let cases = [
        ("elu", with("Elu", vec![float("alpha", 0.7)])),
        ("hard sigmoid", with("HardSigmoid", vec![float("alpha", 0.6), float("beta", 0.3)])),
        ("gelu", with("Gelu", vec![])),
    ];
    for (name, file) in cases {
        compare(name, file.bytes());
    }
}

#[test]
fn interpreter_and_tract_agree_on_moved_elements() {
    let perm = |perm: &[i64]| vec![ints("perm", perm)];
    let block = |more: &[AttributeProto]| [&[int("blocksize", 2)], more].concat();
    let shuffle = |mode: &'static str| block(&[AttributeProto::string("mode", mode)]);
    let even = || OnnxFile::new(13, &[1, 4, 8, 6]);
    let part = |file: OnnxFile| {
        let file = file.ints("from", &[1, -1]).ints("to", &[9, -9]);
        file.ints("along", &[3, 1]).ints("by", &[2, -1]).node("Slice", "x from to along by", "p")
    };
    let rows = picture(13).random("r", &[1, 4, 2, 10]).random("c", &[1, 4, 11, 1]);
    let rows = rows.node_with("Concat", "r x", "f", vec![int("axis", 2)]);
    let there = picture(13).node_with("Transpose", "x", "t", perm(&[0, 2, 3, 1]));
    let cases = [
        ("transpose", picture(13).node_with("Transpose", "x", "y", perm(&[0, 3, 1, 2]))),
        ("reversed axes", picture(13).node("Transpose", "x", "y")),
        ("two transposes", there.node_with("Transpose", "t", "y", perm(&[0, 2, 1, 3]))),
        ("slice", part(picture(13)).node("Identity", "p", "y")),
        ("slice, then transpose", part(picture(13)).node("Transpose", "p", "y")),
        ("depth to space", even().node_with("DepthToSpace", "x", "y", block(&[]))),
        ("pixel shuffle", even().node_with("DepthToSpace", "x", "y", shuffle("CRD"))),
        ("space to depth", even().node_with("SpaceToDepth", "x", "y", block(&[]))),
        ("rows of constants", rows.node_with("Concat", "f c", "y", vec![int("axis", 3)])),
    ];
    for (name, file) in cases {
        compare(name, file.bytes());
    }
}

#[test]
fn interpreter_and_tract_agree_on_softmax() {
    let vector = |opset| OnnxFile::new(opset, &[1, 7]);
    let channels = || vec![int("axis", 1)];
    let cases = [
        ("all axes of opset 11", vector(11).node_with("Softmax", "x", "y", channels())),
        ("channels", picture(13).node_with("Softmax", "x", "y", channels())),
        ("the last axis", vector(13).node("Softmax", "x", "y")),
    ];
    for (name, file) in cases {
        compare(name, file.bytes());
    }
}

#[test]
fn a_batch_is_its_pictures_one_by_one() {
    for (k, one) in [every_op::fused(), every_op::plain(2)].into_iter().enumerate() {
        let mut batch = one.clone();
        let computed = batch.values.iter_mut().filter(|value| value.constant.is_none());
        computed.for_each(|value| value.shape[0] = 3);
        let len = one.shape(one.inputs[0]).iter().product();
        let noise = Random(k as u64).vec(3 * len);
        let pictures: Vec<f64> = noise.into_iter().map(f64::from).collect();
        let together = reference::run(&batch, std::slice::from_ref(&pictures)).expect("runs");
        let mut apart = vec![Vec::new(); together.len()];
        for picture in pictures.chunks_exact(len) {
            let outputs = reference::run(&one, &[picture.to_vec()]).expect("runs");
            apart.iter_mut().zip(outputs).for_each(|(all, output)| all.extend(output));
        }
        assert_eq!(together, apart);
    }
}
