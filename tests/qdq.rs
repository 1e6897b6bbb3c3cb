//! Quantized models: what onnxruntime's quantizer and PyTorch's exporter write becomes a graph that is
//! rounded where they round. `tests/models/quantized.py` makes the networks.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Graph, Quantization};
use unbraid_converter::import::{Options, Problem, Refusal, load};
use unbraid_converter::onnx::{AttributeProto, DataType, TensorProto};
use unbraid_converter::prune::prune;
use unbraid_converter::{npy, plan, reference, write};
use unbraid_runtime::{Cpu, Model};
use unbraid_tests::execute::{cpus, run};
use unbraid_tests::onnx_file::OnnxFile;
use unbraid_tests::rng::Random;

// ---------------------------------------------------------------- networks

/// A row of the index that `quantized.py` writes.
struct Network {
    name: String,
    /// Distance of neighbouring values of the output.
    step: f32,
    folder: PathBuf,
}

impl Network {
    fn values(&self, file: &str) -> Vec<f32> {
        let bytes = std::fs::read(self.folder.join(file)).expect(file);
        npy::read(&bytes).expect(file).as_f32().expect("floats").to_vec()
    }

    /// The network as `unbraid convert` leaves it.
    fn graph(&self) -> Graph {
        let graph = load(&self.folder.join("model.onnx"), &Options::default());
        let mut fused = fuse(graph.unwrap_or_else(|e| panic!("{e}")), FuseMode::Free, &mut |_| {});
        prune(&mut fused.graph);
        fused.graph
    }
}

fn networks() -> Vec<Network> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/quantized");
    let index = std::fs::read_to_string(folder.join("index.tsv"));
    let index = index.unwrap_or_else(|error| panic!("{error}: sh tests/setup.sh makes them"));
    let network = |row: &str| {
        let (name, step) = row.split_once('\t').expect("name and step");
        let (name, folder) = (name.to_owned(), folder.join(name));
        Network { name, step: step.parse().expect("a number"), folder }
    };
    index.lines().map(network).collect()
}

/// Largest difference in steps of the output, and the share of equal values.
fn compared(found: &[f32], expected: &[f32], step: f32) -> (f32, f32) {
    assert_eq!(found.len(), expected.len());
    let steps = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / step);
    let steps: Vec<f32> = steps.collect();
    // Products of integer and scale may be rounded differently.
    let equal = steps.iter().filter(|&&steps| steps < 1e-3).count();
    (steps.iter().copied().fold(0.0, f32::max), equal as f32 / steps.len() as f32)
}

#[test]
fn networks_agree_with_onnxruntime_within_one_step_of_the_output() {
    // Past the capture of the test runner: this is a table to be read.
    let mut table = std::io::stdout();
    let mut print = |row: String| writeln!(table, "{row}").expect("standard output");
    print("\nnetwork                   values  oracle: steps  equal  runtime: steps  equal".into());
    for network in networks() {
        let graph = network.graph();
        let (x, expected) = (network.values("input.npy"), network.values("output.npy"));
        let oracle = compared(&evaluated(&graph, &x), &expected, network.step);
        let runtime = compared(&executed(&graph, &x), &expected, network.step);
        print(format!(
            "{:24}  {:6}  {:13.2}  {:.3}  {:14.2}  {:.3}",
            network.name,
            expected.len(),
            oracle.0,
            oracle.1,
            runtime.0,
            runtime.1
        ));
        assert!(runtime.0 <= 1.001, "{}: the runtime differs by {} steps", network.name, runtime.0);
        // The oracle's f64 and onnxruntime's f32 fall on different sides of a half now and then,
        // which fifty layers add up: onnxruntime without fused operators is 2 steps from itself.
        let most = if network.name == "mobilenet_v2" { 3.001 } else { 1.001 };
        assert!(oracle.0 <= most, "{}: the oracle differs by {} steps", network.name, oracle.0);
    }
}

