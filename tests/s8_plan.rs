//! Claims about quantized graphs: what the oracle makes of them, and what planning makes of them.
#![forbid(unsafe_code)]

use unbraid_converter::graph::{
    Activation, Binary, Border, BorderBias, DepthOrder, Function, Graph, Op, Quantization,
    QuantizationFault, Reduction, ValueId,
};
use unbraid_converter::plan::{Kind, Options, Target, plan};
use unbraid_converter::reference;
use unbraid_converter::resize::{Coordinates, Interpolation, Resize, ResizedAxis, Rounding};
use unbraid_converter::tensor::Tensor;
use unbraid_converter::write::strand;
use unbraid_runtime::{Kernels, Model, Session};
use unbraid_tests::execute::{relative_error, row_major};
use unbraid_tests::graphs::{Builder, Layer, RELU, square};
use unbraid_tests::quantized::{check, check_mixed, planned, quantized, quantized_to, ranges};
use unbraid_tests::strand_builder::AlignedBytes;

/// A convolution with ReLU, and the value that it leaves.
fn one_conv() -> (Graph, ValueId) {
    let (mut net, x) = Builder::new(1, 3, [6, 5]);
    let y = net.conv_relu(x, Layer::of(4, 3, 1, 1));
    (net.finish(&[y]), y)
}

#[test]
fn the_oracle_rounds_what_nodes_compute_and_what_goes_in() {
    let (mut graph, y) = one_conv();
    let x = graph.inputs[0];
    let (of_x, of_y) =
        (Quantization::of_activation(0.5, 0), Quantization::of_activation(0.125, -128));
    let input: Vec<f64> = (0..90).map(|k| f64::from(k % 7) * 0.3 - 0.9).collect();
    graph.values[x.index()].quantization = Some(of_x.clone());
    let rounded: Vec<f64> = input.iter().map(|&v| of_x.rounded(v)).collect();
    let exact = reference::run(&graph, std::slice::from_ref(&input)).expect("runs").remove(0);
    graph.values[x.index()].quantization = None;
    assert_eq!(
        exact,
        reference::run(&graph, std::slice::from_ref(&rounded)).expect("runs").remove(0)
    );

    graph.values[y.index()].quantization = Some(of_y.clone());
    let on_grid = reference::run(&graph, &[rounded]).expect("runs").remove(0);
    let expected: Vec<f64> = exact.iter().map(|&v| of_y.rounded(v)).collect();
    assert_eq!(on_grid, expected);
    assert!(on_grid.iter().any(|&v| v > 0.0) && on_grid.iter().all(|v| (v / 0.125).fract() == 0.0));
}

#[test]
fn integers_stand_for_the_nearest_real_and_halves_go_to_the_even_one() {
    let quantization = Quantization::of_activation(0.5, 10);
    let found = [0.25, 0.75, -0.25, 1e9, f64::NEG_INFINITY, f64::NAN, 58.4];
    let found = found.map(|v| quantization.nearest(v));
    assert_eq!(found, [10, 12, 10, 127, -128, -128, 127]);
    assert_eq!((quantization.real(12), quantization.rounded(0.8)), (1.0, 1.0));
}

/// Plans a convolution of which a value has the quantization: the refused value and why.
fn refused(value: impl Fn(&Graph) -> ValueId, quantization: Quantization) -> QuantizationFault {
    let (mut graph, _) = one_conv();
    let id = value(&graph);
    graph.values[id.index()].quantization = Some(quantization);
    let error = plan(&graph, &Options::default()).expect_err("no step has it");
    let [problem] = &error.problems[..] else { panic!("one problem: {error}") };
    assert_eq!((&problem.node, problem.op), (&graph.get(id).name, "quantization of"));
    let Kind::Quantization { fault } = problem.kind else { panic!("{error}") };
    fault
}

