//! Every step kind on a GPU against the runtime's portable kernels.
//!
//! Without a Vulkan adapter these tests say so and pass, unless `UNBRAID_REQUIRE_GPU=1`.
#![forbid(unsafe_code)]

use unbraid_runtime::dims::{Dims, Hw, Pad, Window};
use unbraid_runtime::kernels::conv_f32::scratch_len;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{
    Activation, Binary, Border, Conv, Function, Layout, Linear, MatMul, Normalise, Op, PadMode,
    Reduction, Resample, Source, Step, Taps, TopK, View,
};
use unbraid_tests::conv_cases::{ACTIVATIONS, ConvCase, ConvOperands, Random};
use unbraid_tests::gpu::assert_gpu_equals_portable;
use unbraid_tests::steps::{add, view};
use unbraid_tests::strand_builder::StrandBuilder;

/// One step with an input and an output of its own.
struct Case {
    name: String,
    input: Dims,
    output: Dims,
    op: Op,
}

/// Runs the cases as one network, each with its own input and output, on GPU and CPU.
fn assert_cases(make: impl Fn(&mut StrandBuilder, &mut Random) -> Vec<Case>) {
    let mut strand = StrandBuilder::new();
    let cases = make(&mut strand, &mut Random(17));
    let inputs: Vec<_> = cases.iter().map(|case| strand.input(&case.name, case.input)).collect();
    let outputs: Vec<_> = (cases.iter().zip(&inputs))
        .map(|(case, &input)| strand.step(input, case.output, case.op))
        .collect();
    for (case, output) in cases.iter().zip(outputs) {
        strand.output(&case.name, output);
    }
    assert_gpu_equals_portable(&strand);
}

fn window(kernel: u32, stride: u32, dilation: u32, pad: Pad) -> Window {
    let [kernel, stride, dilation] = [kernel, stride, dilation].map(Hw::square);
    Window { kernel, stride, dilation, pad }
}

/// The activation with slopes in the weights, if it has any.
fn with_slopes(activation: Activation, strand: &mut StrandBuilder, slopes: &[f32]) -> Activation {
    match activation {
        Activation::PRelu { .. } => Activation::PRelu { slopes: strand.weights(slopes) },
        other => other,
    }
}

fn conv(strand: &mut StrandBuilder, case: ConvCase, seed: u64) -> Case {
    let operands = ConvOperands::random(case, seed).unwrap();
    let [weights, bias, slopes] = &operands.packed;
    let scratch = scratch_len(&case.window, case.input, operands.output, 1).unwrap() * 4;
    let scratch = u32::try_from(scratch).unwrap();
    strand.scratch = strand.scratch.max(scratch);
    let op = Op::Conv(Conv {
        weights: strand.weights(weights),
        bias: strand.weights(bias),
        activation: with_slopes(case.activation, strand, slopes),
        scratch,
        ..operands.conv
    });
    let name = format!("conv {seed}: {case:?}");
    Case { name, input: case.input, output: operands.output, op }
}

/// Sizes around every edge of both tiles: 64 pixels by 64 channels, and 128 pixels by 16.
fn conv_edges() -> Vec<ConvCase> {
    let sizes = [(1, 1), (7, 9), (8, 8), (5, 13), (16, 8), (3, 43)];
    let channels = [(1, 1), (3, 15), (15, 16), (16, 17), (17, 64), (5, 65), (33, 113)];
    let square =
        |size, c| [(1, 1), (3, 1), (3, 2), (5, 2)].map(|(k, s)| ConvCase::square(size, c, k, s));
    sizes.iter().flat_map(|&size| channels.iter().flat_map(move |&c| square(size, c))).collect()
}

/// Geometry, groups, borders and activations that squares do not have.
fn conv_variety() -> Vec<ConvCase> {
    let base = ConvCase::square((11, 13), (12, 40), 3, 1);
    let pad = Pad { top: 0, left: 3, bottom: 4, right: 1 };
    let mut cases: Vec<_> = ACTIVATIONS.iter().map(|&a| base.with_activation(a)).collect();
    cases.extend([1, 2, 4].map(|groups| ConvCase { groups, ..base }));
    cases.extend([2, 3].map(|dilation| ConvCase { window: window(3, 2, dilation, pad), ..base }));
    let tall = Window { kernel: Hw { h: 5, w: 2 }, stride: Hw { h: 1, w: 3 }, ..base.window };
    cases.push(ConvCase { window: tall, groups: 2, ..base });
    let borders = [(1, 1, 1, 1), (2, 0, 0, 1), (0, 3, 2, 0)];
    cases.extend(borders.map(|(top, left, bottom, right)| ConvCase {
        border: Border { top, left, bottom, right },
        activation: Activation::PRelu { slopes: Span::EMPTY },
        groups: 4,
        ..base
    }));
    cases
}

