//! Reductions and normalisations: the steps against their formulas, along any axes of any value, from
//! import to runtime, export, refusals. (That operators are what ONNX means by them: `operators.rs`.)
#![forbid(unsafe_code)]

use unbraid_converter::export::to_onnx;
use unbraid_converter::graph::{Function, Graph, Op, Reduction, ValueId};
use unbraid_converter::import::{Options, Refusal, from_bytes};
use unbraid_converter::onnx::AttributeProto;
use unbraid_converter::reference;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, Normalise};
use unbraid_tests::agreement::{check, check_names};
use unbraid_tests::formula::{self, MAPS, at, each, one_step};
use unbraid_tests::graphs::{Builder, Layer};
use unbraid_tests::onnx_file::OnnxFile;
use unbraid_tests::rng::Random;

const FUNCTIONS: [Reduction; 5] =
    [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min, Reduction::Product];

/// Which of rows, columns and channels.
fn subsets() -> impl Iterator<Item = [bool; 3]> {
    (0..8).map(|mask| [mask & 1 != 0, mask & 2 != 0, mask & 4 != 0])
}

/// Dims with 1 for each of the axes.
fn without(dims: Dims, [h, w, c]: [bool; 3]) -> Dims {
    let axis = |gone: bool, length: u32| if gone { 1 } else { length };
    Dims { h: axis(h, dims.h), w: axis(w, dims.w), c: axis(c, dims.c) }
}

/// The values of `x` that make value `(i, j, k)` of a map without these axes.
fn along(dims: Dims, gone: [bool; 3], x: &[f32], place: [u32; 3]) -> Vec<f64> {
    let lengths = [dims.h, dims.w, dims.c];
    let [rows, columns, channels] =
        [0, 1, 2].map(
            |axis: usize| {
                if gone[axis] { 0..lengths[axis] } else { place[axis]..place[axis] + 1 }
            },
        );
    let mut values = Vec::new();
    for row in rows {
        for column in columns.clone() {
            values.extend(channels.clone().map(|c| f64::from(x[at(dims, row, column, c)])));
        }
    }
    values
}

fn reduced(function: Reduction, values: &[f64]) -> f64 {
    let values = values.iter().copied();
    match function {
        Reduction::Sum => values.sum(),
        Reduction::Mean => values.clone().sum::<f64>() / values.count() as f64,
        Reduction::Max => values.fold(f64::NEG_INFINITY, f64::max),
        Reduction::Min => values.fold(f64::INFINITY, f64::min),
        Reduction::Product => values.product(),
    }
}

#[test]
fn reductions_of_any_axes_match_their_formula() {
    let long = [Dims { h: 1, w: 150, c: 3 }, Dims { h: 2, w: 1, c: 1000 }];
    for dims in MAPS.into_iter().chain(long) {
        // Near 1, so that products neither vanish nor overflow.
        let x = Random(1).within(0.9, 1.1, dims.elements().unwrap());
        for (function, gone) in FUNCTIONS.into_iter().flat_map(|f| subsets().map(move |g| (f, g))) {
            let output = without(dims, gone);
            let value = |i, j, k| reduced(function, &along(dims, gone, &x, [i, j, k]));
            let net = one_step(dims, output, step::Op::Reduce(function));
            formula::check(
                &net,
                &x,
                &each(output, value),
                &format!("{function:?} {dims:?} {gone:?}"),
            );
        }
    }
}

#[test]
fn normalisation_along_any_axes_matches_its_formula() {
    for dims in MAPS.into_iter().chain([Dims { h: 1, w: 150, c: 3 }]) {
        // Away from 0, where the difference of the squares would have fewer digits.
        let x = Random(2).within(19.0, 21.0, dims.elements().unwrap());
        for (centred, gone) in
            [true, false].into_iter().flat_map(|b| subsets().map(move |g| (b, g)))
        {
            let [rows, columns, channels] = gone;
            let op = Normalise { rows, columns, channels, centred, epsilon: 0.25 };
            let expected = each(dims, |i, j, k| {
                let values = along(dims, gone, &x, [i, j, k]);
                let mean = if centred { reduced(Reduction::Mean, &values) } else { 0.0 };
                let squares: Vec<f64> = values.iter().map(|v| (v - mean).powi(2)).collect();
                let variance = reduced(Reduction::Mean, &squares);
                (f64::from(x[at(dims, i, j, k)]) - mean) / (variance + 0.25).sqrt()
            });
            let what = format!("{op:?} {dims:?}");
            formula::check(&one_step(dims, dims, step::Op::Normalise(op)), &x, &expected, &what);
            let mut net = one_step(dims, dims, step::Op::Activate(step::Activation::None));
            let last = net.steps[0].output;
            net.step_in_place(last, step::Op::Normalise(op));
            formula::check(&net, &x, &expected, &format!("{what} in place"));
        }
    }
}

/// A net of one operation on what a convolution leaves, seen under a shape.
fn net_of(shape: &[usize], op: Op, result: &[usize]) -> Graph {
    let (mut net, x) = Builder::new(3, 4, [6, 5]);
    let x = net.conv(x, Layer::of(8, 3, 1, 1).biased());
    // Of one sign: errors are measured by results, which must not cancel out.
    let x = net.node(Op::Unary(Function::Sigmoid), vec![x], &[1, 8, 6, 5]);
    let x = net.reshape(x, shape);
    let y = net.node(op, vec![x], result);
    let y = net.reshape(y, &[1, result.iter().product()]);
    net.finish(&[y])
}