#[test]
fn a_quantization_that_no_step_can_have_is_refused_by_the_name_of_its_value() {
    let output = |graph: &Graph| graph.outputs[0];
    let weight = |graph: &Graph| graph.nodes[0].inputs[1];
    for scale in [0.0, f32::NAN, -1.0, f32::INFINITY, 1e-40] {
        let fault = refused(output, Quantization::of_activation(scale, 0));
        let QuantizationFault::Scale { scale: found } = fault else { panic!("{fault}") };
        assert_eq!(found.to_bits(), scale.to_bits());
    }
    let scales = |count: usize| vec![0.1; count];
    let fault = refused(output, Quantization::of_weights(scales(4)));
    assert_eq!(fault, QuantizationFault::Scales { found: 4, expected: 1 });
    let fault = refused(weight, Quantization::of_weights(scales(3)));
    assert_eq!(fault, QuantizationFault::Scales { found: 3, expected: 4 });
    let fault = refused(weight, Quantization { bits: 5, ..Quantization::of_weights(scales(4)) });
    assert_eq!(fault, QuantizationFault::Bits { bits: 5 });
    let fault = refused(output, Quantization { bits: 4, ..Quantization::of_activation(0.1, 0) });
    assert_eq!(fault, QuantizationFault::Bits { bits: 4 });
    let fault = refused(weight, Quantization::of_weights(scales(4)));
    assert!(matches!(fault, QuantizationFault::OffGrid { at: 0, .. }), "{fault}");
}

#[test]
fn constants_on_the_grid_are_their_integers() {
    let scales = [0.1_f32, 3e-4];
    let integers = [127, -127, 5, 0, -1, 126];
    let values = integers.iter().enumerate().map(|(k, &q)| q as f32 * scales[k / 3]).collect();
    let tensor = Tensor::f32([2, 3], values).expect("six values");
    let quantization = Quantization::of_weights(scales.to_vec());
    assert_eq!(quantization.integers(&tensor), Ok(integers.map(|q| q as i8).to_vec()));
    let narrow = Quantization { bits: 4, ..quantization };
    let fault = QuantizationFault::OffGrid { at: 0, value: 12.7, scale: 0.1 };
    assert_eq!(narrow.integers(&tensor), Err(fault));
}

fn ops(graph: &Graph) -> Vec<&'static str> {
    planned(graph, Target::default()).steps.iter().map(|step| step.op.name()).collect()
}

/// Checks a quantized graph, prints how many of its integers are the oracle's, and which steps it has.
fn check_ops(name: &str, graph: &Graph, expected: &[&str]) {
    assert_eq!(ops(graph), expected, "{name}");
    let agreement = check(graph);
    let share = agreement.share();
    println!("{name}: {} integers, {:.3} % equal", agreement.integers, 100.0 * share);
    assert!(share > 0.98, "{name}: {share}");
}

/// A quantized graph: a convolution, what `body` makes of its result, a convolution that leaves reals.
fn between(channels: usize, body: impl Fn(&mut Builder, ValueId) -> ValueId) -> Graph {
    let (mut net, x) = Builder::new(5, 3, [9, 7]);
    let x = net.conv_relu(x, Layer::of(channels, 3, 1, 1));
    let y = body(&mut net, x);
    let z = net.conv(y, Layer::of(4, 1, 1, 1).biased());
    quantized(net.finish(&[z]), 8, &[])
}

#[test]
fn convolutions_of_every_kind() {
    let layers = [
        Layer::of(20, 3, 1, 1),
        Layer::of(20, 3, 2, 1),
        Layer::of(33, 1, 1, 1),
        Layer::of(24, 3, 1, 2),
        Layer::of(12, 3, 1, 12),
        Layer::of(12, 5, 2, 12),
        Layer::of(24, 3, 1, 12),
        Layer::of(6, 3, 1, 3).padded(0),
    ];
    for layer in layers {
        for bits in [8, 4] {
            let (mut net, x) = Builder::new(6, 12, [9, 10]);
            let y = net.conv_relu(x, layer);
            let z = net.conv(y, Layer::of(5, 1, 1, 1).biased());
            let graph = quantized(net.finish(&[z]), bits, &[]);
            let kind = if layer.groups == layer.outputs { "depthwise_s8" } else { "conv_s8" };
            check_ops(&format!("{layer:?}"), &graph, &["quantize", kind, "conv_s8"]);
        }
    }
}