#[test]
fn every_conv_equals_portable() {
    assert_cases(|strand, _| {
        let cases = conv_edges().into_iter().chain(conv_variety());
        cases.zip(0..).map(|(case, seed)| conv(strand, case, seed)).collect()
    });
}

fn depthwise(strand: &mut StrandBuilder, random: &mut Random, conv: Conv, input: Dims) -> Case {
    let Hw { h, w } = conv.window.output(input.h, input.w).unwrap();
    let stored = input.c.next_multiple_of(16) as usize;
    let taps = (conv.window.kernel.h * conv.window.kernel.w) as usize;
    let (rows, columns) = conv.border.classes();
    let conv = Conv {
        groups: input.c,
        layout: Layout::F32Dw16,
        weights: strand.weights(&random.vec(stored * taps)),
        bias: strand.weights(&random.vec(stored * (rows * columns) as usize)),
        activation: with_slopes(conv.activation, strand, &random.vec(stored)),
        ..conv
    };
    let name = format!("depthwise {input:?}: {conv:?}");
    Case { name, input, output: Dims { h, w, c: input.c }, op: Op::Conv(conv) }
}

#[test]
fn every_depthwise_conv_equals_portable() {
    assert_cases(|strand, random| {
        let plain = ConvOperands::random(ConvCase::square((9, 9), (1, 1), 3, 1), 0).unwrap().conv;
        let pad = Pad { top: 2, left: 0, bottom: 1, right: 3 };
        let windows = [plain.window, window(3, 2, 1, pad), window(5, 1, 2, pad), Window::POINT];
        let borders = [(0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 1, 0)];
        let mut cases = Vec::new();
        for (c, activation) in [1, 4, 15, 16, 17, 67].into_iter().zip(ACTIVATIONS.iter().cycle()) {
            for window in windows {
                for (top, left, bottom, right) in borders {
                    let border = Border { top, left, bottom, right };
                    let conv = Conv { window, border, activation: *activation, ..plain };
                    cases.push(depthwise(strand, random, conv, Dims { h: 8, w: 11, c }));
                }
            }
        }
        cases
    });
}

#[test]
fn every_linear_layer_equals_portable() {
    assert_cases(|strand, random| {
        let shapes =
            [(1, 1, 1, 1), (1, 1, 15, 16), (2, 3, 17, 17), (1, 1, 512, 10), (7, 7, 16, 100)];
        let shapes =
            shapes.into_iter().flat_map(|shape| ACTIVATIONS.iter().map(move |a| (shape, *a)));
        shapes
            .map(|((h, w, c, out), activation)| {
                let (input, stored) = (Dims { h, w, c }, (out as usize).next_multiple_of(16));
                let len = input.elements().unwrap();
                let weights: Vec<f32> =
                    random.vec(len * stored).iter().map(|w| w / (len as f32).sqrt()).collect();
                let op = Op::Linear(Linear {
                    weights: strand.weights(&weights),
                    bias: strand.weights(&random.vec(stored)),
                    activation: with_slopes(activation, strand, &random.vec(stored)),
                });
                let name = format!("linear {input:?} to {out}, {activation:?}");
                Case { name, input, output: Dims::vector(out), op }
            })
            .collect()
    });
}

#[test]
fn every_pool_equals_portable() {
    let pad = Pad { top: 1, left: 0, bottom: 1, right: 1 };
    let windows = [window(2, 2, 1, Pad::default()), window(3, 2, 1, pad), window(3, 1, 2, pad)];
    let ops = windows.into_iter().flat_map(|w| {
        let average = |count_include_pad| Op::AveragePool { window: w, count_include_pad };
        [Op::MaxPool(w), average(true), average(false)].map(|op| (w, op))
    });
    let ops: Vec<_> = ops.collect();
    assert_cases(|_, _| {
        let mut cases = Vec::new();
        for c in [1, 16, 65] {
            let input = Dims { h: 9, w: 14, c };
            for (window, op) in &ops {
                let Hw { h, w } = window.output(input.h, input.w).unwrap();
                let name = format!("{op:?} of {c} channels");
                cases.push(Case { name, input, output: Dims { h, w, c }, op: *op });
            }
            let name = format!("global average pool of {c} channels");
            cases.push(Case { name, input, output: Dims::vector(c), op: Op::GlobalAveragePool });
        }
        cases
    });
}

