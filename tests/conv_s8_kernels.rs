//! The s8 convolution contracts: every kernel gives the portable one's bits, the portable one those of
//! the formula, and nothing but the operands decides about a result.
#![forbid(unsafe_code)]

use unbraid_runtime::cpu::{Cpu, FEATURES, Feature};
use unbraid_runtime::dims::{Dims, Hw, Pad, Window};
use unbraid_runtime::kernels::contract::{Kernel, Operands, select};
use unbraid_runtime::kernels::conv_s8::{self, ConvolutionS8, KR, NR};
use unbraid_runtime::kernels::depthwise_s8::{self, DepthwiseS8};
use unbraid_runtime::step::{Border, LayoutS8};
use unbraid_tests::conv_cases::{A0_LAYERS, ConvCase, Random};
use unbraid_tests::conv_s8_cases::{ConvS8Case, ConvS8Operands, Convolves, Numbers};

/// What surrounds every buffer a kernel writes.
const GUARD: u8 = 0xa5;
const GUARD_LEN: usize = 96;

/// Results as s8 with ReLU, with bounds between values, at both ends, and as f32; equal factors, and
/// others for negative sums.
const RESULTS: &[(Option<i8>, (f32, f32), bool)] = &[
    (Some(-128), (0.0, 255.0), false),
    (Some(5), (-133.0, 122.0), true),
    (Some(127), (-255.0, 0.0), false),
    (Some(0), (-20.4, 33.7), false),
    (None, (f32::NEG_INFINITY, f32::INFINITY), false),
    (None, (0.0, 6.0), true),
];

fn with_result(shape: ConvCase, layout: LayoutS8, seed: usize) -> ConvS8Case {
    let (output_zero_point, bounds, negative) = RESULTS[seed % RESULTS.len()];
    let numbers = if seed % 7 == 3 { Numbers::Extreme } else { Numbers::Random };
    let zero_point = [-128, 127, 0, 3, -77][seed % 5];
    let case = ConvS8Case::new(shape, layout);
    ConvS8Case { output_zero_point, bounds, negative, numbers, zero_point, ..case }
}

/// Widths around every tile's edge, channels around every panel's and every four's edge.
fn edges() -> impl Iterator<Item = ConvCase> {
    let widths = [1, 2, 3, 5, 7, 8, 9, 13, 14, 15, 17, 28, 29, 31];
    let channels = [(1, 1), (3, 16), (5, 17), (17, 33), (33, 48), (4, 64), (8, 80), (12, 129)];
    let kernels = [(3, 1), (3, 2), (1, 1), (5, 1)];
    let sizes = widths.into_iter().flat_map(move |w| channels.into_iter().map(move |c| (w, c)));
    sizes.enumerate().map(move |(at, (w, c))| {
        let (kernel, stride) = kernels[at % kernels.len()];
        ConvCase::square((3, w), c, kernel, stride)
    })
}

/// Random shapes with every field of the window at work; the same ones each time.
fn shuffled(count: usize) -> impl Iterator<Item = ConvCase> {
    let mut random = Random(11);
    (0..count).map(move |_| {
        let groups = random.pick(&[1, 1, 1, 2, 4]);
        let (in_c, out_c) =
            (random.pick(&[1, 3, 4, 8, 16, 21]), random.pick(&[1, 7, 16, 17, 22, 40, 64, 100]));
        let c = (groups * in_c, groups * out_c);
        shuffled_case(&mut random, groups, c)
    })
}

fn shuffled_case(r: &mut Random, groups: u32, (in_c, out_c): (u32, u32)) -> ConvCase {
    let pair = |r: &mut Random, of: &[u32]| Hw { h: r.pick(of), w: r.pick(of) };
    let kernel = pair(r, &[1, 1, 2, 3, 3, 5, 7]);
    let (top, left) = (r.pick(&[0, 1, 2, 9]), r.pick(&[0, 1, 3, 11]));
    let pad = Pad { top, left, bottom: r.pick(&[0, 1, 4]), right: r.pick(&[0, 1, 2, 8]) };
    let (stride, dilation) = (pair(r, &[1, 1, 2, 3, 5]), pair(r, &[1, 1, 1, 2, 3]));
    let size = pair(r, &[1, 2, 5, 6, 7, 11, 14, 19, 30]);
    let border = r.pick(&[
        Border::default(),
        Border { top: 1, left: 1, bottom: 1, right: 1 },
        Border { top: 0, left: 2, bottom: 1, right: 0 },
    ]);
    ConvCase {
        window: Window { kernel, stride, dilation, pad },
        groups,
        input: Dims { h: size.h, w: size.w, c: in_c },
        out_c,
        border,
        ..ConvCase::square((1, 1), (1, 1), 1, 1)
    }
}