#[test]
fn activations_are_part_of_the_convolution() {
    let slope = Tensor::vector(vec![0.25, -0.5, 0.0, 1.5, 0.1, 0.7]);
    let activations = [
        Activation::None,
        RELU,
        Activation::Clamp { lo: -0.3, hi: 0.45 },
        Activation::LeakyRelu { slope: 0.1 },
        Activation::PRelu { slope },
    ];
    for activation in activations {
        for groups in [1, 6] {
            let (mut net, x) = Builder::new(7, 6, [8, 8]);
            let y = net.conv(x, Layer::of(6, 3, 1, groups).biased());
            let z = net.conv(y, Layer::of(6, 3, 1, groups).biased());
            for node in &mut net.graph.nodes {
                let Op::Conv(conv) = &mut node.op else { continue };
                conv.activation = activation.clone();
            }
            let graph = quantized(net.finish(&[z]), 8, &[]);
            let kind = if groups == 1 { "conv_s8" } else { "depthwise_s8" };
            check_ops(&format!("{activation:?}"), &graph, &["quantize", kind, kind]);
        }
    }
}

#[test]
fn activations_that_stand_alone_are_tables_or_one_tap_a_channel() {
    let functions = [Function::Sigmoid, Function::HardSwish, Function::Silu, Function::Exp];
    for function in functions {
        let graph = between(5, |net, x| {
            let shape = net.graph.shape(x).to_vec();
            net.node(Op::Unary(function), vec![x], &shape)
        });
        check_ops("function", &graph, &["quantize", "conv_s8", "table_s8", "conv_s8"]);
    }
    let clamp = Activation::Clamp { lo: 0.2, hi: 0.5 };
    for activation in [clamp, Activation::LeakyRelu { slope: 0.2 }] {
        let graph = between(5, |net, x| {
            let y = net.conv(x, Layer::of(5, 1, 1, 1));
            net.node(Op::Activation(activation.clone()), vec![y], &[1, 5, 9, 7])
        });
        let steps = ["quantize", "conv_s8", "conv_s8", "table_s8", "conv_s8"];
        check_ops("activation", &graph, &steps);
    }
    let graph = between(5, |net, x| {
        let y = net.conv(x, Layer::of(5, 1, 1, 1));
        let slope = Tensor::vector(vec![0.25, -0.5, 0.0, 1.5, 0.1]);
        let y = net.node(Op::Activation(Activation::PRelu { slope }), vec![y], &[1, 5, 9, 7]);
        net.batch_norm(y)
    });
    let steps = ["quantize", "conv_s8", "conv_s8", "depthwise_s8", "depthwise_s8", "conv_s8"];
    check_ops("PReLU, BatchNorm", &graph, &steps);
}

#[test]
fn sums_differences_and_products_of_two_maps() {
    let clamped = Op::Add { activation: Activation::Clamp { lo: 0.1, hi: 1.0 } };
    for op in [Op::Add { activation: Activation::None }, clamped, Op::Sub, Op::Mul] {
        for swapped in [false, true] {
            let graph = between(6, |net, x| {
                let y = net.conv(x, Layer::of(6, 3, 1, 1).biased());
                let (a, b) = if swapped { (y, x) } else { (x, y) };
                net.node(op.clone(), vec![a, b], &[1, 6, 9, 7])
            });
            let pair = if op == Op::Mul { "mul_s8" } else { "add_s8" };
            check_ops(op.name(), &graph, &["quantize", "conv_s8", "conv_s8", pair, "conv_s8"]);
        }
    }
}

