//! Steps of s8 convolutions: what a file may say, and that a session computes it.
#![forbid(unsafe_code)]

use unbraid_runtime::kernels::contract::{Contract, Kernel, select};
use unbraid_runtime::kernels::conv_s8::{ConvolutionS8, MAX_DEPTH};
use unbraid_runtime::kernels::depthwise_s8::DepthwiseS8;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{Border, ConvS8, Element, LayoutS8, Op};
use unbraid_runtime::{Cpu, FormatError, Kernels, Model, Role, Session, StepFault};
use unbraid_tests::conv_cases::ConvCase;
use unbraid_tests::conv_s8_cases::{ConvS8Case, ConvS8Operands, Convolves};
use unbraid_tests::strand_builder::{AlignedBytes, StrandBuilder};

const DENSE: ConvCase = ConvCase::square((9, 7), (6, 20), 3, 2);
const DEPTHWISE: ConvCase = ConvCase { groups: 20, ..ConvCase::square((9, 7), (20, 20), 3, 1) };

fn operands(shape: ConvCase, layout: LayoutS8) -> ConvS8Operands {
    let case = ConvS8Case { negative: true, ..ConvS8Case::new(shape, layout) };
    ConvS8Operands::random(case, 3).unwrap()
}

/// A network of one step.
fn network<C: Convolves>(operands: &ConvS8Operands) -> StrandBuilder {
    let (input, output) = operands.maps;
    let mut net = StrandBuilder::new();
    let scratch = u32::try_from(C::scratch(operands, 1).unwrap()).unwrap();
    let x = net.input_of("x", input.dims, input.element);
    let packed = &operands.packed;
    let op = Op::ConvS8(ConvS8 {
        weights: net.weights_of(&packed.weights),
        bias: net.weights_of(&packed.bias),
        sums: net.weights_of(&packed.sums),
        scale: net.weights_of(&packed.scale),
        negative: net.weights_of(&packed.negative),
        scratch,
        ..operands.conv
    });
    let y = net.step_to(x, output.dims, output.element, op);
    net.output("y", y);
    net.scratch = scratch;
    net
}

fn expected<C: Convolves>(operands: &ConvS8Operands, kernel: &Kernel<C>) -> Vec<u8> {
    let mut y = vec![0; operands.row_len() * operands.rows() as usize];
    let mut scratch = vec![0; C::scratch(operands, 1).unwrap()];
    let args = C::args_on(operands, &operands.x);
    let rows = 0..operands.rows() as usize;
    kernel.run(Cpu::PORTABLE, &args, rows, &mut y, &mut scratch).unwrap();
    y
}

fn assert_executed<C: Convolves>(operands: &ConvS8Operands, kernels: Kernels) {
    let file = network::<C>(operands).finish();
    let model = Model::new(&file).unwrap();
    let mut arena = AlignedBytes::filled(0xee, model.arena_len(1).unwrap());
    let mut session = Session::new(&model, &mut arena, kernels).unwrap();
    session.input_s8_mut(0).unwrap().copy_from_slice(&operands.x);
    session.run();
    let y: Vec<u8> = session.output_s8(0).unwrap().iter().map(|y| y.cast_unsigned()).collect();
    assert!(y == expected::<C>(operands, select(Cpu::PORTABLE)), "{:?}", operands.case);
}

#[test]
fn a_session_executes_convolutions_of_every_layout() {
    for kernels in [Kernels::PORTABLE, Kernels::detect()] {
        assert_executed::<ConvolutionS8>(&operands(DENSE, LayoutS8::Nr16Kr4), kernels);
        assert_executed::<ConvolutionS8>(&operands(DENSE, LayoutS8::Nr16Kr4Bits4), kernels);
        assert_executed::<DepthwiseS8>(&operands(DEPTHWISE, LayoutS8::Dw16), kernels);
    }
}

#[test]
fn multiply_accumulates_and_parameters_are_counted() {
    let file = network::<ConvolutionS8>(&operands(DENSE, LayoutS8::Nr16Kr4)).finish();
    let model = Model::new(&file).unwrap();
    assert_eq!(model.header().macs, 5 * 4 * 20 * 9 * 6);
    assert_eq!(model.params(), 20 * 9 * 6 + 20);
}