/// The first output of the oracle.
fn evaluated(graph: &Graph, x: &[f32]) -> Vec<f32> {
    let x = x.iter().map(|&v| f64::from(v)).collect();
    let y = reference::run(graph, &[x]).expect("runs").swap_remove(0);
    y.iter().map(|&v| v as f32).collect()
}

/// The first output of the runtime, the same under every mask.
fn executed(graph: &Graph, x: &[f32]) -> Vec<f32> {
    let plan = plan::plan(graph, &plan::Options::default()).expect("plans");
    let strand = write::strand(&plan).expect("fits");
    let model = Model::new(&strand).expect("a valid file");
    let output = |cpu| run(&model, cpu, &[x.to_vec()]).swap_remove(0);
    let portable = output(Cpu::PORTABLE);
    for (mask, cpu) in cpus() {
        assert!(output(cpu) == portable, "{mask} differs from portable");
    }
    portable
}

// ---------------------------------------------------------------- what the file may say

/// An initialiser of integers of this type.
fn integers(
    mut file: OnnxFile,
    name: &str,
    kind: DataType,
    shape: &[usize],
    values: &[i32],
) -> OnnxFile {
    file.graph.initializer.push(tensor(name, kind, shape, values));
    file
}

fn tensor(name: &str, kind: DataType, shape: &[usize], values: &[i32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: kind.into(),
        dims: shape.iter().map(|&n| n as i64).collect(),
        int32_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn axis(axis: i64) -> Vec<AttributeProto> {
    vec![AttributeProto::int("axis", axis)]
}

/// Quantization of the value of this name.
fn grid<'a>(graph: &'a Graph, name: &str) -> Option<&'a Quantization> {
    let value = graph.values.iter().find(|value| value.name == name);
    value.unwrap_or_else(|| panic!("no value {name}")).quantization.as_ref()
}

/// Quantization and values of the second operand of the first node with one.
fn weights(graph: &Graph) -> (Option<&Quantization>, &[f32]) {
    let node = graph.nodes.iter().find(|node| node.inputs.len() > 1).expect("a node with weights");
    (graph.get(node.inputs[1]).quantization.as_ref(), graph.constant_f32(node.inputs[1]).unwrap())
}

/// A file in which `x` is quantized to `q` and back to `r`: scale 0.5, u8 with zero point 130.
fn rounded(opset: i64, shape: &[usize]) -> OnnxFile {
    let file = OnnxFile::new(opset, shape).floats("s", &[], &[0.5]);
    let file = integers(file, "z", DataType::Uint8, &[], &[130]);
    file.node("QuantizeLinear", "x s z", "q").node("DequantizeLinear", "q s z", "r")
}

const Q: [i32; 6] = [-127, 3, 0, 127, -128, 55];

#[test]
fn integer_weights_keep_their_scales() {
    let scales = [0.25, 0.5];
    let expected: Vec<f32> = Q.iter().enumerate().map(|(k, &q)| q as f32 * scales[k / 3]).collect();
    for (kind, shift) in [(DataType::Int8, 0), (DataType::Uint8, 128)] {
        let stored = Q.map(|q| q + shift);
        let file = rounded(13, &[1, 3, 2, 2]).floats("ws", &[2], &scales);
        let file = integers(file, "w", kind, &[2, 3, 1, 1], &stored);
        let file = integers(file, "wz", kind, &[2], &[shift; 2]);
        let file = file.node_with("DequantizeLinear", "w ws wz", "v", axis(0));
        let graph = file.node("Conv", "r v", "y").import();
        let of_channels = Quantization::of_weights(scales.to_vec());
        assert_eq!(weights(&graph), (Some(&of_channels), &expected[..]), "{kind:?}");
        assert_eq!(grid(&graph, "x"), Some(&Quantization::of_activation(0.5, 2)));
        assert_eq!(graph.nodes.len(), 1);
        // -128 is one of the weights: kernels that widen take it.
        let x = Random(1).within(-70.0, 70.0, 12);
        let steps = compared(&executed(&graph, &x), &evaluated(&graph, &x), 1.0).0;
        assert!(steps < 0.01, "{steps}");
    }
}

