//! Operators on values of one to five axes: the runtime computes what the oracle does, and networks
//! of rows fuse as networks of pictures do.
#![forbid(unsafe_code)]

use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Graph, Op};
use unbraid_converter::onnx::AttributeProto;
use unbraid_converter::plan::{Options, plan};
use unbraid_converter::reference;
use unbraid_runtime::step;
use unbraid_tests::agreement::check;
use unbraid_tests::onnx_file::OnnxFile;
use unbraid_tests::rng::Random;

const SHAPES: [&[usize]; 6] =
    [&[7], &[3, 4], &[1, 4, 5], &[1, 3, 4, 5], &[2, 3, 4, 5], &[2, 1, 3, 4, 3]];

fn count(graph: &Graph, is: fn(&Op) -> bool) -> usize {
    graph.nodes.iter().filter(|node| is(&node.op)).count()
}

/// A model whose input has exactly this shape, batches included.
fn file(shape: &[usize]) -> OnnxFile {
    OnnxFile::new(18, shape)
}

/// Imports with the shape of the file as it is, and compares runtime and oracle.
fn import(file: &OnnxFile, shape: &[usize]) -> Graph {
    let input_shapes = vec![("x".to_owned(), shape.to_vec())];
    let options = unbraid_converter::import::Options { input_shapes, ..Default::default() };
    let graph =
        unbraid_converter::import::from_bytes(file.bytes(), &options).expect("a good model");
    check(&graph);
    graph
}

/// Where the mode takes the element at `at` of a padded axis from; `None` for the constant.
fn source(mode: &str, at: i64, length: i64) -> Option<i64> {
    match mode {
        _ if (0..length).contains(&at) => Some(at),
        "edge" => Some(at.clamp(0, length - 1)),
        "reflect" => Some(if at < 0 { -at } else { 2 * (length - 1) - at }),
        "wrap" => Some(at.rem_euclid(length)),
        _ => None,
    }
}

/// The definition of Pad.
fn padded(x: &[f64], shape: &[usize], pads: &[[i64; 2]], mode: &str, value: f64) -> Vec<f64> {
    let long = |(&n, [begin, end]): (&usize, &[i64; 2])| (n as i64 + begin + end) as usize;
    let result: Vec<usize> = shape.iter().zip(pads).map(long).collect();
    let element = |mut number: usize| {
        let (mut at, mut step) = (0, 1);
        for ((&length, &own), [begin, _]) in result.iter().zip(shape).zip(pads).rev() {
            let place = source(mode, (number % length) as i64 - begin, own as i64)?;
            at += place as usize * step;
            (number, step) = (number / length, step * own);
        }
        Some(x[at])
    };
    (0..result.iter().product()).map(|number| element(number).unwrap_or(value)).collect()
}

#[test]
fn pads_go_around_any_axis_in_any_mode() {
    let mut random = Random(5);
    for shape in SHAPES {
        for (k, mode) in ["constant", "edge", "reflect", "wrap"].into_iter().enumerate() {
            // No more than the shortest padded axis can mirror, and one axis cut.
            let pads: Vec<[i64; 2]> = shape
                .iter()
                .enumerate()
                .map(|(axis, &n)| match (axis + k) % 3 {
                    0 if n > 2 => [2, 1],
                    1 if n > 3 => [-1, 2],
                    _ => [0, 0],
                })
                .collect();
            let ends = |at: usize| pads.iter().map(move |pad| pad[at]);
            let file = file(shape)
                .ints("pads", &ends(0).chain(ends(1)).collect::<Vec<_>>())
                .floats("value", &[], &[0.5])
                .node_with("Pad", "x pads value", "p", vec![AttributeProto::string("mode", mode)])
                .node("Abs", "p", "y");
            let graph = import(&file, shape);
            let x: Vec<f64> =
                random.vec(shape.iter().product()).into_iter().map(f64::from).collect();
            // Cutting comes before mirroring.
            let cut: Vec<[i64; 2]> = pads.iter().map(|pad| pad.map(|n| n.min(0))).collect();
            let rest: Vec<[i64; 2]> = pads.iter().map(|pad| pad.map(|n| n.max(0))).collect();
            let left: Vec<usize> =
                shape.iter().zip(&cut).map(|(&n, c)| (n as i64 + c[0] + c[1]) as usize).collect();
            let inner = padded(&x, shape, &cut, mode, 0.5);
            let expected: Vec<f64> =
                padded(&inner, &left, &rest, mode, 0.5).into_iter().map(f64::abs).collect();
            assert_eq!(reference::run(&graph, &[x]).unwrap()[0], expected, "{shape:?} {mode}");
        }
    }
}

