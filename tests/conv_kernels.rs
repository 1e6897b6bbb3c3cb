//! The f32 convolution contract: every kernel against the portable one, the portable one against
//! the formula in f64, and results that depend on nothing but the operands.
#![forbid(unsafe_code)]

use unbraid_runtime::cpu::{Cpu, Feature};
use unbraid_runtime::dims::{Dims, Hw, Pad, Window};
use unbraid_runtime::kernels::contract::{Contract, Operands, select};
use unbraid_runtime::kernels::conv_f32::{Args, ConvF32, NR, pack, scratch_len};

type Kernel = unbraid_runtime::kernels::contract::Kernel<ConvF32>;
use unbraid_runtime::step::{Activation, Border};
use unbraid_tests::conv_cases::{A0_LAYERS, ACTIVATIONS, ConvCase, ConvOperands, Random};

/// Largest difference from the reference, in units of the reference's largest value.
const TOLERANCE: f64 = 1e-5;

/// What surrounds every buffer a kernel writes.
const GUARD: f32 = 12345.678;
const GUARD_LEN: usize = 32;

/// Widths around every tile's edge, channels around every panel's edge.
fn edges() -> impl Iterator<Item = ConvCase> {
    let widths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 29, 31];
    let channels = [1, 3, 16, 17, 22, 48, 64, 80, 113];
    widths.into_iter().flat_map(move |w| {
        channels.into_iter().map(move |c| ConvCase::square((3, w), (5, c), 3, 1))
    })
}

/// Random shapes with every field of the window at work; the same ones each time.
fn shuffled() -> impl Iterator<Item = ConvCase> {
    let mut random = Random(7);
    (0..600).map(move |_| shuffled_case(&mut random))
}

fn shuffled_case(r: &mut Random) -> ConvCase {
    let groups = r.pick(&[1, 1, 1, 2, 4]);
    let pair = |r: &mut Random, of: &[u32]| Hw { h: r.pick(of), w: r.pick(of) };
    let kernel = pair(r, &[1, 1, 2, 3, 3, 5, 7]);
    let (top, left) = (r.pick(&[0, 1, 2, 9]), r.pick(&[0, 1, 3, 11]));
    let pad = Pad { top, left, bottom: r.pick(&[0, 1, 4]), right: r.pick(&[0, 1, 2, 8]) };
    let (stride, dilation) = (pair(r, &[1, 1, 2, 3, 5]), pair(r, &[1, 1, 1, 2, 3]));
    let size = pair(r, &[1, 2, 5, 6, 7, 11, 14, 19, 30]);
    ConvCase {
        window: Window { kernel, stride, dilation, pad },
        groups,
        input: Dims { h: size.h, w: size.w, c: groups * r.pick(&[1, 3, 8, 16, 21]) },
        out_c: groups * r.pick(&[1, 7, 16, 17, 22, 40, 64]),
        border: r.pick(&[
            Border::default(),
            Border { top: 1, left: 1, bottom: 1, right: 1 },
            Border { top: 0, left: 2, bottom: 1, right: 0 },
        ]),
        activation: r.pick(ACTIVATIONS),
    }
}

/// All small cases whose windows and border classes fit.
fn small_operands() -> impl Iterator<Item = ConvOperands> {
    let relu = ConvCase::square((9, 16), (6, 50), 3, 2);
    let activations = ACTIVATIONS.iter().map(move |&activation| relu.with_activation(activation));
    let cases = edges().chain(activations).chain(shuffled()).enumerate();
    cases.filter_map(|(seed, case)| ConvOperands::random(case, seed as u64)).filter(border_fits)
}

fn border_fits(operands: &ConvOperands) -> bool {
    let (Border { top, left, bottom, right }, y) = (operands.case.border, operands.output);
    top + bottom <= y.h && left + right <= y.w
}

fn masks() -> [Cpu; 3] {
    let cpu = Cpu::detect();
    [cpu, cpu.without(Feature::Avx512), cpu.without(Feature::Avx2)]
}

/// `len` times NaN between guards.
fn guarded(len: usize) -> Vec<f32> {
    let mut buffer = vec![GUARD; len + 2 * GUARD_LEN];
    buffer[GUARD_LEN..][..len].fill(f32::NAN);
    buffer
}