#[test]
fn dense_weights_keep_a_scale_a_column_however_they_are_stored() {
    let scales = vec![0.25, 0.5];
    let file = rounded(13, &[1, 3]).floats("ws", &[2], &scales);
    let file = integers(file, "w", DataType::Int8, &[3, 2], &Q);
    let file = integers(file, "wz", DataType::Int8, &[2], &[0; 2]);
    let file = file.node_with("DequantizeLinear", "w ws wz", "v", axis(1));
    let of_rows = Quantization::of_weights(scales);
    let expected: Vec<f32> =
        [0, 2, 4, 1, 3, 5].map(|k| Q[k] as f32 * if k % 2 == 0 { 0.25 } else { 0.5 }).to_vec();
    let turned = || file.clone().node("Transpose", "v", "t");
    let trans_b = vec![AttributeProto::int("transB", 1)];
    for file in [
        file.clone().node("MatMul", "r v", "y"),
        file.clone().node("Gemm", "r v", "y"),
        turned().node_with("Gemm", "r t", "y", trans_b),
    ] {
        assert_eq!(weights(&file.import()), (Some(&of_rows), &expected[..]));
    }
}

#[test]
fn float_weights_between_both_operators_become_integers() {
    // As PyTorch exports fake quantization: zero points are Constant nodes.
    let file = rounded(13, &[1, 1, 2, 2]).floats("ws", &[2], &[0.5, 0.1]);
    let file = file.floats("w", &[2, 1, 1, 1], &[0.74, -99.0]);
    let zero = AttributeProto {
        name: "value".into(),
        t: Some(tensor("", DataType::Int8, &[2], &[0; 2])),
        r#type: 4,
        ..AttributeProto::default()
    };
    let file = file.node_with("Constant", "", "wz", vec![zero]);
    let file = file.node_with("QuantizeLinear", "w ws wz", "u", axis(0));
    let file = file.node_with("DequantizeLinear", "u ws wz", "v", axis(0));
    let graph = file.node("Conv", "r v", "y").import();
    let expected = Quantization::of_weights(vec![0.5, 0.1]);
    assert_eq!(weights(&graph), (Some(&expected), &[0.5, -128.0 * 0.1][..]));
}

#[test]
fn a_value_read_through_different_scales_is_rounded_for_each() {
    let file = rounded(13, &[1, 4]).floats("t", &[], &[0.3]).node("QuantizeLinear", "x t z", "p");
    let file = file.node("DequantizeLinear", "p t z", "a").node("Add", "r a", "y");
    let graph = file.import();
    assert_eq!((graph.nodes.len(), grid(&graph, "x")), (3, None));
    let x = [0.7, -1.1, 3.33, 900.0];
    let round = |x: f64, s: f64| ((x / s).round_ties_even() + 2.0).clamp(-128.0, 127.0) - 2.0;
    let expected = x.map(|x| (round(x.into(), 0.5) * 0.5 + round(x.into(), 0.3) * 0.3) as f32);
    assert!(compared(&evaluated(&graph, &x), &expected, 1.0).0 < 1e-4);
    // The same scale twice is once.
    let file = rounded(10, &[1, 4]).node("QuantizeLinear", "x s z", "p");
    let file = file.node("DequantizeLinear", "p s z", "a").node("Add", "r a", "y");
    let graph = file.import();
    assert_eq!(graph.nodes.len(), 1);
    assert_eq!(grid(&graph, "x"), Some(&Quantization::of_activation(0.5, 2)));
}

#[test]
fn integers_may_be_moved_before_they_are_dequantized() {
    let file = OnnxFile::new(13, &[1, 2, 4, 4]).floats("s", &[], &[0.5]);
    let file = integers(file, "z", DataType::Int8, &[], &[-3]).node("QuantizeLinear", "x s z", "q");
    let kernel = vec![AttributeProto::ints("kernel_shape", [2, 2])];
    let file = file.node_with("MaxPool", "q", "m", kernel).ints("shape", &[1, 18]);
    let file = file.node("Transpose", "m", "t").node("Reshape", "t shape", "f");
    let graph = file.node("DequantizeLinear", "f s z", "y").import();
    let rounded = Quantization::of_activation(0.5, -3);
    assert!(graph.nodes.iter().all(|n| graph.get(n.output).quantization == Some(rounded.clone())));
    let x = Random(2).within(-9.0, 9.0, 32);
    assert_eq!(executed(&graph, &x), evaluated(&graph, &x));
}

