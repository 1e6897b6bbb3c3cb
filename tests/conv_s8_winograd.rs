//! Exact integer Winograd: the bits of the direct sum whatever the shape, the numbers, the bands and the
//! scratch, and a choice that a report can name.
#![forbid(unsafe_code)]

use unbraid_runtime::cpu::{Cpu, Feature};
use unbraid_runtime::dims::{Dims, Pad};
use unbraid_runtime::kernels::Kernels;
use unbraid_runtime::kernels::contract::{Kernel, Operands, select};
use unbraid_runtime::kernels::conv_s8::{
    ConvolutionS8, WINOGRAD, prefers_winograd, scratch_len, winograd_pays, winograd_scratch_len,
};
use unbraid_runtime::step::{Border, ConvS8, LayoutS8, Op, Step};
use unbraid_tests::conv_cases::{A0_LAYERS, ConvCase, Random};
use unbraid_tests::conv_s8_cases::{ConvS8Case, ConvS8Operands, Convolves, Numbers};

/// What surrounds every buffer a kernel writes.
const GUARD: u8 = 0xa5;
const GUARD_LEN: usize = 96;

/// The kernels that this machine can run.
fn kernels() -> impl Iterator<Item = &'static Kernel<ConvolutionS8>> {
    WINOGRAD.iter().filter(|kernel| Cpu::detect().has(kernel.needs))
}

fn operands(shape: ConvCase, numbers: Numbers, seed: usize) -> ConvS8Operands {
    let (output_zero_point, bounds) = match seed % 3 {
        0 => (Some(-128), (0.0, 255.0)),
        1 => (Some(5), (-133.0, 122.0)),
        _ => (None, (f32::NEG_INFINITY, f32::INFINITY)),
    };
    let case = ConvS8Case {
        output_zero_point,
        bounds,
        negative: seed % 5 == 2,
        zero_point: [-128, 127, 0, 3, -77][seed % 5],
        numbers,
        ..ConvS8Case::new(shape, LayoutS8::Nr16Kr4)
    };
    ConvS8Operands::random(case, seed as u64).expect("a valid case")
}

fn scratch_of(operands: &ConvS8Operands) -> usize {
    let ConvS8 { layout, window, groups, .. } = &operands.conv;
    let (input, output) = (operands.maps.0.dims, operands.maps.1.dims);
    winograd_scratch_len(*layout, window, *groups, input, output).expect("3x3, stride 1")
}

fn guarded(len: usize) -> Vec<u8> {
    let mut buffer = vec![GUARD; len + 2 * GUARD_LEN];
    buffer[GUARD_LEN..][..len].fill(0x5a);
    buffer
}

fn assert_guards(buffer: &[u8], operands: &ConvS8Operands) {
    let (before, rest) = buffer.split_at(GUARD_LEN);
    let after = &rest[rest.len() - GUARD_LEN..];
    assert!(before.iter().chain(after).all(|&g| g == GUARD), "overrun: {:?}", operands.case);
}

/// The bytes of the output, computed in bands of `band` rows.
fn run(
    kernel: &Kernel<ConvolutionS8>,
    operands: &ConvS8Operands,
    band: usize,
    scratch: usize,
) -> Vec<u8> {
    let (row, rows) = (operands.row_len(), operands.rows() as usize);
    let args = ConvolutionS8::args_on(operands, &operands.x);
    let mut y = guarded(row * rows);
    for first in (0..rows).step_by(band) {
        let band = first..rows.min(first + band);
        let mut staging = guarded(scratch);
        let y = &mut y[GUARD_LEN + first * row..][..band.len() * row];
        let ran = kernel.run(Cpu::detect(), &args, band, y, &mut staging[GUARD_LEN..][..scratch]);
        ran.expect("the kernel takes the case");
        assert_guards(&staging, operands);
    }
    assert_guards(&y, operands);
    y[GUARD_LEN..][..row * rows].to_vec()
}