#[test]
fn every_elementwise_operation_equals_portable() {
    assert_cases(|strand, random| {
        let mut cases = Vec::new();
        for (h, w, c) in [(1, 1, 1), (3, 7, 3), (8, 8, 64), (1, 1, 1000)] {
            let dims = Dims { h, w, c };
            let mut ops = vec![Op::Softmax];
            for &activation in ACTIVATIONS {
                let activation = with_slopes(activation, strand, &random.vec(c as usize));
                let [scale, shift] = [(); 2].map(|()| strand.weights(&random.vec(c as usize)));
                ops.push(Op::Activate(activation));
                ops.push(Op::ScaleShift { scale, shift, activation });
            }
            let case = |op: Op| Case {
                name: format!("{op:?} of {dims:?}"),
                input: dims,
                output: dims,
                op,
            };
            cases.extend(ops.into_iter().map(case));
        }
        cases
    });
}

#[test]
fn every_function_equals_portable() {
    let functions = [
        Function::Sigmoid,
        Function::Tanh,
        Function::Erf,
        Function::Gelu,
        Function::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Function::HardSwish,
        Function::Silu,
        Function::Exp,
        Function::Softplus,
        Function::Mish,
        Function::Elu { alpha: 0.75 },
        Function::Abs,
        Function::Neg,
        Function::Floor,
        Function::Ceil,
        Function::Round,
        Function::Sign,
    ];
    let mut strand = StrandBuilder::new();
    let dims = Dims { h: 3, w: 7, c: 19 };
    // Larger than the inputs, and what roots, logarithms and quotients are defined for.
    let tripled = strand.input("x", dims);
    let three = Source::Weights { span: strand.weights(&[3.0]), dims: Dims::vector(1) };
    let tripled = strand.step(tripled, dims, binary(Binary::Mul, three, false));
    let positive = strand.step(tripled, dims, Op::Apply(Function::Exp));
    let mut outputs: Vec<_> =
        functions.map(|f| (f, strand.step(tripled, dims, Op::Apply(f)))).into();
    for function in [Function::Sqrt, Function::Log, Function::Reciprocal] {
        outputs.push((function, strand.step(positive, dims, Op::Apply(function))));
    }
    for (function, output) in outputs {
        strand.output(&format!("{function:?}"), output);
    }
    assert_gpu_equals_portable(&strand);
}

fn binary(function: Binary, other: Source, swapped: bool) -> Op {
    Op::Binary { function, other, swapped, activation: Activation::None }
}

#[test]
fn every_function_of_two_values_equals_portable() {
    use Binary::{Add, Div, Drop, Equal, Greater, GreaterOrEqual, Keep, Max, Min, Mul, Pow, Sub};
    let numbers = [Add, Sub, Mul, Div, Min, Max, Pow];
    let truths = [Equal, Greater, GreaterOrEqual, Keep, Drop];
    let mut strand = StrandBuilder::new();
    let dims = Dims { h: 5, w: 7, c: 19 };
    let x = strand.input("x", dims);
    let mut outputs = Vec::new();
    for (function, swapped) in
        numbers.into_iter().chain(truths).zip([false, true].into_iter().cycle())
    {
        for mask in 0..8_u32 {
            let pick = |bit: u32, len: u32| if mask >> bit & 1 == 1 { 1 } else { len };
            let own = Dims { h: pick(0, 5), w: pick(1, 7), c: pick(2, 19) };
            let name = format!("{function:?} {swapped} {own:?}");
            let computed = strand.input(&name, own);
            let values = Random(u64::from(mask)).vec(own.elements().unwrap());
            let coarse = truths.contains(&function);
            let value = |v: &f32| if coarse { v.round() } else { v + 2.5 };
            let values: Vec<f32> = values.iter().map(value).collect();
            let constant = Source::Weights { span: strand.weights(&values), dims: own };
            // Bases and divisors stay positive: what is no number has no tolerance. Numbers that are
            // compared are whole.
            let [of_base, of_other] = match coarse {
                true => [Function::Round; 2],
                false => [Function::Sigmoid, Function::Exp],
            };
            let base = strand.step(x, dims, Op::Apply(of_base));
            let positive = strand.step(computed, own, Op::Apply(of_other));
            for (kind, other) in [("computed", Source::Arena(positive)), ("constant", constant)] {
                let y = strand.step(base, dims, binary(function, other, swapped));
                outputs.push((format!("{kind} {name}"), y));
            }
        }
    }
    outputs.iter().for_each(|(name, output)| strand.output(name, *output));
    assert_gpu_equals_portable(&strand);
}