/// Every choice of axes of values with up to five of them.
fn choices() -> Vec<(Vec<usize>, Vec<usize>)> {
    let shapes: [&[usize]; 6] =
        [&[240], &[8, 30], &[1, 8, 30], &[1, 8, 6, 5], &[2, 4, 6, 5], &[1, 2, 4, 6, 5]];
    let axes = |rank: usize| {
        (1..1_usize << rank)
            .map(move |mask| (0..rank).filter(|axis| mask >> axis & 1 == 1).collect())
    };
    let all = shapes.iter().flat_map(|shape| axes(shape.len()).map(|axes| (shape.to_vec(), axes)));
    all.collect()
}

fn kept(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| if axes.contains(&axis) { 1 } else { shape[axis] }).collect()
}

#[test]
fn any_axes_of_any_value_can_be_reduced() {
    for (k, (shape, axes)) in choices().into_iter().enumerate() {
        let function = [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min][k % 4];
        let result = kept(&shape, &axes);
        let graph = net_of(&shape, Op::Reduce { function, axes }, &result);
        check(&graph);
        check_names(&graph);
    }
}

#[test]
fn values_are_normalised_along_any_axes() {
    for (k, (shape, axes)) in choices().into_iter().enumerate() {
        let op = Op::Normalise { axes, centred: k % 3 != 0, eps: 0.01 };
        let graph = net_of(&shape, op, &shape);
        check(&graph);
        check_names(&graph);
    }
}

#[test]
fn what_is_read_after_a_transpose_is_reduced_where_it_lies() {
    let (mut net, x) = Builder::new(4, 6, [4, 5]);
    let y = net.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, vec![x], &[1, 4, 5, 6]);
    let layer = Op::Normalise { axes: vec![3], centred: true, eps: 0.1 };
    let y = net.node(layer, vec![y], &[1, 4, 5, 6]);
    let top = Op::Reduce { function: Reduction::Max, axes: vec![1] };
    let z = net.node(top, vec![y], &[1, 1, 5, 6]);
    let graph = net.finish(&[z]);
    check(&graph);
    let plan = unbraid_converter::plan::plan(&graph, &Default::default()).unwrap();
    let names: Vec<_> = plan.steps.iter().map(|step| step.op.name()).collect();
    assert_eq!(names, ["normalise", "reduce_max"]);
}

fn run(graph: &Graph) -> Vec<Vec<f64>> {
    let input = |&id: &ValueId| {
        let x = Random(5).within(0.5, 1.5, graph.shape(id).iter().product());
        x.into_iter().map(f64::from).collect()
    };
    reference::run(graph, &graph.inputs.iter().map(input).collect::<Vec<_>>()).unwrap()
}

#[test]
fn what_was_reduced_comes_back_from_onnx() {
    let axes = vec![0, 2];
    let mut ops: Vec<Op> =
        FUNCTIONS.map(|function| Op::Reduce { function, axes: axes.clone() }).into();
    ops.extend([true, false].map(|centred| Op::Normalise {
        axes: axes.clone(),
        centred,
        eps: 0.1,
    }));
    for op in ops {
        let result = if matches!(op, Op::Normalise { .. }) { [2, 4, 30] } else { [1, 4, 1] };
        let graph = net_of(&[2, 4, 30], op.clone(), &result);
        let again = from_bytes(to_onnx(&graph), &Options::default()).unwrap();
        assert_eq!(run(&graph), run(&again), "{op:?}");
        // Beside an operation of a later opset axes are an operand.
        let mut later = graph;
        let y = later.outputs[0];
        let z = later.value("z", later.shape(y).to_vec());
        let mish = Op::Unary(Function::Mish);
        later.push("mish", mish, vec![y], z);
        later.outputs = vec![z];
        let again = from_bytes(to_onnx(&later), &Options::default()).unwrap();
        assert_eq!(run(&later), run(&again), "{op:?}");
    }
}

#[test]
fn axes_of_length_1_need_no_reduction() {
    let attributes = vec![AttributeProto::ints("axes", [0, 1]), AttributeProto::int("keepdims", 0)];
    let graph = OnnxFile::new(13, &[1, 1, 3]).node_with("ReduceMax", "x", "y", attributes).import();
    assert_eq!(graph.shape(graph.outputs[0]), [3]);
    assert!(matches!(graph.nodes[..], [ref node] if node.op == Op::Reshape));
}

#[test]
fn impossible_reductions_and_normalisations_are_refused() {
    let axes = vec![AttributeProto::ints("axes", [3])];
    let refusal = OnnxFile::new(13, &[1, 2, 3]).node_with("ReduceMin", "x", "y", axes).refusal();
    assert!(matches!(refusal, Refusal::Attribute { name: "axes", .. }), "{refusal}");
    let file = || OnnxFile::new(21, &[1, 6, 4]).random("s", &[6]).random("b", &[6]);
    for groups in [0, 4, -1] {
        let attributes = vec![AttributeProto::int("num_groups", groups)];
        let refusal = file().node_with("GroupNormalization", "x s b", "y", attributes).refusal();
        assert!(matches!(refusal, Refusal::Attribute { name: "num_groups", .. }), "{refusal}");
    }
    let eps = vec![AttributeProto::float("epsilon", -1.0)];
    let refusal = file().node_with("InstanceNormalization", "x s b", "y", eps).refusal();
    assert!(matches!(refusal, Refusal::Attribute { name: "epsilon", .. }), "{refusal}");
    let short = file().random("t", &[5]).node("InstanceNormalization", "x s t", "y").refusal();
    assert!(matches!(short, Refusal::Shape { role: "its bias", .. }), "{short}");
}