fn assert_guards(buffer: &[f32], what: &str, operands: &ConvOperands) {
    let (before, rest) = buffer.split_at(GUARD_LEN);
    let after = &rest[rest.len() - GUARD_LEN..];
    assert!(before.iter().chain(after).all(|&g| g == GUARD), "{what} overrun: {:?}", operands.case);
}

/// One output, computed in bands of `band` rows with `scratch` floats that begin as NaN.
fn run(kernel: &Kernel, cpu: Cpu, operands: &ConvOperands, band: u32, scratch: usize) -> Vec<f32> {
    let (args, output) = (operands.args(), operands.output);
    let mut y = guarded(output.elements().unwrap());
    let row = output.row().unwrap();
    for first in (0..output.h).step_by(band as usize) {
        let rows = first as usize..output.h.min(first + band) as usize;
        let mut staging = guarded(scratch);
        let y = &mut y[GUARD_LEN + first as usize * row..][..rows.len() * row];
        let scratch = &mut staging[GUARD_LEN..][..scratch];
        kernel.run(cpu, &args, rows, y, scratch).expect("the kernel takes the case");
        assert_guards(&staging, kernel.name, operands);
    }
    assert_guards(&y, kernel.name, operands);
    y[GUARD_LEN..][..row * output.h as usize].to_vec()
}

fn whole(kernel: &Kernel, cpu: Cpu, operands: &ConvOperands) -> Vec<f32> {
    run(kernel, cpu, operands, operands.output.h, scratch_of(operands, operands.output.h))
}

fn scratch_of(operands: &ConvOperands, rows: u32) -> usize {
    let case = &operands.case;
    scratch_len(&case.window, case.input, operands.output, rows).expect("a valid case")
}

fn assert_close(y: &[f32], reference: &[f64], name: &str, case: &ConvCase) {
    let largest = reference.iter().fold(1e-3f64, |most, y| most.max(y.abs()));
    assert_eq!(y.len(), reference.len());
    for (at, (&y, &expected)) in y.iter().zip(reference).enumerate() {
        let error = (f64::from(y) - expected).abs() / largest;
        assert!(error <= TOLERANCE, "{name}, value {at}: {y} for {expected}, {case:?}");
    }
}

fn wide(y: &[f32]) -> Vec<f64> {
    y.iter().map(|&y| f64::from(y)).collect()
}

/// The formula of the contract, in f64 and ONNX order.
fn formula(operands: &ConvOperands) -> Vec<f64> {
    let Dims { h, w, c } = operands.output;
    let pixels = (0..h).flat_map(|y| (0..w).map(move |x| (y, x)));
    let values = pixels.flat_map(|(y, x)| (0..c).map(move |o| (y, x, o)));
    values.map(|(y, x, o)| formula_value(operands, y, x, o)).collect()
}

fn formula_value(operands: &ConvOperands, row: u32, column: u32, o: u32) -> f64 {
    let ConvCase { window: w, groups, input, out_c, border, activation } = operands.case;
    let class = class(row, operands.output.h, border.top, border.bottom) * border.classes().1
        + class(column, operands.output.w, border.left, border.right);
    let mut sum = f64::from(operands.bias[(class * out_c + o) as usize]);
    let in_c = input.c / groups;
    let group = o / (out_c / groups);
    for (ky, kx) in (0..w.kernel.h).flat_map(|ky| (0..w.kernel.w).map(move |kx| (ky, kx))) {
        let y = (row * w.stride.h + ky * w.dilation.h).checked_sub(w.pad.top);
        let x = (column * w.stride.w + kx * w.dilation.w).checked_sub(w.pad.left);
        let (Some(y), Some(x)) = (y, x) else { continue };
        if y >= input.h || x >= input.w {
            continue;
        }
        for i in 0..in_c {
            let tap = ((o * in_c + i) * w.kernel.h + ky) * w.kernel.w + kx;
            let pixel = (y * input.w + x) * input.c + group * in_c + i;
            sum +=
                f64::from(operands.weights[tap as usize]) * f64::from(operands.x[pixel as usize]);
        }
    }
    let leaky = |slope: f32| if sum < 0.0 { f64::from(slope) * sum } else { sum };
    match activation {
        Activation::None => sum,
        Activation::Clamp { lo, hi } => sum.max(lo.into()).min(hi.into()),
        Activation::LeakyRelu { slope } => leaky(slope),
        Activation::PRelu { .. } => leaky(operands.slopes[o as usize]),
    }
}