#[test]
fn sums_with_every_activation_equal_portable() {
    let mut strand = StrandBuilder::new();
    let dims = Dims { h: 5, w: 7, c: 19 };
    let [a, b] = ["a", "b"].map(|name| strand.input(name, dims));
    let mut sums = Vec::new();
    for &activation in ACTIVATIONS {
        let activation = with_slopes(activation, &mut strand, &Random(3).vec(19));
        sums.push(strand.step(a, dims, add(b, activation)));
        sums.push(strand.step(a, dims, add(a, activation)));
    }
    for (sum, index) in sums.into_iter().zip(0..) {
        strand.output(&format!("sum {index}"), sum);
    }
    assert_gpu_equals_portable(&strand);
}

#[test]
fn powers_of_negative_values_equal_portable() {
    let mut strand = StrandBuilder::new();
    let dims = Dims { h: 2, w: 3, c: 5 };
    let x = strand.input("x", dims);
    let whole = [-3.0, -2.0, 0.0, 1.0, 2.0];
    let other = Source::Weights { span: strand.weights(&whole), dims: Dims::vector(5) };
    let y = strand.step(x, dims, binary(Binary::Pow, other, false));
    strand.output("y", y);
    assert_gpu_equals_portable(&strand);
}

#[test]
fn concatenation_along_every_axis_equals_portable() {
    let mut strand = StrandBuilder::new();
    let small = Dims { h: 3, w: 5, c: 17 };
    let [a, b] = ["a", "b"].map(|name| strand.input(name, small));
    let mut outputs = Vec::new();
    for axis in 0..3 {
        let mut dims = [small.h, small.w, small.c];
        dims[axis] *= 2;
        let [h, w, c] = dims;
        let (mut at, output) = ([0; 3], strand.map(Dims { h, w, c }));
        strand.steps.push(Step { input: a, output, op: Op::CopyInto { at } });
        // Must not take the bytes of the part that is there.
        let between = strand.step(a, small, Op::Apply(Function::Tanh));
        at[axis] = dims[axis] / 2;
        strand.steps.push(Step { input: b, output, op: Op::CopyInto { at } });
        outputs.extend([output, between]);
    }
    for (output, index) in outputs.into_iter().zip(0..) {
        strand.output(&format!("{index}"), output);
    }
    assert_gpu_equals_portable(&strand);
}

#[test]
fn views_equal_portable() {
    let input = Dims { h: 8, w: 9, c: 10 };
    let views = [
        view(&[(40, 1), (18, 40)], 0),
        view(&[(4, 180), (2, 18), (5, 36), (2, 9), (9, 1)], 0),
        view(&[(3, -144), (2, 72), (5, -12), (4, -3)], 345),
        view(&[(2, 360), (3, 0), (3, 8), (2, 4), (2, 2), (2, 1)], 30),
    ];
    assert_cases(|_, _| {
        let case = |view: View| {
            let output = Dims::vector(u32::try_from(view.elements().unwrap()).unwrap());
            Case { name: format!("{view:?}"), input, output, op: Op::Rearrange(view) }
        };
        views.map(case).into()
    });
}

#[test]
fn padding_of_every_mode_equals_portable() {
    let (input, pad) = (Dims { h: 4, w: 5, c: 3 }, Pad { top: 3, left: 1, bottom: 2, right: 4 });
    let output = Dims { h: 9, w: 10, c: 3 };
    let modes = [PadMode::Constant(-1.5), PadMode::Reflect, PadMode::Edge, PadMode::Wrap];
    assert_cases(|_, _| {
        let case = |mode: PadMode| Case {
            name: format!("{mode:?}"),
            input,
            output,
            op: Op::Pad { pad, mode },
        };
        modes.map(case).into()
    });
}

#[test]
fn resampling_equals_portable() {
    let input = Dims { h: 5, w: 7, c: 3 };
    assert_cases(|strand, random| {
        strand.scratch = 7 * 3 * 4;
        let mut case = |(rows, columns): (u32, u32)| {
            let output = Dims { h: 9, w: 4, c: 3 };
            let mut taps = |count: u32, room: u32, runs: u32| {
                let mut table = Vec::new();
                for _ in 0..runs {
                    table.push((random.bits() % room) as f32);
                    table.extend((0..count).map(|_| random.pick(&[0.0, 0.5, -0.75])));
                }
                Taps { count, table: strand.weights(&table) }
            };
            let resample = Resample { rows: taps(rows, 5, 9), columns: taps(columns, 7, 4) };
            let name = format!("{rows} x {columns}");
            Case { name, input, output, op: Op::Resample(resample) }
        };
        [(1, 1), (2, 2), (4, 3), (5, 7)].map(&mut case).into()
    });
}