#[test]
fn fusing_and_pruning_leave_every_rounding_where_it_was() {
    let conv = |file: OnnxFile| file.random("w", &[3, 2, 3, 3]).node("Conv", "r w", "c");
    let again = |file: OnnxFile, from: &str, to: &str| {
        let quantized = format!("{to}_q");
        let file = file.node("QuantizeLinear", &format!("{from} s z"), &quantized);
        file.node("DequantizeLinear", &format!("{quantized} s z"), to)
    };
    let rounded = || rounded(13, &[1, 2, 6, 6]);
    // A branch that would become one convolution if nothing was rounded.
    let between = again(conv(rounded()), "c", "d").node("Relu", "d", "e");
    let between = between.random("v", &[2, 3, 1, 1]).node("Conv", "e v", "y");
    let behind = again(conv(rounded()).node("Relu", "c", "e"), "e", "y");
    let x = Random(3).within(-40.0, 40.0, 72);
    for (file, nodes) in [(between, 3), (behind, 1)] {
        let graph = file.import();
        let before = evaluated(&graph, &x);
        for mode in [FuseMode::Off, FuseMode::Free, FuseMode::All] {
            let mut fused = fuse(graph.clone(), mode, &mut |_| {}).graph;
            prune(&mut fused);
            assert_eq!(fused.nodes.len(), nodes);
            assert_eq!(evaluated(&fused, &x), before, "{mode:?}");
        }
    }
}

#[test]
fn what_8_bits_cannot_say_is_refused_with_the_reason() {
    let unsupported = |file: OnnxFile, part: &str| {
        let refusal = file.refusal();
        assert!(matches!(refusal, Refusal::Unsupported { .. }), "{refusal}");
        assert!(refusal.to_string().contains(part), "{part:?} in {refusal}");
    };
    let new = || OnnxFile::new(21, &[1, 3, 2, 2]).floats("s", &[], &[0.5]);
    let wide = integers(new(), "z", DataType::Uint16, &[], &[0]);
    unsupported(wide.node("QuantizeLinear", "x s z", "y"), "ONNX type 4 (Uint16)");
    let channels = integers(new().floats("t", &[3], &[0.5; 3]), "z", DataType::Int8, &[3], &[0; 3]);
    unsupported(channels.node("QuantizeLinear", "x t z", "y"), "a scale a channel");
    let zero = integers(new().floats("t", &[], &[0.0]), "z", DataType::Int8, &[], &[0]);
    unsupported(zero.node("QuantizeLinear", "x t z", "y"), "a scale of 0");
    let other = rounded(13, &[1, 4]).floats("t", &[], &[0.25]);
    unsupported(other.node("DequantizeLinear", "q t z", "y"), "as those of scale [0.25]");
    let sum = rounded(13, &[1, 4]).node("Add", "q q", "y");
    unsupported(sum, "Add of computed integers");
    let blocks = vec![AttributeProto::int("block_size", 2)];
    let blocks = rounded(21, &[1, 4]).node_with("QuantizeLinear", "x s z", "y", blocks);
    unsupported(blocks, "a scale a block");

    let shifted = integers(rounded(13, &[1, 3, 2, 2]), "w", DataType::Int8, &[2, 3, 1, 1], &Q);
    let shifted = integers(shifted, "wz", DataType::Int8, &[], &[4]);
    let shifted = shifted.node("DequantizeLinear", "w s wz", "v").node("Conv", "r v", "y");
    unsupported(shifted, "the zero point 4 of the weights `v`");
}

#[test]
fn integers_that_leave_the_model_are_refused() {
    let problem = rounded(13, &[1, 4]).output("q").problem();
    assert!(matches!(&problem, Problem::IntegerOutput { name } if name == "q"), "{problem}");
}