#[test]
fn gates_and_constants_are_repeated() {
    let graph = between(6, |net, x| {
        let y = net.node(Op::GlobalAveragePool, vec![x], &[1, 6, 1, 1]);
        let y = net.conv_relu(y, Layer::of(2, 1, 1, 1));
        let y = net.conv(y, Layer::of(6, 1, 1, 1).biased());
        let gate = net.node(Op::Unary(Function::Sigmoid), vec![y], &[1, 6, 1, 1]);
        net.node(Op::Mul, vec![x, gate], &[1, 6, 9, 7])
    });
    let pooled = ["quantize", "conv_s8", "global_average_pool", "conv_s8", "conv_s8"];
    check_ops("gate", &graph, &[&pooled[..], &["table_s8", "mul_s8", "conv_s8"]].concat());

    let add = Op::Add { activation: Activation::None };
    for op in [add.clone(), Op::Sub, Op::Mul, Op::Div] {
        let graph = between(6, |net, x| net.with_constant(op.clone(), x, 0.3, 1.7));
        check_ops(op.name(), &graph, &["quantize", "conv_s8", "depthwise_s8", "conv_s8"]);
    }
    for (op, shape, step) in [
        (add.clone(), vec![], "table_s8"),
        (Op::Div, vec![1], "table_s8"),
        (Op::Binary(Binary::Max), vec![1, 1], "table_s8"),
        (add.clone(), vec![6, 9, 7], "add_s8"),
        (add, vec![9, 1], "add_s8"),
        (Op::Mul, vec![1, 1, 9, 7], "mul_s8"),
    ] {
        let graph = between(6, |net, x| {
            let constant = net.random.tensor(&shape, -0.2, 0.5);
            let constant = net.constant(constant);
            net.node(op.clone(), vec![x, constant], &[1, 6, 9, 7])
        });
        assert_eq!(ops(&graph), ["quantize", "conv_s8", step, "conv_s8"], "{shape:?}");
        let agreement = check(&graph);
        println!("{} {shape:?}: {:.3} % equal", op.name(), 100.0 * agreement.share());
    }
}

