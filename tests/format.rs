//! The file format: what `Model::new` accepts, and that it refuses everything else with a reason.
#![forbid(unsafe_code)]

use unbraid_runtime::dims::{Dims, Hw, Pad, Window};
use unbraid_runtime::model::header::{HEADER_LEN, Header, Version};
use unbraid_runtime::model::section::SectionKind;
use unbraid_runtime::model::{Model, crc32};
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{
    Activation, Binary, Border, Conv, Function, Layout, Linear, MatMul, Normalise, Op, Operand,
    PadMode, Reduction, Resample, Source, Step, Taps, TopK,
};
use unbraid_runtime::{FormatError, PortFault, Region, Role, SectionFault, StepFault, arena_len};
use unbraid_tests::steps::{add, view};
use unbraid_tests::strand_builder::{AlignedBytes, StrandBuilder, assemble, open, sections_of};

/// A convolution 3x3 (3 -> 5, PReLU), max pool, depthwise, add, global pool, linear, softmax.
fn small_network() -> StrandBuilder {
    let mut net = StrandBuilder::new();
    let picture = net.input("picture", Dims { h: 6, w: 5, c: 3 });
    net.scratch = 4096;
    let conv = conv_3x3(&mut net, 3);
    let map = net.step(picture, Dims { h: 6, w: 5, c: 5 }, Op::Conv(conv));
    let pool = Window { kernel: Hw::square(2), stride: Hw { h: 2, w: 1 }, ..Window::POINT };
    let map = net.step(map, Dims { h: 3, w: 4, c: 5 }, Op::MaxPool(pool));
    let depthwise = Conv { groups: 5, layout: Layout::F32Dw16, ..conv_3x3(&mut net, 1) };
    let deep = net.step(map, Dims { h: 3, w: 4, c: 5 }, Op::Conv(depthwise));
    let sum = net.step_in_place(deep, add(map, Activation::RELU));
    let vector = net.step(sum, Dims::vector(5), Op::GlobalAveragePool);
    let (weights, bias) = (net.weights(&[0.5; 5 * 16]), net.weights(&[0.25; 16]));
    let linear = Linear { weights, bias, activation: Activation::None };
    let scores = net.step(vector, Dims::vector(10), Op::Linear(linear));
    net.step_in_place(scores, Op::Softmax);
    net.port("scores", true, scores, &[1, 10]);
    net.names(&["conv1", "pool1", "conv2", "add", "gap", "fc", "softmax"]);
    net
}

/// Padded 3x3, one panel of outputs, `depth` input channels, a border class on the left.
fn conv_3x3(net: &mut StrandBuilder, depth: usize) -> Conv {
    Conv {
        window: Window {
            kernel: Hw::square(3),
            pad: Pad { top: 1, left: 1, bottom: 1, right: 1 },
            ..Window::POINT
        },
        groups: 1,
        layout: Layout::F32Nr16,
        weights: net.weights(&vec![0.125; 9 * depth * 16]),
        bias: net.weights(&[1.0; 2 * 16]),
        border: Border { left: 1, ..Border::default() },
        activation: Activation::PRelu { slopes: net.weights(&[0.1; 16]) },
        scratch: 4096,
    }
}