/// All small cases whose windows and border classes fit.
fn dense_operands() -> impl Iterator<Item = ConvS8Operands> {
    let layouts = [LayoutS8::Nr16Kr4, LayoutS8::Nr16Kr4, LayoutS8::Nr16Kr4Bits4];
    edges().chain(shuffled(500)).enumerate().filter_map(move |(seed, shape)| {
        fitting(with_result(shape, layouts[seed % layouts.len()], seed), seed)
    })
}

/// The same for depthwise convolutions.
fn depthwise_operands() -> impl Iterator<Item = ConvS8Operands> {
    let channels = [1, 3, 5, 15, 16, 17, 32, 33, 48, 63, 64, 65, 72, 96, 100, 130, 144];
    let sizes = [(1, 1), (3, 2), (4, 7), (5, 14), (7, 13), (2, 28), (6, 31)];
    let kernels = [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (1, 1)];
    let sizes =
        channels.into_iter().flat_map(move |c| sizes.into_iter().map(move |size| (c, size)));
    let plain = sizes.enumerate().map(move |(at, (c, size))| {
        let (kernel, stride) = kernels[at % kernels.len()];
        ConvCase { groups: c, ..ConvCase::square(size, (c, c), kernel, stride) }
    });
    let mut random = Random(5);
    let shuffled = (0..300).map(move |_| {
        let c = random.pick(&channels);
        shuffled_case(&mut random, c, (c, c))
    });
    plain
        .chain(shuffled)
        .enumerate()
        .filter_map(|(seed, shape)| fitting(with_result(shape, LayoutS8::Dw16, seed), seed))
}

fn fitting(case: ConvS8Case, seed: usize) -> Option<ConvS8Operands> {
    let operands = ConvS8Operands::random(case, seed as u64)?;
    let (Border { top, left, bottom, right }, y) = (case.shape.border, operands.maps.1.dims);
    (top + bottom <= y.h && left + right <= y.w).then_some(operands)
}

/// This machine, and this machine without each of the features.
fn masks() -> Vec<Cpu> {
    let cpu = Cpu::detect();
    let without = FEATURES.iter().map(|&(_, feature)| cpu.without(feature));
    [cpu].into_iter().chain(without).collect()
}

/// The kernels that any mask selects, and all others that this machine can run.
fn kernels<C: Convolves>() -> impl Iterator<Item = &'static Kernel<C>> {
    C::LIST.iter().filter(|kernel| Cpu::detect().has(kernel.needs))
}

fn guarded(len: usize) -> Vec<u8> {
    let mut buffer = vec![GUARD; len + 2 * GUARD_LEN];
    buffer[GUARD_LEN..][..len].fill(0x5a);
    buffer
}

fn assert_guards(buffer: &[u8], what: &str, operands: &ConvS8Operands) {
    let (before, rest) = buffer.split_at(GUARD_LEN);
    let after = &rest[rest.len() - GUARD_LEN..];
    assert!(before.iter().chain(after).all(|&g| g == GUARD), "{what} overrun: {:?}", operands.case);
}

/// The bytes of the output, computed in bands of `band` rows with `scratch` bytes of scratch.
fn run<C: Convolves>(
    kernel: &Kernel<C>,
    operands: &ConvS8Operands,
    band: u32,
    scratch: usize,
) -> Vec<u8> {
    let (row, rows) = (operands.row_len(), operands.rows());
    let args = C::args_on(operands, &operands.x);
    let mut y = guarded(row * rows as usize);
    for first in (0..rows).step_by(band as usize) {
        let band = first as usize..rows.min(first + band) as usize;
        let mut staging = guarded(scratch);
        let y = &mut y[GUARD_LEN + first as usize * row..][..band.len() * row];
        let ran = kernel.run(Cpu::detect(), &args, band, y, &mut staging[GUARD_LEN..][..scratch]);
        ran.expect("the kernel takes the case");
        assert_guards(&staging, kernel.name, operands);
    }
    assert_guards(&y, kernel.name, operands);
    y[GUARD_LEN..][..row * rows as usize].to_vec()
}