#[test]
fn pools_means_and_what_moves_values() {
    let window = square(3, 2, 1);
    let [h, w] = [5, 4];
    let same = ["quantize", "conv_s8"];
    let with = |steps: &[&'static str]| [&same[..], steps, &["conv_s8"]].concat();
    let graph = between(6, |net, x| net.node(Op::MaxPool(window), vec![x], &[1, 6, h, w]));
    check_ops("MaxPool", &graph, &with(&["max_pool"]));
    for count_include_pad in [false, true] {
        let graph = between(6, |net, x| net.average(x, window, count_include_pad));
        check_ops("AveragePool", &graph, &with(&["average_pool"]));
    }
    let mean = Op::Reduce { function: Reduction::Mean, axes: vec![2, 3] };
    let graph = between(6, |net, x| net.node(mean.clone(), vec![x], &[1, 6, 1, 1]));
    check_ops("ReduceMean", &graph, &with(&["global_average_pool"]));
    let graph = between(6, |net, x| net.pad(x, 2, 0.1));
    check_ops("Pad", &graph, &with(&["pad"]));
    let graph = between(6, |net, x| net.crop(x, 1, 2));
    check_ops("Slice", &graph, &with(&["rearrange"]));
    let transpose = Op::Transpose { perm: vec![0, 1, 3, 2] };
    let graph = between(6, |net, x| net.node(transpose.clone(), vec![x], &[1, 6, 7, 9]));
    check_ops("Transpose", &graph, &with(&["rearrange"]));
    let shuffle = Op::DepthToSpace { block: 2, order: DepthOrder::SquareFirst };
    let graph = between(8, |net, x| net.node(shuffle.clone(), vec![x], &[1, 2, 18, 14]));
    check_ops("DepthToSpace", &graph, &with(&["rearrange"]));
    let gather = Op::Gather { axis: 2, indices: vec![8, 0, 3, 3] };
    let graph = between(6, |net, x| net.node(gather.clone(), vec![x], &[1, 6, 4, 7]));
    check_ops("Gather", &graph, &with(&["resample"]));
}

fn resized(interpolation: Interpolation, coordinates: Coordinates) -> Op {
    let axis = |axis| ResizedAxis { axis, scale: None, crop: [0.0, 1.0] };
    Op::Resize(Resize {
        axes: vec![axis(2), axis(3)],
        interpolation,
        coordinates,
        exclude_outside: false,
        antialias: false,
    })
}

#[test]
fn resizing_of_integers() {
    let nearest = Interpolation::Nearest(Rounding::Floor);
    for (interpolation, coordinates) in [
        (nearest, Coordinates::Asymmetric),
        (Interpolation::Linear, Coordinates::HalfPixel),
        (Interpolation::Linear, Coordinates::AlignCorners),
        (Interpolation::Cubic { a: -0.75 }, Coordinates::HalfPixel),
    ] {
        for size in [[18, 14], [13, 5]] {
            let op = resized(interpolation, coordinates);
            let graph =
                between(6, |net, x| net.node(op.clone(), vec![x], &[1, 6, size[0], size[1]]));
            assert_eq!(ops(&graph), ["quantize", "conv_s8", "resample", "conv_s8"]);
            // Many sums lie on a half, which kernels round up and the oracle to the even neighbour.
            let share = check(&graph).share();
            println!("{interpolation:?} to {size:?}: {:.3} % equal", 100.0 * share);
            assert!(share > 0.9, "{interpolation:?}: {share}");
        }
    }
}

#[test]
fn operands_of_a_concatenation_get_its_grid() {
    let graph = between(16, |net, x| {
        let y = net.conv(x, Layer::of(16, 3, 1, 1).biased());
        let z = net.conv_relu(y, Layer::of(5, 3, 1, 1));
        net.concat(&[x, y, z])
    });
    let convs = ["quantize", "conv_s8", "conv_s8", "conv_s8"];
    // The widest range is that of the whole.
    let found = ops(&graph);
    assert_eq!(found[..4], convs);
    assert_eq!(found.iter().filter(|&&op| op == "copy_into").count(), 3, "{found:?}");
    assert!((1..=3).contains(&found.iter().filter(|&&op| op == "table_s8").count()), "{found:?}");
    assert!(check(&graph).share() > 0.99);
}

#[test]
fn rows_of_a_concatenation_are_written_where_they_belong() {
    let (mut net, x) = Builder::new(9, 16, [8, 8]);
    let a = net.conv_relu(x, Layer::of(16, 3, 1, 1));
    let b = net.conv_relu(x, Layer::of(16, 3, 1, 1));
    let y = net.node(Op::Concat { axis: 2 }, vec![a, b], &[1, 16, 16, 8]);
    let z = net.conv(y, Layer::of(4, 1, 1, 1).biased());
    let graph = quantized_to(net.finish(&[z]), 8, &[], |_| (0.0, 2.0));
    check_ops("rows", &graph, &["quantize", "conv_s8", "conv_s8", "conv_s8"]);
}

#[test]
fn dense_layers_of_one_vector_and_of_several() {
    let (mut net, x) = Builder::new(10, 7, [4, 3]);
    let x = net.conv_relu(x, Layer::of(9, 3, 1, 1));
    let y = net.reshape(x, &[1, 108]);
    let y = net.linear(y, 21);
    let z = net.linear(y, 6);
    let graph = quantized(net.finish(&[z]), 8, &[]);
    check_ops("dense", &graph, &["quantize", "conv_s8", "conv_s8", "conv_s8"]);

    let (mut net, x) = Builder::new(11, 6, [4, 5]);
    let y = net.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, vec![x], &[1, 4, 5, 6]);
    let y = net.reshape(y, &[20, 6]);
    let y = net.linear(y, 17);
    let z = net.linear(y, 3);
    let graph = quantized(net.finish(&[z]), 8, &[]);
    // The rows lie in an order of which no step is a value of ONNX: only the result is compared.
    assert_eq!(ops(&graph), ["quantize", "conv_s8", "conv_s8"]);
    assert_eq!(check(&graph).integers, 0);
}