fn class(at: u32, len: u32, before: u32, after: u32) -> u32 {
    let last = len - after;
    if at < before { at } else { before + (at + 1).saturating_sub(last) }
}

#[test]
fn portable_matches_the_formula_in_f64() {
    let portable = select::<ConvF32>(Cpu::PORTABLE);
    let mut count = 0;
    for operands in small_operands() {
        let y = whole(portable, Cpu::PORTABLE, &operands);
        assert_close(&y, &formula(&operands), portable.name, &operands.case);
        count += 1;
    }
    assert!(count > 500, "only {count} cases fit");
}

#[test]
fn every_kernel_matches_portable() {
    let portable = select::<ConvF32>(Cpu::PORTABLE);
    let layers = A0_LAYERS.iter().filter_map(|&(case, _)| ConvOperands::random(case, 1));
    for operands in small_operands().chain(layers) {
        let expected = wide(&whole(portable, Cpu::PORTABLE, &operands));
        for kernel in ConvF32::LIST.iter().filter(|kernel| Cpu::detect().has(kernel.needs)) {
            let y = whole(kernel, Cpu::detect(), &operands);
            assert_close(&y, &expected, kernel.name, &operands.case);
        }
    }
}

#[test]
fn results_depend_neither_on_bands_nor_on_scratch() {
    for operands in small_operands() {
        let rows = operands.output.h;
        let all = scratch_of(&operands, rows);
        for kernel in ConvF32::LIST.iter().filter(|kernel| Cpu::detect().has(kernel.needs)) {
            let expected = whole(kernel, Cpu::detect(), &operands);
            let least = operands.args().min_scratch();
            for (band, scratch) in
                [(1, least), (2, least + 7), (3, all), (rows, least), (rows, 2 * least)]
            {
                let y = run(kernel, Cpu::detect(), &operands, band, scratch);
                let same = y.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{} in bands of {band}: {:?}", kernel.name, operands.case);
            }
        }
    }
}

#[test]
fn tiles_of_any_size_add_in_the_same_order() {
    // Cutting pixels off at the right changes tiles, not the pixels that stay.
    let wide_case = ConvCase::square((4, 29), (20, 70), 3, 1);
    let operands = ConvOperands::random(wide_case, 3).unwrap();
    for kernel in ConvF32::LIST.iter().filter(|kernel| Cpu::detect().has(kernel.needs)) {
        let expected = whole(kernel, Cpu::detect(), &operands);
        for width in 2..29 {
            let mut narrow = operands.clone();
            narrow.case.input.w = width;
            narrow.output.w = width;
            narrow.x = operands
                .x
                .chunks(29 * 20)
                .flat_map(|r| &r[..width as usize * 20])
                .copied()
                .collect();
            let y = whole(kernel, Cpu::detect(), &narrow);
            let rows = y.chunks(width as usize * 70).zip(expected.chunks(29 * 70));
            for (row, expected) in rows {
                let inner = (width as usize - 1) * 70; // the last pixel sees the border
                assert_eq!(row[..inner], expected[..inner], "{} at width {width}", kernel.name);
            }
        }
    }
}

#[test]
fn nan_survives_every_activation() {
    for &activation in ACTIVATIONS {
        let case = ConvCase::square((2, 9), (4, 20), 1, 1).with_activation(activation);
        let mut operands = ConvOperands::random(case, 5).unwrap();
        operands.x[4 * 4] = f32::NAN;
        for kernel in ConvF32::LIST.iter().filter(|kernel| Cpu::detect().has(kernel.needs)) {
            let y = whole(kernel, Cpu::detect(), &operands);
            let lost = y.iter().enumerate().find(|(at, y)| y.is_nan() != (at / 20 == 4));
            assert_eq!(lost, None, "{} {activation:?}", kernel.name);
        }
    }
}