#[test]
fn reductions_and_normalisations_along_any_axes_equal_portable() {
    let input = Dims { h: 5, w: 7, c: 19 };
    let functions = [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min];
    assert_cases(|_, _| {
        let mut cases = Vec::new();
        for mask in 0..8 {
            let [rows, columns, channels] = [1, 2, 4].map(|bit| mask & bit != 0);
            let length = |gone: bool, length: u32| if gone { 1 } else { length };
            let output = Dims {
                h: length(rows, input.h),
                w: length(columns, input.w),
                c: length(channels, input.c),
            };
            for function in functions {
                let name = format!("{function:?} {mask}");
                cases.push(Case { name, input, output, op: Op::Reduce(function) });
            }
            for centred in [true, false] {
                let op = Normalise { rows, columns, channels, centred, epsilon: 0.5 };
                let op = Op::Normalise(op);
                cases.push(Case { name: format!("{op:?}"), input, output: input, op });
            }
        }
        let (input, output) = (Dims::vector(5), Dims::vector(1));
        let op = Op::Reduce(Reduction::Product);
        cases.push(Case { name: "product".into(), input, output, op });
        cases
    });
}

#[test]
fn products_of_matrices_equal_portable() {
    let mut strand = StrandBuilder::new();
    strand.scratch = 19 * 16 * 4;
    let x = strand.input("x", Dims { h: 3, w: 5, c: 19 });
    let output = Dims { h: 3, w: 5, c: 18 };
    let factors: Vec<_> = [(1, false), (3, false), (1, true), (3, true)]
        .into_iter()
        .map(|(h, transposed)| {
            let dims = if transposed { Dims { h, w: 18, c: 19 } } else { Dims { h, w: 19, c: 18 } };
            (strand.input(&format!("{h} {transposed}"), dims), transposed)
        })
        .collect();
    let mut products = Vec::new();
    for (factor, transposed) in factors {
        let values = Random(5).vec(factor.dims.elements().unwrap());
        let span = strand.weights(&values);
        for other in [Source::Arena(factor), Source::Weights { span, dims: factor.dims }] {
            products.push(strand.step(x, output, Op::MatMul(MatMul { other, transposed })));
        }
    }
    for (product, index) in products.into_iter().zip(0..) {
        strand.output(&format!("product {index}"), product);
    }
    assert_gpu_equals_portable(&strand);
}

#[test]
fn the_best_channels_equal_portable() {
    let input = Dims { h: 3, w: 5, c: 21 };
    assert_cases(|_, _| {
        let mut cases = Vec::new();
        for (count, largest, last) in
            [(1, true, false), (1, false, true), (2, true, true), (21, false, false)]
        {
            let op = Op::TopK(TopK { count, largest, last });
            let output = Dims { c: 2 * count, ..input };
            cases.push(Case { name: format!("{op:?}"), input, output, op });
        }
        cases
    });
}

#[test]
fn a_network_that_reuses_its_memory_equals_portable() {
    let mut strand = StrandBuilder::new();
    let dims = Dims { h: 12, w: 10, c: 24 };
    let relu = Activation::RELU;
    let input = strand.input("input", dims);
    let conv_op = |strand: &mut StrandBuilder, seed| {
        conv(strand, ConvCase::square((12, 10), (24, 24), 3, 1), seed).op
    };
    let first = conv_op(&mut strand, 1);
    let mut x = strand.step(input, dims, first);
    let spare = strand.map(dims);
    for seed in 2..6 {
        // Two blocks of bytes take turns; the sum is written over one summand.
        let op = conv_op(&mut strand, seed);
        strand.steps.push(Step { input: x, output: spare, op });
        x = strand.step_in_place(x, add(spare, relu));
        x = strand.step_in_place(x, Op::Apply(Function::Sigmoid));
    }
    strand.output("output", x);
    strand.output("last convolution", spare);
    assert_gpu_equals_portable(&strand);
}

#[test]
fn a_dispatch_beyond_the_limit_of_one_axis_is_split() {
    // 64 values a workgroup, 65,535 workgroups an axis.
    let dims = Dims { h: 65_537, w: 64, c: 1 };
    assert_cases(|_, _| {
        let op = Op::Activate(Activation::LeakyRelu { slope: 0.5 });
        vec![Case { name: "long".into(), input: dims, output: dims, op }]
    });
}