/// The fault of a network after a change.
fn fault<C: Convolves>(
    operands: &ConvS8Operands,
    bend: impl Fn(&mut ConvS8, &mut Element),
) -> Option<StepFault> {
    let mut net = network::<C>(operands);
    let mut step = net.steps[0];
    if let Op::ConvS8(conv) = &mut step.op {
        bend(conv, &mut step.input.element);
    }
    net.steps[0] = step;
    net.macs = Some(0);
    match Model::new(&net.finish()) {
        Err(FormatError::Step { index: 0, fault }) => Some(fault),
        _ => None,
    }
}

#[test]
fn a_wrong_step_is_refused_with_its_reason() {
    let good = operands(DENSE, LayoutS8::Nr16Kr4);
    let fault = |bend: &dyn Fn(&mut ConvS8)| fault::<ConvolutionS8>(&good, |conv, _| bend(conv));
    let length = |role, expected| Some(StepFault::Length { role, expected });
    assert_eq!(fault(&|_| ()), None);
    assert_eq!(fault(&|c| c.negative = Span::EMPTY), None);
    assert_eq!(fault(&|c| c.groups = 4), Some(StepFault::Groups));
    assert_eq!(fault(&|c| c.layout = LayoutS8::Dw16), Some(StepFault::Groups));
    assert_eq!(fault(&|c| c.layout = LayoutS8::Nr16Kr4Bits4), length(Role::Weights, 1152));
    assert_eq!(fault(&|c| c.border.left = 1), length(Role::Bias, 256));
    assert_eq!(
        fault(&|c| c.border = Border { top: 4, bottom: 2, ..c.border }),
        Some(StepFault::Border)
    );
    assert_eq!(fault(&|c| c.sums.len -= 64), length(Role::Sums, 128));
    assert_eq!(fault(&|c| c.scale.len -= 64), length(Role::Scale, 128));
    assert_eq!(fault(&|c| c.negative.len -= 64), length(Role::Negative, 128));
    assert_eq!(fault(&|c| c.scratch -= 1), Some(StepFault::Scratch { needed: 216 }));
    assert_eq!(fault(&|c| c.scratch += 64), Some(StepFault::Scratch { needed: 216 }));
    assert_eq!(fault(&|c| c.lo = -0.1), Some(StepFault::Activation));
    assert_eq!(fault(&|c| c.hi = 255.1), Some(StepFault::Activation));
    assert_eq!(fault(&|c| c.lo = f32::NAN), Some(StepFault::Activation));
    assert_eq!(fault(&|c| (c.lo, c.hi) = (2.0, 1.0)), Some(StepFault::Activation));
}

#[test]
fn an_f32_input_is_refused() {
    let good = operands(DEPTHWISE, LayoutS8::Dw16);
    assert_eq!(fault::<DepthwiseS8>(&good, |_, _| ()), None);
    let short = fault::<DepthwiseS8>(&good, |_, element| *element = Element::F32);
    assert!(matches!(short, Some(StepFault::Length { role: Role::Input, .. })), "{short:?}");
}

#[test]
fn a_sum_of_more_products_than_32_bits_hold_is_refused() {
    let point = |c| ConvCase::square((1, 1), (c, 1), 1, 1);
    let most = u32::try_from(MAX_DEPTH).unwrap();
    let fault = |c| fault::<ConvolutionS8>(&operands(point(c), LayoutS8::Nr16Kr4), |_, _| ());
    assert_eq!(fault(most), None);
    assert_eq!(fault(most + 1), Some(StepFault::Products { most: MAX_DEPTH }));
}

#[test]
fn portable_is_the_last_resort_of_both_contracts() {
    assert_eq!(ConvolutionS8::LIST.last().map(|k| k.needs), Some(None));
    assert_eq!(DepthwiseS8::LIST.last().map(|k| k.needs), Some(None));
}