#[test]
fn a_kernel_refuses_what_it_cannot_run() {
    let operands = ConvOperands::random(ConvCase::square((5, 5), (3, 8), 3, 1), 1).unwrap();
    let (args, row) = (operands.args(), 5 * 8);
    let least = args.min_scratch();
    for kernel in ConvF32::LIST.iter().filter(|kernel| Cpu::detect().has(kernel.needs)) {
        let run = |rows, y: usize, scratch: usize, cpu| {
            let mut y = vec![GUARD; y];
            let ran = kernel.run(cpu, &args, rows, &mut y, &mut vec![0.0; scratch]);
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
fn args_refuse_operands_of_another_shape() {
    let case = ConvCase::square((6, 5), (4, 8), 3, 1).with_activation(ACTIVATIONS[4]);
    let good = ConvOperands::random(case, 1).unwrap();
    let accepted = |change: &dyn Fn(&mut ConvOperands)| {
        let mut o = good.clone();
        change(&mut o);
        let [weights, bias, slopes] = &o.packed;
        Args::new(&o.conv, o.case.input, o.output, &o.x, weights, bias, slopes).is_some()
    };
    assert!(accepted(&|_| ()));
    assert!(!accepted(&|o| o.x.truncate(6 * 5 * 4 - 1)));
    assert!(!accepted(&|o| o.x.push(0.0)));
    for at in 0..3 {
        assert!(!accepted(&|o| o.packed[at].truncate(7)), "operand {at} too short");
        assert!(!accepted(&|o| o.packed[at].push(0.0)), "operand {at} too long");
    }
    assert!(!accepted(&|o| o.output.h += 1));
    assert!(!accepted(&|o| o.output.w -= 1));
    assert!(!accepted(&|o| o.output.c += 16));
    assert!(!accepted(&|o| o.case.input.c = 0));
    assert!(!accepted(&|o| o.conv.groups = 0));
    assert!(!accepted(&|o| o.conv.groups = 3));
    assert!(!accepted(&|o| o.conv.window.stride.w = 0));
    assert!(!accepted(&|o| o.conv.window.dilation.h = 0));
    assert!(!accepted(&|o| o.conv.window.kernel.h = u32::MAX));
    assert!(!accepted(&|o| o.conv.window.pad.left = u32::MAX));
    assert!(!accepted(&|o| o.conv.border.top = 1));
    assert!(!accepted(&|o| o.conv.border = Border { top: 4, bottom: 3, left: 0, right: 0 }));
}

#[test]
fn select_takes_the_best_kernel_that_the_mask_leaves() {
    for cpu in masks() {
        let best = if cpu.has(Some(Feature::Avx512)) {
            "conv_f32_14x32_avx512"
        } else if cpu.has(Some(Feature::Avx2)) {
            "conv_f32_6x16_avx2"
        } else {
            "conv_f32_portable"
        };
        assert_eq!(select::<ConvF32>(cpu).name, best);
    }
}

#[test]
fn pack_puts_each_weight_where_the_layout_says() {
    let (out_c, in_c, kh, kw, groups) = (36, 3, 2, 5, 2);
    let weights: Vec<f32> = (1..=out_c * in_c * kh * kw).map(|n| n as f32).collect();
    let mut packed = vec![f32::NAN; groups * 2 * kh * kw * in_c * NR];
    pack(&weights, out_c, in_c, kh, kw, groups, &mut packed).unwrap();
    for (at, &value) in packed.iter().enumerate() {
        let (rest, lane) = (at / NR, at % NR);
        let (rest, i) = (rest / in_c, rest % in_c);
        let (rest, x) = (rest / kw, rest % kw);
        let (rest, y) = (rest / kh, rest % kh);
        let (group, channel) = (rest / 2, rest % 2 * NR + lane);
        let o = group * (out_c / groups) + channel;
        let inside = channel < out_c / groups;
        let weight = if inside { weights[((o * in_c + i) * kh + y) * kw + x] } else { 0.0 };
        assert_eq!(value, weight, "at {at}");
    }
}