#[test]
fn elementwise_operators_take_any_number_of_axes() {
    for shape in SHAPES {
        let last = shape[shape.len() - 1];
        let ones = vec![1; shape.len() - 1];
        let slopes = [&[last][..], &ones].concat();
        let first = shape.iter().map(|&n| if n == shape[0] { n } else { 1 }).collect::<Vec<_>>();
        let file = file(shape)
            .random("row", &[last])
            .random("slope", &slopes[..1])
            .random("first", &first)
            .node("Add", "x row", "a")
            .node("PRelu", "a slope", "b")
            .node("Max", "b first row", "c")
            .node("Min", "c x", "d")
            .node("Mean", "d x row", "e")
            .node("Sub", "row e", "f")
            .node("Softsign", "f", "g")
            .node("Celu", "g", "y");
        import(&file, shape);
    }
}

#[test]
fn softmax_runs_along_every_axis_and_in_old_models_along_all_behind_it() {
    for shape in SHAPES {
        for (op, opset) in
            [("Softmax", 18), ("Softmax", 11), ("LogSoftmax", 18), ("LogSoftmax", 11)]
        {
            for axis in 0..shape.len() {
                let along = vec![AttributeProto::int("axis", axis as i64)];
                let file = OnnxFile::new(opset, shape)
                    // Exponentials of these would overflow.
                    .floats("far", &[], &[300.0])
                    .node("Mul", "x far", "t")
                    .node_with(op, "t", "y", along);
                let graph = import(&file, shape);
                let x = Random(2).vec(shape.iter().product()).into_iter().map(f64::from).collect();
                let y = &reference::run(&graph, &[x]).unwrap()[0];
                let probability = |&y: &f64| if op == "Softmax" { y } else { y.exp() };
                let end = if opset < 13 { shape.len() } else { axis + 1 };
                let groups: usize = shape[..axis].iter().chain(&shape[end..]).product();
                let total: f64 = y.iter().map(probability).sum();
                assert!((total - groups as f64).abs() < 1e-9, "{op} {opset} {shape:?} {axis}");
            }
        }
    }
}

#[test]
fn a_constant_mask_chooses_between_two_values() {
    for shape in SHAPES {
        let last = shape[shape.len() - 1];
        let even: Vec<i64> = (0..last as i64).map(|k| (k % 2 == 0).into()).collect();
        let file = file(shape)
            .ints("mask", &even)
            .floats("other", &[1], &[-7.0])
            .node("Neg", "x", "n")
            .node("Where", "mask n x", "w")
            .node("Where", "mask w other", "y");
        let graph = import(&file, shape);
        let x: Vec<f64> =
            Random(4).vec(shape.iter().product()).into_iter().map(f64::from).collect();
        let chosen = |(k, x): (usize, &f64)| if k % last % 2 == 0 { -x } else { -7.0 };
        let expected: Vec<f64> = x.iter().enumerate().map(chosen).collect();
        assert_eq!(reference::run(&graph, &[x]).unwrap()[0], expected);
    }
}

#[test]
fn values_are_expanded_tiled_and_split_along_every_axis() {
    for shape in SHAPES {
        for (axis, &length) in shape.iter().enumerate() {
            let times: Vec<i64> = (0..shape.len()).map(|k| 1 + i64::from(k == axis) * 2).collect();
            let mut whole: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
            whole[axis] *= 3;
            let parts = [1, whole[axis] - 1];
            let along = vec![AttributeProto::int("axis", axis as i64)];
            let mut file = file(shape)
                .ints("times", &times)
                .ints("parts", &parts)
                .ints("wider", &[&[2], &whole[..]].concat()[..])
                .node("Tile", "x times", "t")
                .node_with("Split", "t parts", "head", along.clone())
                .node_with("Concat", "tail head", "z", along);
            file.graph.node[1].output.push("tail".into());
            let file = if shape.len() < 5 {
                file.node("Expand", "z wider", "y")
            } else {
                file.output("z")
            };
            let graph = import(&file, shape);
            let found = graph.shape(graph.outputs[0]);
            assert_eq!(found[found.len() - shape.len()..][axis], length * 3);
        }
    }
}