fn whole<C: Convolves>(kernel: &Kernel<C>, operands: &ConvS8Operands) -> Vec<u8> {
    let scratch = C::scratch(operands, operands.rows()).expect("a valid case");
    run(kernel, operands, operands.rows(), scratch)
}

/// The formula of the contract, sums in i64 and in ONNX order.
fn formula(operands: &ConvS8Operands) -> Vec<u8> {
    let Dims { h, w, c } = operands.maps.1.dims;
    let pixels = (0..h).flat_map(|y| (0..w).map(move |x| (y, x)));
    let values = pixels.flat_map(|(y, x)| (0..c).map(move |o| (y, x, o)));
    values.flat_map(|(y, x, o)| result(operands, sum(operands, y, x, o), o as usize)).collect()
}

fn sum(operands: &ConvS8Operands, row: u32, column: u32, o: u32) -> i64 {
    let ConvCase { window: w, groups, input, out_c, border, .. } = operands.case.shape;
    let output = operands.maps.1.dims;
    let class = class(row, output.h, border.top, border.bottom) * border.classes().1
        + class(column, output.w, border.left, border.right);
    let mut sum = i64::from(operands.bias[(class * out_c + o) as usize]);
    let in_c = input.c / groups;
    let group = o / (out_c / groups);
    for (ky, kx) in (0..w.kernel.h).flat_map(|ky| (0..w.kernel.w).map(move |kx| (ky, kx))) {
        let y = (row * w.stride.h + ky * w.dilation.h).checked_sub(w.pad.top);
        let x = (column * w.stride.w + kx * w.dilation.w).checked_sub(w.pad.left);
        let inside = y.zip(x).filter(|&(y, x)| y < input.h && x < input.w);
        for i in 0..in_c {
            let tap = ((o * in_c + i) * w.kernel.h + ky) * w.kernel.w + kx;
            let value = inside.map_or(operands.case.zero_point, |(y, x)| {
                operands.x[((y * input.w + x) * input.c + group * in_c + i) as usize]
            });
            sum += i64::from(operands.weights[tap as usize]) * i64::from(value);
        }
    }
    sum
}

/// The bytes that a sum becomes.
fn result(operands: &ConvS8Operands, sum: i64, o: usize) -> Vec<u8> {
    let case = &operands.case;
    let factors = if case.negative && sum < 0 { &operands.negative } else { &operands.scale };
    let sum = i32::try_from(sum).expect("bounded sums do not wrap");
    let t = (sum as f32 * factors[o]).max(case.bounds.0).min(case.bounds.1);
    match case.output_zero_point {
        None => t.to_ne_bytes().to_vec(),
        Some(zero_point) => {
            let value = f64::from(t).round_ties_even() + f64::from(zero_point);
            vec![(value as i8).cast_unsigned()]
        }
    }
}

fn class(at: u32, len: u32, before: u32, after: u32) -> u32 {
    let last = len - after;
    if at < before { at } else { before + (at + 1).saturating_sub(last) }
}

fn assert_portable_is_the_formula<C: Convolves>(cases: impl Iterator<Item = ConvS8Operands>) {
    let (mut count, mut inside, mut values) = (0, 0, 0);
    for operands in cases {
        let y = whole(select::<C>(Cpu::PORTABLE), &operands);
        assert!(y == formula(&operands), "{:?}", operands.case);
        if operands.case.output_zero_point == Some(5) {
            inside += y.iter().filter(|&&y| y != 0x80 && y != 0x7f).count();
            values += y.len();
        }
        count += 1;
    }
    assert!(count > 300, "only {count} cases fit");
    assert!(inside * 2 > values, "most of {values} values are at the ends of s8");
}

fn assert_kernels_match_portable<C: Convolves>(cases: impl Iterator<Item = ConvS8Operands>) {
    for operands in cases {
        let expected = whole(select::<C>(Cpu::PORTABLE), &operands);
        for kernel in kernels::<C>() {
            let y = whole(kernel, &operands);
            let wrong = y.iter().zip(&expected).position(|(y, expected)| y != expected);
            assert_eq!(wrong, None, "{}: {:?}", kernel.name, operands.case);
        }
    }
}

fn assert_bands_do_not_matter<C: Convolves>(cases: impl Iterator<Item = ConvS8Operands>) {
    for operands in cases {
        let rows = operands.rows();
        let least = C::args_on(&operands, &operands.x).min_scratch();
        let all = C::scratch(&operands, rows).unwrap();
        for kernel in kernels::<C>() {
            let expected = whole(kernel, &operands);
            for (band, scratch) in
                [(1, least), (2, least + 7), (3, all), (rows, least), (rows, 2 * least)]
            {
                let y = run(kernel, &operands, band, scratch);
                assert!(y == expected, "{} in bands of {band}: {:?}", kernel.name, operands.case);
            }
        }
    }
}