fn portable(operands: &ConvS8Operands) -> Vec<u8> {
    let rows = operands.rows();
    let scratch = ConvolutionS8::scratch(operands, rows).expect("a valid case");
    run(select(Cpu::PORTABLE), operands, rows as usize, scratch)
}

fn assert_bits(operands: &ConvS8Operands, band: usize) {
    let expected = portable(operands);
    for kernel in kernels() {
        let y = run(kernel, operands, band, scratch_of(operands));
        let wrong = y.iter().zip(&expected).position(|(y, expected)| y != expected);
        assert_eq!(wrong, None, "{} in bands of {band}: {:?}", kernel.name, operands.case);
    }
}

#[test]
fn tiles_of_every_size_give_the_bits_of_portable() {
    let sizes = (1..=9).chain([13, 17]);
    for (seed, (h, w)) in sizes.clone().flat_map(|h| sizes.clone().map(move |w| (h, w))).enumerate()
    {
        let numbers = [Numbers::Random, Numbers::Extreme][seed % 2];
        assert_bits(&operands(ConvCase::square((h, w), (5, 17), 3, 1), numbers, seed), h as usize);
    }
}

#[test]
fn channels_around_every_block_give_the_bits_of_portable() {
    let channels = [1, 3, 4, 7, 16, 31, 32, 33, 64, 65];
    for (seed, in_c) in channels.into_iter().enumerate() {
        for (more, out_c) in [1, 15, 16, 17, 33, 50].into_iter().enumerate() {
            let shape = ConvCase::square((6, 11), (in_c, out_c), 3, 1);
            assert_bits(&operands(shape, Numbers::Extreme, seed + more), 6);
        }
    }
}

#[test]
fn padding_groups_and_border_classes_give_the_bits_of_portable() {
    let mut random = Random(3);
    for seed in 0..150 {
        let groups = random.pick(&[1, 2, 3]);
        let (h, w) = (random.pick(&[5, 8, 14]), random.pick(&[4, 7, 15]));
        let c = (groups * random.pick(&[1, 8, 21, 40]), groups * random.pick(&[3, 16, 20]));
        let mut shape = ConvCase { groups, ..ConvCase::square((h, w), c, 3, 1) };
        let mut pad = || random.pick(&[0, 1, 2, 5]);
        shape.window.pad = Pad { top: pad(), left: pad(), bottom: pad(), right: pad() };
        shape.border = random.pick(&[
            Border::default(),
            Border { top: 1, left: 1, bottom: 1, right: 1 },
            Border { top: 0, left: 2, bottom: 1, right: 0 },
        ]);
        assert_bits(&operands(shape, Numbers::Random, seed), 14);
    }
}

#[test]
fn the_largest_sums_are_exact_for_any_number_of_channels() {
    // 229 channels are the last whose sum of products is always below 2^25; 224 are summed at once here.
    for (seed, in_c) in [192, 224, 225, 228, 229, 230, 240, 448, 449, 1000].into_iter().enumerate()
    {
        for numbers in [Numbers::Least, Numbers::Extreme] {
            let shape = ConvCase::square((5, 6), (in_c, 18), 3, 1);
            assert_bits(&operands(shape, numbers, seed), 5);
        }
    }
}

#[test]
fn neither_bands_nor_scratch_matter() {
    for (seed, (h, w, in_c)) in [(14, 14, 20), (9, 30, 40), (17, 5, 300)].into_iter().enumerate() {
        let operands = operands(ConvCase::square((h, w), (in_c, 33), 3, 1), Numbers::Random, seed);
        for band in [1, 2, 3, 4, 5, 8] {
            assert_bits(&operands, band);
        }
        let expected = portable(&operands);
        let least = ConvolutionS8::args_on(&operands, &operands.x).min_scratch();
        let all = scratch_of(&operands);
        for scratch in [least, all.saturating_sub(1).max(least), all + 1, all + 33] {
            for kernel in kernels() {
                assert!(run(kernel, &operands, h as usize, scratch) == expected);
            }
        }
    }
}