#[test]
fn networks_of_rows_fuse_as_networks_of_pictures_do() {
    let shape = [1, 4, 20];
    let pads = || vec![AttributeProto::ints("pads", [1, 1])];
    let pool =
        vec![AttributeProto::ints("kernel_shape", [2]), AttributeProto::ints("strides", [2])];
    let file = file(&shape)
        .random("v", &[6, 4, 3])
        .random("w", &[6, 4, 1])
        .random("u", &[4, 6, 5])
        .statistics(6)
        .node_with("Conv", "x v", "a", pads())
        .node("Conv", "x w", "b")
        .node("BatchNormalization", "a gamma beta mean var", "c")
        .node("Add", "b c", "d")
        .node("Relu", "d", "e")
        .node_with("MaxPool", "e", "f", pool)
        .node("Conv", "f u", "g")
        .node("GlobalAveragePool", "g", "y");
    let graph = import(&file, &shape);
    assert_eq!(graph.shape(graph.outputs[0]), [1, 4, 1]);
    let fused = fuse(graph, FuseMode::Free, &mut |_| {});
    check(&fused.graph);
    let is_conv: fn(&Op) -> bool = |op| matches!(op, Op::Conv(_));
    let is_sum: fn(&Op) -> bool = |op| matches!(op, Op::Add { .. } | Op::BatchNorm { .. });
    assert_eq!((count(&fused.graph, is_conv), count(&fused.graph, is_sum)), (2, 0));
}

/// As TensorFlow's converters write pictures: NHWC, and turned to NCHW and back around what ONNX has
/// for NCHW alone.
#[test]
fn pictures_whose_channels_come_last_are_not_turned_between_layers() {
    let shape = [1, 12, 10, 3];
    let first = || vec![AttributeProto::ints("perm", [0, 3, 1, 2])];
    let last = || vec![AttributeProto::ints("perm", [0, 2, 3, 1])];
    let pads = || vec![AttributeProto::ints("pads", [1, 1, 1, 1])];
    let file = file(&shape)
        .random("v", &[6, 3, 3, 3])
        .random("b", &[1, 1, 6])
        .random("w", &[6, 6, 3, 3])
        .random("c", &[6])
        .node_with("Transpose", "x", "x1", first())
        .node_with("Conv", "x1 v", "a", pads())
        .node_with("Transpose", "a", "a1", last())
        .node("Add", "a1 b", "d")
        .node("Relu", "d", "e")
        .node_with("Transpose", "e", "e1", first())
        .node_with("Conv", "e1 w", "f", pads())
        .node_with("Transpose", "f", "f1", last())
        .node("Add", "f1 c", "g")
        .node("Add", "e g", "h")
        .node("Sigmoid", "h", "i")
        .node_with("Concat", "i e", "j", vec![AttributeProto::int("axis", 3)])
        .ints("axes", &[1, 2])
        .node("ReduceMean", "j axes", "y");
    let fused = fuse(import(&file, &shape), FuseMode::Free, &mut |_| {}).graph;
    check(&fused);
    let is_sum: fn(&Op) -> bool = |op| matches!(op, Op::Add { .. });
    // Biases are in the convolutions, and so is what the second one's input is added to.
    assert_eq!(count(&fused, is_sum), 0, "{:#?}", fused.nodes);
    let plan = plan(&fused, &Options::default()).expect("can be planned");
    let turned = plan.steps.iter().filter(|step| matches!(step.op, step::Op::Rearrange(_))).count();
    // The input, which a file takes pixel by pixel of axes 2 and 3.
    assert_eq!(turned, 1, "{:#?}", plan.names);
}