/// Header of `bytes` with its checksum made right after `change` bent it.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> AlignedBytes {
    let mut bytes = AlignedBytes::copied(bytes);
    change(&mut bytes);
    let crc = crc32(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What the small network is refused with after `change` bent it.
fn fault_of(change: impl FnOnce(&mut StrandBuilder)) -> Option<FormatError> {
    let mut net = small_network();
    change(&mut net);
    Model::new(&net.finish()).err()
}

fn conv_of(net: &mut StrandBuilder) -> &mut Conv {
    match &mut net.steps[0].op {
        Op::Conv(conv) => conv,
        _ => unreachable!("the first step is a convolution"),
    }
}

#[test]
fn what_was_written_is_read() {
    let net = small_network();
    let bytes = net.finish();
    let model = open(&bytes);
    assert!(model.steps().eq(net.steps.iter().copied()));
    assert!(model.names().eq(["conv1", "pool1", "conv2", "add", "gap", "fc", "softmax"]));
    assert!(model.inputs().map(|port| port.name).eq(["picture"]));
    assert!(model.outputs().map(|port| port.axes().to_vec()).eq([vec![1, 10]]));
    let macs = 6 * 5 * 5 * 27 + 3 * 4 * 5 * 9 + 5 * 10;
    assert_eq!(model.header().macs, macs);
    assert_eq!(model.params(), (27 * 5 + 5 + 5) + (9 * 5 + 5 + 5) + (5 * 10 + 10));
    assert_eq!(model.weights_f32(conv_of(&mut small_network()).bias), [1.0; 32]);
    assert_eq!(model.verify(), Ok(()));
    let arena = usize::try_from(model.header().arena_base).unwrap() + 3 * 4096;
    assert_eq!((model.arena_len(3), arena_len(&bytes, 3)), (Some(arena), arena));
}

#[test]
fn file_cut_anywhere_is_rejected() {
    let bytes = small_network().finish();
    for len in 0..bytes.len() {
        let cut = AlignedBytes::copied(&bytes[..len]);
        let error = Model::new(&cut).expect_err("a cut file is refused");
        let expected = match len {
            0 => FormatError::NotStrand,
            1..HEADER_LEN => FormatError::Truncated { needed: 64, found: len },
            _ => FormatError::Truncated { needed: u32::try_from(bytes.len()).unwrap(), found: len },
        };
        assert_eq!(error, expected, "cut at {len}");
    }
}

#[test]
fn a_flip_of_any_bit_is_rejected() {
    let net = small_network();
    let mut bytes = net.finish();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let refused = Model::new(&bytes).and_then(|model| model.verify());
            assert!(refused.is_err(), "bit {bit} of byte {at} flipped and nobody noticed");
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn bits_flipped_in_weights_are_for_verify() {
    let mut bytes = small_network().finish();
    let table = bytes[64 + 24..64 + 48].to_vec();
    let weights_at = u32::from_le_bytes(table[8..12].try_into().unwrap()) as usize;
    bytes[weights_at + 5] ^= 4;
    let region = Region::Section(SectionKind::Weights.number());
    assert_eq!(open(&bytes).verify(), Err(FormatError::Checksum { region }));
}

#[test]
fn foreign_newer_and_misaligned_files_are_named_as_such() {
    let bytes = small_network().finish();
    let foreign = AlignedBytes::copied(
        b"\x7fELF is not what this expects, however long the file goes on....",
    );
    assert_eq!(Model::new(&foreign).err(), Some(FormatError::NotStrand));
    let newer = with_header(&bytes, |bytes| bytes[10] = 6);
    let found = Version { major: 0, minor: 6 };
    assert_eq!(Model::new(&newer).err(), Some(FormatError::Version { found }));
    let mut shifted = AlignedBytes::filled(0, bytes.len() + 1);
    shifted[1..].copy_from_slice(&bytes);
    assert_eq!(Model::new(&shifted[1..]).err(), Some(FormatError::Misaligned));
    let longer = AlignedBytes::copied(&[&bytes[..], &[0]].concat());
    assert!(matches!(Model::new(&longer), Err(FormatError::TooLong { .. })));
}

#[test]
fn reserved_bytes_of_the_header_stay_zero() {
    let bytes = small_network().finish();
    for offset in 52..60 {
        let bent = with_header(&bytes, |bytes| bytes[offset] = 1);
        assert_eq!(Model::new(&bent).err(), Some(FormatError::Reserved { offset }));
    }
}

#[test]
fn unknown_sections_are_skipped_unless_required() {
    let bytes = small_network().finish();
    let (header, mut sections) = (*open(&bytes).header(), sections_of(&bytes));
    sections.push((77, false, vec![1, 2, 3]));
    assert_eq!(open(&assemble(header, &sections)).verify(), Ok(()));
    sections.push((78, true, vec![]));
    let (index, fault) = (sections.len() - 1, SectionFault::Unknown { kind: 78 });
    assert_eq!(
        Model::new(&assemble(header, &sections)).err(),
        Some(FormatError::Section { index, fault })
    );
}

#[test]
fn sections_occur_once_and_the_required_ones_do() {
    let bytes = small_network().finish();
    let (header, sections) = (*open(&bytes).header(), sections_of(&bytes));
    for (index, kind) in
        [SectionKind::Plan, SectionKind::Weights, SectionKind::Ports].into_iter().enumerate()
    {
        let mut fewer = sections.clone();
        fewer.remove(index);
        let error = Model::new(&assemble(header, &fewer)).err();
        assert_eq!(error, Some(FormatError::MissingSection { kind }));
    }
    let twice = [&sections[..], &sections[2..3]].concat();
    let (index, fault) = (sections.len(), SectionFault::Duplicate);
    let error = Model::new(&assemble(header, &twice)).err();
    assert_eq!(error, Some(FormatError::Section { index, fault }));
}

#[test]
fn each_wrong_step_is_refused_with_its_place_and_reason() {
    type Bend = fn(&mut StrandBuilder);
    let step = |index, fault| FormatError::Step { index, fault };
    let (input, output) = (Role::Input, Role::Output);
    let cases: &[(Bend, FormatError)] = &[
        (|net| net.steps[0].input.span.offset += 4, step(0, StepFault::Unaligned { role: input })),
        (
            |net| net.steps[0].input.span.len -= 4,
            step(0, StepFault::Length { role: input, expected: 360 }),
        ),
        (|net| net.steps[1].output.dims.h = 0, step(1, StepFault::Empty { role: output })),
        (
            |net| net.steps[4].output.span.offset = 1 << 20,
            step(4, StepFault::OutOfBounds { role: output }),
        ),
        (
            |net| net.steps[4].output.span.offset = u32::MAX - 63,
            step(4, StepFault::OutOfBounds { role: output }),
        ),
        (
            |net| net.steps[2].output = net.steps[2].input,
            step(2, StepFault::Overlap { role: input }),
        ),
        (
            |net| {
                net.steps[3].op = add(net.steps[3].input, Activation::None);
            },
            step(3, StepFault::Overlap { role: Role::Other }),
        ),
        (|net| conv_of(net).groups = 2, step(0, StepFault::Groups)),
        (|net| conv_of(net).groups = 0, step(0, StepFault::Groups)),
        (|net| conv_of(net).layout = Layout::F32Dw16, step(0, StepFault::Groups)),
        (|net| conv_of(net).window.stride.h = 0, step(0, StepFault::Window)),
        (|net| conv_of(net).window.dilation.w = 0, step(0, StepFault::Window)),
        (|net| conv_of(net).window.kernel.h = u32::MAX, step(0, StepFault::Window)),
        (
            |net| conv_of(net).window.pad.top = 0,
            step(0, StepFault::Shape { expected: Dims { h: 5, w: 5, c: 5 } }),
        ),
        (|net| conv_of(net).border.right = 5, step(0, StepFault::Border)),
        (|net| conv_of(net).border.top = u32::MAX, step(0, StepFault::Border)),
        (
            |net| conv_of(net).weights.len -= 64,
            step(0, StepFault::Length { role: Role::Weights, expected: 1728 }),
        ),
        (
            |net| conv_of(net).bias.offset += 1 << 20,
            step(0, StepFault::OutOfBounds { role: Role::Bias }),
        ),
        (|net| conv_of(net).scratch = 1 << 20, step(0, StepFault::Scratch { needed: 288 })),
        (|net| conv_of(net).scratch = 287, step(0, StepFault::Scratch { needed: 288 })),
        (
            |net| net.steps[6].op = Op::Activate(Activation::Clamp { lo: 1.0, hi: 0.0 }),
            step(6, StepFault::Activation),
        ),
        (
            |net| net.steps[6].op = Op::Activate(Activation::Clamp { lo: f32::NAN, hi: 0.0 }),
            step(6, StepFault::Activation),
        ),
        (
            |net| net.steps[6].op = Op::Activate(Activation::LeakyRelu { slope: f32::INFINITY }),
            step(6, StepFault::Activation),
        ),
        (
            |net| net.steps[6].op = Op::CopyInto { at: [0, 0, 1] },
            step(6, StepFault::Overlap { role: input }),
        ),
        (|net| net.steps[4].op = Op::CopyInto { at: [0, 0, 1] }, step(4, StepFault::Box)),
        (
            |net| net.steps[5].op = Op::GlobalAveragePool,
            step(5, StepFault::Shape { expected: Dims::vector(5) }),
        ),
        (|net| net.macs = Some(7), FormatError::Macs { declared: 7, computed: 4640 }),
    ];
    for (index, (bend, expected)) in cases.iter().enumerate() {
        assert_eq!(fault_of(bend), Some(*expected), "case {index}");
    }
}

/// What a small map is refused with that this operation would make another one of.
fn step_fault(input: Dims, output: Dims, op: Op) -> Option<StepFault> {
    let mut net = StrandBuilder::new();
    let (x, unread) = (net.input("x", input), net.map(Dims::vector(64)));
    net.weights(&[1.0; 64]);
    let y = net.step(x, output, op);
    net.output("y", y);
    assert_eq!(unread.span.offset, UNREAD.offset);
    match Model::new(&net.finish()) {
        Ok(_) => None,
        Err(FormatError::Step { fault, .. }) => Some(fault),
        Err(other) => panic!("{op:?}: {other}"),
    }
}

/// The second map of [`step_fault`]'s networks, behind an input of at most 16 values.
const UNREAD: Span = Span { offset: 64, len: 256 };

/// A sum with a second operand of these dims, at `span` of the arena or of the weights.
fn sum_with(in_arena: bool, dims: Dims, span: Span) -> Op {
    let other = if in_arena {
        Source::Arena(Operand { span, dims, ..Operand::default() })
    } else {
        Source::Weights { span, dims }
    };
    Op::Binary { function: Binary::Sub, other, swapped: true, activation: Activation::None }
}

#[test]
fn second_operands_have_the_length_of_each_axis_or_one() {
    let input = Dims { h: 2, w: 2, c: 4 };
    for in_arena in [true, false] {
        let offset = if in_arena { UNREAD.offset } else { 0 };
        let fault = |h, w, c| {
            let span = Span { offset, len: h * w * c * 4 };
            step_fault(input, input, sum_with(in_arena, Dims { h, w, c }, span))
        };
        for mask in 0..8 {
            let pick = |bit: u32, len: u32| if mask >> bit & 1 == 1 { len } else { 1 };
            assert_eq!(fault(pick(0, 2), pick(1, 2), pick(2, 4)), None);
        }
        for (h, w, c) in [(3, 2, 4), (2, 4, 4), (2, 2, 2), (1, 1, 3)] {
            assert_eq!(fault(h, w, c), Some(StepFault::Broadcast), "{h} x {w} x {c}");
        }
        let role = Role::Other;
        assert_eq!(fault(0, 2, 4), Some(StepFault::Empty { role }));
        let bent =
            |offset, len| step_fault(input, input, sum_with(in_arena, input, Span { offset, len }));
        assert_eq!(bent(offset, 60), Some(StepFault::Length { role, expected: 64 }));
        assert_eq!(bent(offset + 4, 64), Some(StepFault::Unaligned { role }));
        assert_eq!(bent(4096, 64), Some(StepFault::OutOfBounds { role }));
    }
}

#[test]
fn parameters_of_functions_are_finite() {
    let dims = Dims::vector(4);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for function in [
            Function::HardSigmoid { alpha: bad, beta: 0.5 },
            Function::HardSigmoid { alpha: 0.5, beta: bad },
            Function::Elu { alpha: bad },
        ] {
            let fault = step_fault(dims, dims, Op::Apply(function));
            assert_eq!(fault, Some(StepFault::Function), "{function:?}");
        }
    }
}

#[test]
fn boxes_end_inside_the_output() {
    let (input, output) = (Dims { h: 1, w: 2, c: 3 }, Dims { h: 2, w: 3, c: 4 });
    let fault = |at| step_fault(input, output, Op::CopyInto { at });
    assert_eq!((fault([0; 3]), fault([1; 3])), (None, None));
    for at in [[2, 1, 1], [1, 2, 1], [1, 1, 2], [u32::MAX, 0, 0], [0, u32::MAX, 0]] {
        assert_eq!(fault(at), Some(StepFault::Box), "{at:?}");
    }
}

#[test]
fn views_show_values_of_their_input_only() {
    let (input, output) = (Dims { h: 2, w: 3, c: 2 }, Dims::vector(6));
    let fault =
        |axes: &[(u32, i32)], offset| step_fault(input, output, Op::Rearrange(view(axes, offset)));
    let right: &[(&[(u32, i32)], u32)] =
        &[(&[(6, 1)], 6), (&[(6, 2)], 1), (&[(6, -1)], 5), (&[(6, 0)], 11), (&[(2, 6), (3, 2)], 1)];
    for (axes, offset) in right {
        assert_eq!(fault(axes, *offset), None, "{axes:?} at {offset}");
    }
    let wrong: &[(&[(u32, i32)], u32)] = &[
        (&[(6, 1)], 7),
        (&[(6, 2)], 2),
        (&[(6, -1)], 4),
        (&[(6, 0)], 12),
        (&[(5, 1)], 0),
        (&[(6, 1), (0, 1)], 0),
        (&[(6, i32::MAX)], 0),
        (&[(6, i32::MIN)], u32::MAX),
        (&[(u32::MAX, i32::MAX), (u32::MAX, i32::MAX), (u32::MAX, i32::MAX)], u32::MAX),
    ];
    for (axes, offset) in wrong {
        assert_eq!(fault(axes, *offset), Some(StepFault::View), "{axes:?} at {offset}");
    }
}

#[test]
fn reductions_keep_an_axis_or_leave_one_of_it() {
    let input = Dims { h: 2, w: 3, c: 2 };
    let fault = |output| step_fault(input, output, Op::Reduce(Reduction::Max));
    for output in [input, Dims::vector(2), Dims { h: 2, w: 1, c: 2 }, Dims { h: 1, w: 3, c: 1 }] {
        assert_eq!(fault(output), None, "{output:?}");
    }
    let expected = Dims { h: 2, w: 3, c: 1 };
    assert_eq!(fault(Dims { h: 2, w: 2, c: 1 }), Some(StepFault::Shape { expected }));
}

#[test]
fn what_is_added_to_a_variance_is_a_number_from_0_on() {
    let dims = Dims { h: 2, w: 3, c: 2 };
    let fault = |epsilon| {
        let all = Normalise { rows: true, columns: true, channels: true, centred: true, epsilon };
        step_fault(dims, dims, Op::Normalise(all))
    };
    assert_eq!((fault(0.0), fault(1e-5)), (None, None));
    for bad in [-1e-5, f32::NAN, f32::INFINITY] {
        assert_eq!(fault(bad), Some(StepFault::Function), "{bad}");
    }
}

#[test]
fn factors_of_products_fit_each_other() {
    let (input, output) = (Dims { h: 2, w: 2, c: 3 }, Dims { h: 2, w: 2, c: 4 });
    let fault = |h: u32, w: u32, c: u32, transposed| {
        let span = Span { offset: 0, len: h * w * c * 4 };
        let other = Source::Weights { span, dims: Dims { h, w, c } };
        step_fault(input, output, Op::MatMul(MatMul { other, transposed }))
    };
    // These files have no scratch for the panel; all else fits.
    let fits = Some(StepFault::Scratch { needed: 3 * 16 * 4 });
    for (h, transposed) in [(1, false), (2, false), (1, true), (2, true)] {
        let (w, c) = if transposed { (4, 3) } else { (3, 4) };
        assert_eq!(fault(h, w, c, transposed), fits);
        assert_eq!(fault(h, w, c, !transposed), Some(StepFault::Factors));
    }
    assert_eq!(fault(3, 3, 4, false), Some(StepFault::Factors));
    let role = Role::Other;
    assert_eq!(fault(0, 3, 4, false), Some(StepFault::Empty { role }));
    assert_eq!(fault(16, 3, 4, false), Some(StepFault::OutOfBounds { role }));
}

#[test]
fn no_more_channels_are_chosen_than_there_are() {
    let input = Dims { h: 1, w: 2, c: 3 };
    let fault = |count: u32, c| {
        let top = TopK { count, largest: true, last: false };
        step_fault(input, Dims { c, ..input }, Op::TopK(top))
    };
    assert_eq!((fault(1, 2), fault(3, 6)), (None, None));
    for count in [0, 4, u32::MAX] {
        assert_eq!(fault(count, 8), Some(StepFault::Count), "{count}");
    }
    assert_eq!(fault(2, 2), Some(StepFault::Shape { expected: Dims { c: 4, ..input } }));
}

#[test]
fn runs_are_no_longer_than_the_input() {
    let (input, output) = (Dims { h: 2, w: 3, c: 1 }, Dims { h: 4, w: 2, c: 1 });
    let taps = |count: u32, entries: u32| Taps {
        count,
        table: Span { offset: 0, len: (count + 1) * entries * 4 },
    };
    let fault =
        |rows, columns, output| step_fault(input, output, Op::Resample(Resample { rows, columns }));
    assert_eq!(fault(taps(1, 4), taps(3, 2), output), None);
    assert_eq!(fault(taps(3, 4), taps(1, 2), output), Some(StepFault::Taps));
    assert_eq!(fault(taps(1, 4), taps(0, 2), output), Some(StepFault::Taps));
    let role = Role::Table;
    let longer = Some(StepFault::Length { role, expected: 32 });
    assert_eq!(fault(taps(1, 5), taps(1, 2), output), longer);
    let unaligned = Taps { table: Span { offset: 4, len: 32 }, ..taps(1, 4) };
    assert_eq!(fault(unaligned, taps(1, 2), output), Some(StepFault::Unaligned { role }));
    let far = Taps { table: Span { offset: 4096, len: 32 }, ..taps(1, 4) };
    assert_eq!(fault(far, taps(1, 2), output), Some(StepFault::OutOfBounds { role }));
    let two = Dims { c: 2, ..output };
    assert_eq!(fault(taps(1, 4), taps(1, 2), two), Some(StepFault::Shape { expected: output }));
    // Several rows are summed in scratch, which these files have none of.
    let needed = Some(StepFault::Scratch { needed: 12 });
    assert_eq!(fault(taps(2, 4), taps(1, 2), output), needed);
}

#[test]
fn padding_is_what_its_mode_can_fill() {
    let input = Dims { h: 2, w: 3, c: 1 };
    let fault = |mode, top: u32, right: u32| {
        let pad = Pad { top, right, ..Pad::default() };
        let output = Dims { h: 2 + top.min(9), w: 3 + right.min(9), c: 1 };
        step_fault(input, output, Op::Pad { pad, mode })
    };
    let modes = [PadMode::Constant(1.0), PadMode::Reflect, PadMode::Edge, PadMode::Wrap];
    for mode in modes {
        assert_eq!(fault(mode, 1, 2), None, "{mode:?}");
        assert!(fault(mode, u32::MAX, 0).is_some(), "{mode:?}");
    }
    assert_eq!(fault(PadMode::Reflect, 2, 0), Some(StepFault::Pad));
    assert_eq!(fault(PadMode::Reflect, 0, 3), Some(StepFault::Pad));
    assert_eq!(fault(PadMode::Wrap, 3, 0), Some(StepFault::Pad));
    assert_eq!((fault(PadMode::Wrap, 2, 3), fault(PadMode::Edge, 9, 9)), (None, None));
    assert_eq!(fault(PadMode::Constant(f32::NAN), 1, 0), Some(StepFault::Pad));
    let (pad, mode) = (Pad { top: 1, ..Pad::default() }, PadMode::Edge);
    let expected = Dims { h: 3, ..input };
    let found = step_fault(input, input, Op::Pad { pad, mode });
    assert_eq!(found, Some(StepFault::Shape { expected }));
}

#[test]
fn a_plan_with_more_or_less_than_its_steps_is_refused() {
    let bytes = small_network().finish();
    let (header, sections) = (*open(&bytes).header(), sections_of(&bytes));
    let mut more = sections.clone();
    more[0].2.push(0);
    let error = Model::new(&assemble(header, &more)).err();
    assert_eq!(error, Some(FormatError::Step { index: 7, fault: StepFault::Undecodable }));
    let fewer = Header { step_count: 6, ..header };
    let error = Model::new(&assemble(fewer, &sections)).err();
    assert_eq!(error, Some(FormatError::StepCount { declared: 6, found: 7 }));
    let mut unnamed = sections;
    unnamed[3].2.push(0);
    assert_eq!(Model::new(&assemble(header, &unnamed)).err(), Some(FormatError::Names));
}

#[test]
fn each_wrong_port_is_refused_with_its_place_and_reason() {
    let (span, dims) = (Span { offset: 0, len: 8 }, Dims { h: 1, w: 1, c: 2 });
    let map = Operand { span, dims, ..Operand::default() };
    let high = Operand { span: Span { offset: 64, len: 8 }, ..map };
    type Ports<'a> = &'a [(&'a str, bool, Operand, &'a [u32])];
    let cases: &[(Ports<'_>, FormatError)] = &[
        (&[("x", false, map, &[1, 2])], FormatError::NoPorts),
        (&[("y", true, map, &[1, 2])], FormatError::NoPorts),
        (&[("", false, map, &[1, 2])], port(0, PortFault::Name)),
        (&[("a\nb", false, map, &[1, 2])], port(0, PortFault::Name)),
        (&[("y", true, map, &[2]), ("x", false, map, &[2])], port(1, PortFault::Order)),
        (&[("x", false, high, &[1, 2])], port(0, PortFault::Operand)),
        (&[("x", false, map, &[1, 3])], port(0, PortFault::Shape)),
        (&[("x", false, map, &[1, 1, 1, 2])], port(0, PortFault::Shape)),
        (&[("x", false, map, &[u32::MAX, u32::MAX])], port(0, PortFault::Shape)),
    ];
    for (ports, expected) in cases {
        let mut net = StrandBuilder::new();
        let input = net.map(map.dims);
        net.steps.push(Step { input, output: input, op: Op::Apply(Function::Sigmoid) });
        ports.iter().for_each(|(name, out, operand, shape)| net.port(name, *out, *operand, shape));
        assert_eq!(Model::new(&net.finish()).err(), Some(*expected));
    }
}

fn port(index: usize, fault: PortFault) -> FormatError {
    FormatError::Port { index, fault }
}

#[test]
fn the_example_of_the_specification_is_what_the_writer_writes() {
    let spec = include_str!("../runtime/FORMAT.md");
    let dump = spec.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let digits = dump.lines().flat_map(|line| line.split_whitespace().skip(1));
    let listed: Vec<u8> = digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let mut net = StrandBuilder::new();
    let map = net.input("x", Dims::vector(2));
    net.step_in_place(map, Op::Activate(Activation::RELU));
    net.output("y", map);
    let written = net.finish();
    let dump: Vec<String> = written.chunks(16).enumerate().map(dump_line).collect();
    assert_eq!(listed, written[..], "the dump should be\n{}", dump.join("\n"));
}

fn dump_line((line, bytes): (usize, &[u8])) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:03x}  {}", line * 16, bytes.join(" "))
}