#[test]
fn portable_is_the_formula() {
    assert_portable_is_the_formula::<ConvolutionS8>(dense_operands());
}

#[test]
fn portable_depthwise_is_the_formula() {
    assert_portable_is_the_formula::<DepthwiseS8>(depthwise_operands());
}

#[test]
fn every_kernel_gives_the_bits_of_portable() {
    let layers = A0_LAYERS.iter().enumerate().filter_map(|(seed, &(shape, _))| {
        fitting(with_result(shape, LayoutS8::Nr16Kr4, seed), seed)
    });
    assert_kernels_match_portable::<ConvolutionS8>(dense_operands().chain(layers));
}

#[test]
fn every_depthwise_kernel_gives_the_bits_of_portable() {
    assert_kernels_match_portable::<DepthwiseS8>(depthwise_operands());
}

#[test]
fn results_depend_neither_on_bands_nor_on_scratch() {
    assert_bands_do_not_matter::<ConvolutionS8>(dense_operands());
}

#[test]
fn depthwise_results_depend_neither_on_bands_nor_on_scratch() {
    assert_bands_do_not_matter::<DepthwiseS8>(depthwise_operands());
}

fn assert_refusals<C: Convolves>(operands: &ConvS8Operands) {
    let args = C::args_on(operands, &operands.x);
    let (row, least) = (operands.row_len(), args.min_scratch());
    for kernel in kernels::<C>() {
        let run = |rows, y: usize, scratch: usize, cpu| {
            let mut y = vec![GUARD; y];
            let ran = kernel.run(cpu, &args, rows, &mut y, &mut vec![0; scratch]);
            assert!(ran.is_some() || y.iter().all(|&y| y == GUARD), "refused, but wrote");
            ran.is_some()
        };
        let cpu = Cpu::detect();
        assert!(run(1..3, 2 * row, least, cpu));
        assert!(run(5..5, 0, least, cpu));
        assert!(!run(1..3, 2 * row - 1, least, cpu));
        assert!(!run(1..3, 2 * row + 1, least, cpu));
        assert!(!run(4..6, 2 * row, least, cpu));
        assert!(!run(1..3, 2 * row, least - 1, cpu));
        assert_eq!(run(1..3, 2 * row, least, Cpu::PORTABLE), kernel.needs.is_none());
    }
}

#[test]
fn a_kernel_refuses_what_it_cannot_run() {
    let shape = ConvCase::square((5, 5), (8, 8), 3, 1);
    for (seed, layout) in [LayoutS8::Nr16Kr4, LayoutS8::Nr16Kr4Bits4].into_iter().enumerate() {
        assert_refusals::<ConvolutionS8>(&fitting(with_result(shape, layout, seed), 1).unwrap());
    }
    let case = with_result(ConvCase { groups: 8, ..shape }, LayoutS8::Dw16, 4);
    assert_refusals::<DepthwiseS8>(&fitting(case, 1).unwrap());
}

/// Whether the contract that `layout` belongs to takes the operands after a change.
fn accepted(good: &ConvS8Operands, change: &dyn Fn(&mut ConvS8Operands)) -> bool {
    let mut o = good.clone();
    change(&mut o);
    let (input, output) = &o.maps;
    match good.case.layout {
        LayoutS8::Dw16 => depthwise_s8::Args::new(&o.conv, input, output, o.tensors()).is_some(),
        _ => conv_s8::Args::new(&o.conv, input, output, o.tensors()).is_some(),
    }
}