#[test]
fn what_has_no_8_bit_form_runs_between_conversions() {
    let (mut net, x) = Builder::new(12, 3, [8, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv_relu(a, Layer::of(8, 3, 1, 1));
    let c = net.conv_relu(b, Layer::of(8, 3, 1, 1));
    let soft = net.node(Op::Softmax { axis: 1 }, vec![c], &[1, 8, 8, 8]);
    let both = net.add(soft, b);
    let z = net.conv(both, Layer::of(4, 1, 1, 1).biased());
    let graph = quantized(net.finish(&[z]), 8, &[]);
    let steps = ["quantize", "conv_s8", "conv_s8", "conv_s8", "dequantize", "softmax", "quantize"];
    assert_eq!(ops(&graph), [&steps[..], &["add_s8", "conv_s8"]].concat());
    assert!(check_mixed(&graph).share() > 0.98);
}

#[test]
fn mixed_precision_is_values_and_weights_without_quantization() {
    let (mut net, x) = Builder::new(13, 3, [8, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.conv_relu(a, Layer::of(8, 3, 1, 1));
    let c = net.conv_relu(b, Layer::of(8, 3, 1, 1));
    let d = net.add(b, c);
    let z = net.conv(d, Layer::of(4, 1, 1, 1).biased());
    let graph = net.finish(&[z]);
    // A layer whose weights are reals: its operand becomes reals, its result is rounded.
    let mut real_weights = quantized(graph.clone(), 8, &[]);
    let weight = graph.nodes[1].inputs[1].index();
    real_weights.values[weight] = graph.values[weight].clone();
    let steps = ["quantize", "conv_s8", "dequantize", "conv", "quantize", "conv_s8"];
    assert_eq!(ops(&real_weights), [&steps[..], &["add_s8", "conv_s8"]].concat());
    check_mixed(&real_weights);
    // A result that stays reals: the layer writes them from its sums, the next one needs integers.
    let real_result = quantized(graph.clone(), 8, &[b, d]);
    assert_eq!(
        ops(&real_result),
        ["quantize", "conv_s8", "conv_s8", "conv", "quantize", "dequantize", "add", "conv"]
    );
    check_mixed(&real_result);
    // Nothing but the first value.
    let float: Vec<ValueId> = [a, b, c, d].to_vec();
    let mut only_input = quantized(graph, 8, &float);
    only_input
        .values
        .iter_mut()
        .filter(|v| v.constant.is_some())
        .for_each(|v| v.quantization = None);
    assert_eq!(ops(&only_input)[..3], ["quantize", "dequantize", "conv"]);
    check_mixed(&only_input);
}

#[test]
fn values_without_quantization_that_are_only_moved_stay_integers() {
    let (mut net, x) = Builder::new(14, 3, [8, 8]);
    let a = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let b = net.node(Op::MaxPool(square(2, 2, 0)), vec![a], &[1, 8, 4, 4]);
    let z = net.conv(b, Layer::of(4, 1, 1, 1).biased());
    let graph = quantized(net.finish(&[z]), 8, &[b]);
    check_ops("moved", &graph, &["quantize", "conv_s8", "max_pool", "conv_s8"]);
}

#[test]
fn border_biases_are_integers_a_class() {
    let (mut net, x) = Builder::new(15, 4, [7, 6]);
    let y = net.conv(x, Layer::of(10, 3, 1, 1));
    let z = net.conv(y, Layer::of(4, 1, 1, 1).biased());
    let bias = net.random.tensor(&[9, 10], -0.5, 0.5);
    let classes = Border { top: 1, left: 1, bottom: 1, right: 1 };
    if let Op::Conv(conv) = &mut net.graph.nodes[0].op {
        conv.border = Some(BorderBias { classes, bias });
    }
    let graph = quantized(net.finish(&[z]), 8, &[]);
    check_ops("border", &graph, &["quantize", "conv_s8", "conv_s8"]);
}

#[test]
fn dead_channels_huge_biases_and_values_that_never_vary() {
    let (mut net, x) = Builder::new(16, 4, [7, 6]);
    let y = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let z = net.conv(y, Layer::of(4, 1, 1, 1).biased());
    let [_, weight, bias] = net.graph.nodes[0].inputs[..] else { panic!("weights and bias") };
    let edit = |graph: &mut Graph, id: ValueId, f: &dyn Fn(usize, f32) -> f32| {
        let value = &mut graph.values[id.index()];
        let old = value.constant.as_ref().and_then(Tensor::as_f32).expect("a float constant");
        let new = old.iter().enumerate().map(|(k, &v)| f(k, v)).collect();
        value.constant = Tensor::f32(value.shape.clone(), new);
    };
    // Channel 0 is dead, 1 nearly so; 2 and 3 have next to no weights beside their biases.
    let factor = [0.0, 1e-30, 1e-12, 1e-7, 1.0, 1.0, 1.0, 1.0];
    edit(&mut net.graph, weight, &|k, w| w * factor[k / 36]);
    let biases = [0.5, 0.25, 1.0, -0.7, 0.0, 0.1, -0.1, 0.2];
    edit(&mut net.graph, bias, &|k, _| biases[k]);
    let graph = net.finish(&[z]);
    check_ops("dead", &quantized(graph.clone(), 8, &[]), &["quantize", "conv_s8", "conv_s8"]);

    let mut huge = graph.clone();
    edit(&mut huge, bias, &|k, b| {
        if k == 5 {
            1e9
        } else if k == 6 {
            -1e9
        } else {
            b
        }
    });
    let ordinary = ranges(&graph);
    let huge = quantized_to(huge, 8, &[], |id| ordinary[&id]);
    check_ops("huge", &huge, &["quantize", "conv_s8", "conv_s8"]);

    let mut still = graph;
    edit(&mut still, weight, &|_, _| 0.0);
    edit(&mut still, bias, &|_, _| 0.0);
    check_ops("still", &quantized(still, 8, &[]), &["quantize", "conv_s8", "conv_s8"]);
}

#[test]
fn raw_pixels_enter_as_they_are_if_asked_for() {
    let (mut net, x) = Builder::new(17, 3, [6, 6]);
    let y = net.conv(x, Layer::of(8, 3, 2, 1).biased());
    let z = net.conv(y, Layer::of(4, 1, 1, 1).biased());
    let graph = quantized_to(net.finish(&[z]), 8, &[], |id| {
        if id == x { (0.0, 255.0) } else { (-300.0, 300.0) }
    });
    let options = Options { pixels: true, ..Options::default() };
    let pixels = plan(&graph, &options).expect("plans");
    let element = pixels.inputs[0].operand.element;
    assert_eq!(element.quantization().map(|q| (q.scale, q.zero_point)), Some((1.0, -128)));
    assert_eq!(pixels.steps[0].op.name(), "conv_s8");
    let strand = strand(&pixels).expect("is written");
    let model = Model::new(&strand).expect("is sound");
    let mut arena = AlignedBytes::filled(0, model.arena_len(1).expect("addressable"));
    let mut session = Session::new(&model, &mut arena, Kernels::detect()).expect("fits");
    let bytes: Vec<u8> = (0..108).map(|k| (k * 37 % 256) as u8).collect();
    session.write_pixels(&bytes).expect("as many as the input has");
    let found = session.run().to_vec();
    let nchw: Vec<f64> =
        (0..3).flat_map(|c| bytes.iter().skip(c).step_by(3).map(|&b| f64::from(b))).collect();
    let expected = reference::run(&graph, &[nchw]).expect("runs").remove(0);
    let found = row_major(model.outputs().next().expect("one").operand.dims, &found);
    // A step of the value between, through the last layer's weights.
    let error = relative_error(&expected, &found);
    assert!(error < 0.02, "{error}");
    let inputs = planned(&graph, Target::default()).inputs[0].operand.element;
    assert_eq!(inputs.quantization(), None);
}

#[test]
fn functions_of_integers_are_written_over_their_operands() {
    let (mut net, x) = Builder::new(18, 16, [8, 8]);
    let a = net.conv(x, Layer::of(16, 3, 1, 1));
    let b = net.conv(a, Layer::of(16, 3, 1, 1));
    let c = net.add(a, b);
    let d = net.node(Op::Unary(Function::HardSwish), vec![c], &[1, 16, 8, 8]);
    let e = net.conv(d, Layer::of(16, 1, 1, 1));
    let f = net.conv(e, Layer::of(16, 1, 1, 1));
    let graph = quantized(net.finish(&[f]), 8, &[]);
    let plan = planned(&graph, Target::default());
    let [_, _, conv, add, table, ..] = &plan.steps[..] else { panic!("seven steps") };
    assert!(add.output.span == add.input.span && add.output.span == table.output.span);
    assert!([conv.input.span, conv.output.span].contains(&add.output.span));
    // The f32 input and its integers are the most crowded step, then the f32 output.
    assert_eq!(plan.arena_base, 16 * 64 * 5);
}