#[test]
fn several_blocks_of_rows_and_batches_of_tiles_give_the_bits_of_portable() {
    // Weights held for all blocks; weights made again for each; a row of more tiles than a batch.
    let shapes = [((40, 40), (24, 48)), ((12, 120), (96, 80)), ((13, 130), (8, 16))];
    for (seed, (size, c)) in shapes.into_iter().enumerate() {
        let operands = operands(ConvCase::square(size, c, 3, 1), Numbers::Random, seed);
        assert_bits(&operands, size.0 as usize);
    }
}

/// A step of this shape with as much scratch as Winograd wants.
fn granted(shape: &ConvCase) -> Step {
    let operands = operands(*shape, Numbers::Random, 0);
    let (input, output) = operands.maps;
    let scratch = u32::try_from(scratch_of(&operands)).unwrap();
    Step { input, output, op: Op::ConvS8(ConvS8 { scratch, ..operands.conv }) }
}

fn name(step: &Step, cpu: Cpu) -> &'static str {
    Kernels::new(cpu).name(step)
}

#[test]
fn the_name_says_which_kernel_runs() {
    let cpu = Cpu::detect();
    let unit = A0_LAYERS.iter().filter(|(shape, _)| shape.window.stride.w == 1);
    for (shape, _) in unit {
        let step = granted(shape);
        let best = kernels().next().map_or(select::<ConvolutionS8>(cpu).name, |kernel| kernel.name);
        assert_eq!(name(&step, cpu), best, "{shape:?}");
        let masked = cpu.without(Feature::Avx2);
        assert_eq!(name(&step, masked), "conv_s8_portable");
        let Op::ConvS8(mut conv) = step.op else { unreachable!("made so") };
        conv.scratch -= 1;
        let poor = Step { op: Op::ConvS8(conv), ..step };
        assert_eq!(name(&poor, cpu), select::<ConvolutionS8>(cpu).name, "{shape:?}");
    }
}

#[test]
fn what_is_no_winograd_or_gains_nothing_is_summed_directly() {
    let len = |shape: &ConvCase, layout| {
        let output = shape.output().unwrap();
        winograd_scratch_len(layout, &shape.window, shape.groups, shape.input, output)
    };
    let square = ConvCase::square((14, 14), (64, 64), 3, 1);
    assert!(len(&square, LayoutS8::Nr16Kr4).is_some());
    assert_eq!(len(&square, LayoutS8::Nr16Kr4Bits4), None);
    assert_eq!(len(&ConvCase::square((14, 14), (64, 64), 3, 2), LayoutS8::Nr16Kr4), None);
    assert_eq!(len(&ConvCase::square((14, 14), (64, 64), 5, 1), LayoutS8::Nr16Kr4), None);
    let mut dilated = square;
    dilated.window.dilation.w = 2;
    assert_eq!(len(&dilated, LayoutS8::Nr16Kr4), None);
    for (size, c) in [((1, 1), 512), ((2, 30), 64), ((28, 28), 4), ((7, 7), 512)] {
        let shape = ConvCase::square(size, (c, c), 3, 1);
        let output = shape.output().unwrap();
        assert!(!winograd_pays(LayoutS8::Nr16Kr4, &shape.window, 1, shape.input, output));
        let Step { input, output, op: Op::ConvS8(conv) } = granted(&shape) else {
            unreachable!("made so")
        };
        assert!(!prefers_winograd(&conv, input.dims, output.dims));
    }
}

#[test]
fn scratch_stays_within_a_level_2_cache() {
    for (size, c) in [(224, 16), (112, 64), (56, 128), (28, 256), (14, 384), (14, 512)] {
        let shape = ConvCase::square((size, size), (c, c), 3, 1);
        let output = Dims { h: size, w: size, c };
        let len = winograd_scratch_len(LayoutS8::Nr16Kr4, &shape.window, 1, shape.input, output);
        assert!(len.unwrap() <= 1 << 20, "{len:?} bytes for {size}x{size}x{c}");
        let direct =
            scratch_len(LayoutS8::Nr16Kr4, &shape.window, 1, shape.input, output, 1).unwrap();
        assert!(len.unwrap() > direct);
    }
}