#[test]
fn args_refuse_operands_of_another_shape() {
    let shape = ConvCase::square((6, 5), (8, 8), 3, 1);
    let depthwise = ConvCase { groups: 8, ..shape };
    for (shape, layout, other) in [
        (shape, LayoutS8::Nr16Kr4, LayoutS8::Dw16),
        (shape, LayoutS8::Nr16Kr4Bits4, LayoutS8::Nr16Kr4),
        (depthwise, LayoutS8::Dw16, LayoutS8::Nr16Kr4Bits4),
    ] {
        let good =
            fitting(ConvS8Case { negative: true, ..ConvS8Case::new(shape, layout) }, 1).unwrap();
        let accepted = |change: &dyn Fn(&mut ConvS8Operands)| accepted(&good, change);
        assert!(accepted(&|_| ()));
        assert!(accepted(&|o| o.packed.negative.clear()));
        assert!(!accepted(&|o| o.packed.negative.truncate(1)));
        assert!(!accepted(&|o| o.packed.scale.truncate(15)));
        assert!(!accepted(&|o| o.packed.scale.push(0.0)));
        assert!(!accepted(&|o| o.packed.sums.truncate(15)));
        assert!(!accepted(&|o| o.packed.bias.push(0)));
        assert!(!accepted(&|o| o.packed.weights.push(0)));
        assert!(!accepted(&|o| o.packed.weights.truncate(64)));
        assert!(!accepted(&|o| o.x.truncate(6 * 5 * 8 - 1)));
        assert!(!accepted(&|o| o.maps.0.element = Default::default()));
        assert!(!accepted(&|o| o.maps.1.dims.h += 1));
        assert!(!accepted(&|o| o.maps.1.dims.c += 16));
        assert!(!accepted(&|o| o.maps.0.dims.c = 0));
        assert!(!accepted(&|o| o.conv.groups = 0));
        assert!(!accepted(&|o| o.conv.groups = 3));
        assert!(!accepted(&|o| o.conv.layout = other));
        assert!(!accepted(&|o| o.conv.window.stride.w = 0));
        assert!(!accepted(&|o| o.conv.window.dilation.h = 0));
        assert!(!accepted(&|o| o.conv.window.kernel.h = u32::MAX));
        assert!(!accepted(&|o| o.conv.window.pad.left = u32::MAX));
        assert!(!accepted(&|o| o.conv.border.top = 1));
        assert!(!accepted(&|o| o.conv.border = Border { top: 4, bottom: 3, left: 0, right: 0 }));
    }
}

#[test]
fn select_takes_the_best_kernel_that_the_mask_leaves() {
    for cpu in masks() {
        let (dense, depthwise) = best(cpu);
        assert_eq!(select::<ConvolutionS8>(cpu).name, dense);
        assert_eq!(select::<DepthwiseS8>(cpu).name, depthwise);
    }
}

/// Names of the kernels that should run on a CPU.
fn best(cpu: Cpu) -> (&'static str, &'static str) {
    if cpu.has(Some(Feature::Avx512Vnni)) {
        ("conv_s8_14x32_vnni", "depthwise_s8_4x64_vnni")
    } else if cpu.has(Some(Feature::Avx2)) {
        ("conv_s8_2x16_avx2", "depthwise_s8_4x16_avx2")
    } else {
        ("conv_s8_portable", "depthwise_s8_portable")
    }
}

#[test]
fn pack_puts_each_weight_where_the_layout_says() {
    let (out_c, in_c, kh, kw, groups) = (36, 6, 2, 5, 2);
    let weights: Vec<i8> = (0..out_c * in_c * kh * kw).map(|n| (n % 251) as i8).collect();
    let mut packed = vec![99; groups * 2 * kh * kw * 2 * NR * KR];
    conv_s8::pack(&weights, out_c, in_c, kh, kw, groups, &mut packed).unwrap();
    for (at, &value) in packed.iter().enumerate() {
        let (rest, k) = (at / KR, at % KR);
        let (rest, lane) = (rest / NR, rest % NR);
        let (rest, i) = (rest / 2, rest % 2 * KR + k);
        let (rest, x) = (rest / kw, rest % kw);
        let (rest, y) = (rest / kh, rest % kh);
        let (group, channel) = (rest / 2, rest % 2 * NR + lane);
        let o = group * (out_c / groups) + channel;
        let inside = channel < out_c / groups && i < in_c;
        let weight = if inside { weights[((o * in_c + i) * kh + y) * kw + x] } else { 0 };
        assert_eq!(value, weight, "at {at}");
    }
}

#[test]
fn two_weights_of_four_bits_share_a_byte_the_first_in_the_low_half() {
    let mut bytes = [0; 2];
    assert_eq!(conv_s8::pack_bits4(&[1, -2, 7, -7], &mut bytes), Some(()));
    assert_eq!(bytes.map(i8::cast_unsigned), [0xe1, 0x97]);
    assert_eq!(conv_s8::pack_bits4(&[8, 0], &mut bytes[..1]), None);
    assert_eq!(conv_s8::pack_bits4(&[1, 1, 1], &mut bytes[..1]), None);
}
