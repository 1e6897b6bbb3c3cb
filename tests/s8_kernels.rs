//! 8-bit steps but for convolutions: every kernel, on any band, against the formula in wide integers
//! or f64, and the steps in sessions under every CPU mask. All of it to the bit.
#![forbid(unsafe_code)]

use unbraid_runtime::dims::{Dims, Hw, Pad, Window};

use unbraid_runtime::kernels::convert::{self, DequantizeS8, QuantizeF32};
use unbraid_runtime::kernels::pool_f32::Pool;
use unbraid_runtime::kernels::pool_s8::{self, PoolS8};
use unbraid_runtime::kernels::resample_s8::{self, ResampleS8};
use unbraid_runtime::kernels::table_s8::{self, TableS8};
use unbraid_runtime::kernels::{contract::Contract, pair_s8};
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{
    Element, FunctionS8, Op, PadMode, PairS8, Quantization, Resample, Source, Step, Taps,
};
use unbraid_runtime::{Cpu, FormatError, Model, Role, StepFault};
use unbraid_tests::execute::cpus;
use unbraid_tests::formula::{MAPS, at, check_s8, each, infer};
use unbraid_tests::kernels::check_kernels;
use unbraid_tests::rng::Random;
use unbraid_tests::steps::view;
use unbraid_tests::strand_builder::StrandBuilder;

/// Shapes around registers of 16, 32 and 64 values, and primes.
fn shapes() -> Vec<Dims> {
    let vectors = [1, 15, 16, 17, 31, 33, 63, 64, 65, 127, 131, 1009].map(Dims::vector);
    MAPS.into_iter().chain(vectors).collect()
}

fn elements(dims: Dims) -> usize {
    dims.elements().unwrap()
}

const QUANTIZATIONS: [Quantization; 6] = [
    Quantization { scale: 0.037, zero_point: 3 },
    Quantization { scale: 1.0, zero_point: -128 },
    Quantization { scale: 0.5, zero_point: 127 },
    Quantization { scale: f32::MIN_POSITIVE, zero_point: 0 },
    Quantization { scale: f32::MAX, zero_point: -1 },
    Quantization { scale: 7.3e-4, zero_point: 0 },
];

fn s8(zero_point: i8) -> Element {
    Element::S8(Quantization { scale: 0.25, zero_point })
}

// ---------------------------------------------------------------- conversions

/// `quant::quantize` in f64: the product of two f32 is exact there.
fn quantized(x: f32, Quantization { scale, zero_point }: Quantization) -> i8 {
    let t = (f64::from(x) * f64::from(1.0 / scale)) as f32;
    let q = (f64::from(t).round_ties_even() + f64::from(zero_point)).clamp(-128.0, 127.0);
    if x.is_nan() { -128 } else { q as i8 }
}

/// Random values, and those at which rounding and bounds show: halves, their neighbours, infinities.
fn reals(random: &mut Random, scale: f32, len: usize) -> Vec<f32> {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0, 1e-42];
    let value = |_| {
        let half = (random.bits() % 600) as f32 * 0.5 - 150.0;
        let near = random.pick(&[half, half.next_up(), half.next_down(), half + 0.3]);
        if random.bits().is_multiple_of(9) { random.pick(&special) } else { near * scale }
    };
    (0..len).map(value).collect()
}

#[test]
fn every_kernel_quantizes_as_the_definition_does() {
    let mut random = Random(1);
    for (dims, quantization) in shapes().into_iter().flat_map(|d| QUANTIZATIONS.map(|q| (d, q))) {
        let x = reals(&mut random, quantization.scale, elements(dims));
        let expected: Vec<i8> = x.iter().map(|&x| quantized(x, quantization)).collect();
        let args = convert::Args::new(quantization, dims, &x).unwrap();
        check_kernels::<QuantizeF32>(&args, &expected, &format!("{dims:?} {quantization:?}"));
    }
}

#[test]
fn every_kernel_dequantizes_as_the_definition_does() {
    let mut random = Random(2);
    for (dims, quantization) in shapes().into_iter().flat_map(|d| QUANTIZATIONS.map(|q| (d, q))) {
        let x = random.bytes(elements(dims));
        let real = |&q: &i8| f64::from(i16::from(q) - i16::from(quantization.zero_point));
        let real = |q| (real(q) * f64::from(quantization.scale)) as f32;
        let expected: Vec<f32> = x.iter().map(real).collect();
        let args = convert::Args::new(quantization, dims, &x).unwrap();
        check_kernels::<DequantizeS8>(&args, &expected, &format!("{dims:?} {quantization:?}"));
    }
}

#[test]
fn values_go_to_s8_and_back_under_every_mask() {
    let mut random = Random(3);
    for (dims, quantization) in MAPS.into_iter().zip(QUANTIZATIONS) {
        let mut net = StrandBuilder::new();
        let x = net.input("x", dims);
        let q = net.step_to(x, dims, Element::S8(quantization), Op::Quantize);
        let y = net.step(q, dims, Op::Dequantize);
        net.output("y", y);
        let x = reals(&mut random, quantization.scale, elements(dims));
        let back = |&x: &f32| {
            let q = quantized(x, quantization);
            f32::from(i16::from(q) - i16::from(quantization.zero_point)) * quantization.scale
        };
        let expected: Vec<f32> = x.iter().map(back).collect();
        for (mask, cpu) in cpus() {
            assert_eq!(infer(&net.finish(), cpu, &x), expected, "{mask}");
        }
    }
}

// ---------------------------------------------------------------- pairs

/// What stands in for a second operand where only its dims count.
fn of_dims(dims: Dims) -> Source {
    Source::Weights { span: Span::default(), dims }
}

/// The step's formula without a limit of bits.
fn paired(pair: &PairS8, a: i8, b: i8) -> i8 {
    let (a, b) = (i64::from(a), i64::from(b));
    let value = match pair.function {
        FunctionS8::Sum { multipliers: [m, n] } => a * i64::from(m) + b * i64::from(n),
        FunctionS8::Product { zero_points: [y, z], multiplier } => {
            (a - i64::from(y)) * (b - i64::from(z)) * i64::from(multiplier)
        }
    };
    let scaled = (value + i64::from(pair.offset)).div_euclid(1 << pair.shift);
    scaled.clamp(pair.lo.into(), pair.hi.into()) as i8
}

/// Sums and products, usual and at the ends of what 32 bits hold, with a second operand of these dims.
fn pairs(dims: Dims) -> Vec<PairS8> {
    let sum = |m, n| FunctionS8::Sum { multipliers: [m, n] };
    let product = |y, z, multiplier| FunctionS8::Product { zero_points: [y, z], multiplier };
    let cases = [
        (sum(1, 1), 0, 0, -128, 127),
        (sum(19_661, 8_191), 1 << 14, 15, -128, 127),
        (sum(-300, 7), -12_345, 9, -7, 6),
        (sum(1 << 23, (1 << 23) - 1), 127, 24, -128, 127),
        (sum(-(1 << 22), -(1 << 22)), i32::MIN / 2 + 1, 31, -128, 127),
        (sum(0, 1_000), 0, 10, 3, 3),
        (product(0, 0, 1), 1 << 6, 7, -128, 127),
        (product(-128, 127, 33_025), 1_000, 23, -128, 127),
        (product(12, -3, -700), 1 << 14, 17, 0, 127),
    ];
    let pair = |(function, offset, shift, lo, hi)| PairS8 {
        function,
        other: of_dims(dims),
        offset,
        shift,
        lo,
        hi,
    };
    cases.map(pair).to_vec()
}

/// The map with some of its axes, as the bits say, shortened to 1.
fn shortened(dims: Dims, mask: u32) -> Dims {
    let pick = |bit: u32, len: u32| if mask >> bit & 1 == 1 { 1 } else { len };
    Dims { h: pick(0, dims.h), w: pick(1, dims.w), c: pick(2, dims.c) }
}

/// The formula over two maps, the second repeated.
fn paired_maps(pair: &PairS8, dims: Dims, x: &[i8], other: &[i8]) -> Vec<i8> {
    let own = pair.other.dims();
    let value = |y: u32, column: u32, c: u32| {
        let other = other[at(own, y % own.h, column % own.w, c % own.c)];
        f64::from(paired(pair, x[at(dims, y, column, c)], other))
    };
    each(dims, value).into_iter().map(|value| value as i8).collect()
}

#[test]
fn every_kernel_pairs_as_the_formula_says() {
    let mut random = Random(4);
    for (dims, mask) in shapes().into_iter().flat_map(|d| (0..8).map(move |mask| (d, mask))) {
        let own = shortened(dims, mask);
        for pair in pairs(own) {
            let (x, other) = (random.bytes(elements(dims)), random.bytes(elements(own)));
            let args = pair_s8::Args::new(&pair, dims, Some(&x), &other).unwrap();
            let expected = paired_maps(&pair, dims, &x, &other);
            check_kernels::<pair_s8::PairS8>(&args, &expected, &format!("{dims:?} {pair:?}"));
        }
    }
}

#[test]
fn every_pair_of_values_is_summed_and_multiplied_right() {
    let all = || i8::MIN..=i8::MAX;
    let x: Vec<i8> = all().flat_map(|a| all().map(move |_| a)).collect();
    let other: Vec<i8> = all().flat_map(|_| all()).collect();
    let dims = Dims { h: 256, w: 16, c: 16 };
    for pair in pairs(dims) {
        let args = pair_s8::Args::new(&pair, dims, Some(&x), &other).unwrap();
        let expected = paired_maps(&pair, dims, &x, &other);
        check_kernels::<pair_s8::PairS8>(&args, &expected, &format!("{pair:?}"));
    }
}

/// A net that pairs its input with constants, or with a part of the input.
fn pair_net(dims: Dims, pair: PairS8, other: Option<&[i8]>, in_place: bool) -> StrandBuilder {
    let own = pair.other.dims();
    let mut net = StrandBuilder::new();
    let x = net.input_of("x", dims, s8(5));
    let other = match other {
        Some(values) => Source::Weights { span: net.weights_of(values), dims: own },
        None => {
            let axis = |len: u32, stride: u32| (len, i32::try_from(stride).unwrap());
            let axes = [axis(own.h, dims.w * dims.c), axis(own.w, dims.c), axis(own.c, 1)];
            Source::Arena(net.step_to(x, own, s8(5), Op::Rearrange(view(&axes, 0))))
        }
    };
    let op = Op::PairS8(PairS8 { other, ..pair });
    let y = match in_place {
        true => net.step_in_place(x, op),
        false => net.step_to(x, dims, s8(-9), op),
    };
    net.output("y", y);
    net
}

#[test]
fn pairs_are_repeated_in_place_and_not_under_every_mask() {
    let mut random = Random(5);
    for (dims, mask) in MAPS.into_iter().flat_map(|dims| (0..8).map(move |mask| (dims, mask))) {
        let own = shortened(dims, mask);
        let (x, constant) = (random.bytes(elements(dims)), random.bytes(elements(own)));
        let part: Vec<i8> = each(own, |y, column, c| x[at(dims, y, column, c)].into())
            .iter()
            .map(|&v| v as i8)
            .collect();
        let pair = random.pick(&pairs(own));
        for in_place in [false, true] {
            let what = format!("{dims:?} {pair:?} in place: {in_place}");
            let net = pair_net(dims, pair, Some(&constant), in_place);
            check_s8(&net, &x, &paired_maps(&pair, dims, &x, &constant), &what);
            let net = pair_net(dims, pair, None, in_place);
            check_s8(&net, &x, &paired_maps(&pair, dims, &x, &part), &what);
        }
    }
}

// ---------------------------------------------------------------- tables

#[test]
fn every_kernel_looks_values_up() {
    let mut random = Random(6);
    for dims in shapes() {
        let (x, table) = (random.bytes(elements(dims)), random.bytes(256));
        let look = |&x: &i8| table[usize::try_from(i32::from(x) + 128).unwrap()];
        let expected: Vec<i8> = x.iter().map(look).collect();
        let args = table_s8::Args::new(&table, dims, Some(&x)).unwrap();
        check_kernels::<TableS8>(&args, &expected, &format!("{dims:?}"));
        for in_place in [false, true] {
            let mut net = StrandBuilder::new();
            let input = net.input_of("x", dims, s8(0));
            let op = Op::TableS8(net.weights_of(&table));
            let y = match in_place {
                true => net.step_in_place(input, op),
                false => net.step_to(input, dims, s8(1), op),
            };
            net.output("y", y);
            check_s8(&net, &x, &expected, &format!("{dims:?} in place: {in_place}"));
        }
    }
}

#[test]
fn a_table_has_a_value_for_each_integer() {
    let dims = Dims::vector(3);
    assert!(table_s8::Args::new(&[0; 255], dims, None).is_none());
    assert!(table_s8::Args::new(&[0; 257], dims, None).is_none());
    assert!(table_s8::Args::new(&[0; 256], dims, Some(&[0; 4])).is_none());
    let all: Vec<i8> = (i8::MIN..=i8::MAX).collect();
    let args = table_s8::Args::new(&all, dims, Some(&[-128, 0, 127])).unwrap();
    let mut y = [0; 3];
    TableS8::PORTABLE.run(Cpu::PORTABLE, &args, 0..1, &mut y, &mut []).unwrap();
    assert_eq!(y, [-128, 0, 127]);
}

// ---------------------------------------------------------------- pools

/// Windows over pictures of at least one pixel, some of which do not fit small ones.
fn windows() -> Vec<Window> {
    let window = |kernel, stride, dilation, pad: [u32; 4]| {
        let [top, left, bottom, right] = pad;
        let pad = Pad { top, left, bottom, right };
        Window { kernel, stride: Hw::square(stride), dilation: Hw::square(dilation), pad }
    };
    vec![
        window(Hw::square(2), 2, 1, [0; 4]),
        window(Hw::square(3), 2, 1, [1; 4]),
        window(Hw { h: 1, w: 4 }, 1, 1, [0, 3, 0, 1]),
        window(Hw { h: 3, w: 2 }, 3, 2, [2, 0, 4, 3]),
        // The first and the last windows are outside the picture.
        window(Hw::square(2), 1, 1, [3; 4]),
    ]
}

fn output(window: &Window, input: Dims) -> Option<Dims> {
    window.output(input.h, input.w).map(|Hw { h, w }| Dims { h, w, c: input.c })
}

/// The values under the window that lie inside the picture.
fn under(window: &Window, dims: Dims, x: &[i8], (y, column, c): (u32, u32, u32)) -> Vec<i8> {
    let Window { kernel, stride, dilation, pad } = window;
    let place = |at: u32, stride: u32, tap: u32, dilation: u32, pad: u32, len: u32| {
        (at * stride + tap * dilation).checked_sub(pad).filter(|&at| at < len)
    };
    let taps = (0..kernel.h).flat_map(|ky| (0..kernel.w).map(move |kx| (ky, kx)));
    let value = |(ky, kx)| {
        let row = place(y, stride.h, ky, dilation.h, pad.top, dims.h)?;
        let column = place(column, stride.w, kx, dilation.w, pad.left, dims.w)?;
        Some(x[at(dims, row, column, c)])
    };
    taps.filter_map(value).collect()
}

/// The mean of these of `count` values, in f64 but for the two divisions and the product.
fn mean(values: &[i8], count: usize, from: Quantization, to: Quantization) -> i8 {
    let distance = |&q: &i8| i64::from(q) - i64::from(from.zero_point);
    let sum: i64 = values.iter().map(distance).sum();
    let scale = (from.scale / to.scale) / count.max(1) as f32;
    let t = (sum as f32 * scale).clamp(-300.0, 300.0);
    let q = f64::from(t).round_ties_even() + f64::from(to.zero_point);
    q.clamp(-128.0, 127.0) as i8
}

const POOLED: [(Quantization, Quantization); 3] = [
    (Quantization { scale: 0.1, zero_point: -7 }, Quantization { scale: 0.1, zero_point: -7 }),
    (
        Quantization { scale: 0.03, zero_point: 127 },
        Quantization { scale: 0.021, zero_point: -128 },
    ),
    (Quantization { scale: 2.0, zero_point: -128 }, Quantization { scale: 0.4, zero_point: 55 }),
];

fn pooled(
    pool: Pool,
    window: &Window,
    dims: Dims,
    x: &[i8],
    (from, to): (Quantization, Quantization),
) -> Vec<i8> {
    let all = (window.kernel.h * window.kernel.w) as usize;
    let value = |y, column, c| {
        let values = under(window, dims, x, (y, column, c));
        f64::from(match pool {
            Pool::Max => values.into_iter().max().unwrap_or(-128),
            Pool::Average { count_include_pad: true } => mean(&values, all, from, to),
            Pool::Average { count_include_pad: false } => mean(&values, values.len(), from, to),
        })
    };
    let out = output(window, dims).unwrap();
    each(out, value).into_iter().map(|value| value as i8).collect()
}

const POOLS: [Pool; 3] = [
    Pool::Max,
    Pool::Average { count_include_pad: true },
    Pool::Average { count_include_pad: false },
];

#[test]
fn every_kernel_pools_as_the_formula_says() {
    let mut random = Random(7);
    for (dims, window) in
        shapes().into_iter().flat_map(|d| windows().into_iter().map(move |w| (d, w)))
    {
        let Some(out) = output(&window, dims) else { continue };
        for (pool, pair) in POOLS.into_iter().flat_map(|pool| POOLED.map(|pair| (pool, pair))) {
            let x = random.bytes(elements(dims));
            let args =
                pool_s8::Args::new(pool, &window, (dims, pair.0), (out, pair.1), &x).unwrap();
            let expected = pooled(pool, &window, dims, &x, pair);
            check_kernels::<PoolS8>(
                &args,
                &expected,
                &format!("{dims:?} {pool:?} {window:?} {pair:?}"),
            );
        }
    }
}

#[test]
fn pools_run_under_every_mask() {
    let mut random = Random(8);
    for (dims, (from, to)) in MAPS.into_iter().flat_map(|d| POOLED.map(|pair| (d, pair))) {
        let x = random.bytes(elements(dims));
        let whole = Window { kernel: Hw { h: dims.h, w: dims.w }, ..Window::POINT };
        let square = windows()[1];
        for (op, pool, window, to) in [
            (Op::GlobalAveragePool, POOLS[2], whole, to),
            (Op::AveragePool { window: square, count_include_pad: true }, POOLS[1], square, to),
            (Op::MaxPool(square), POOLS[0], square, from),
        ] {
            let Some(out) = output(&window, dims) else { continue };
            let mut net = StrandBuilder::new();
            let input = net.input_of("x", dims, Element::S8(from));
            let y = net.step_to(input, out, Element::S8(to), op);
            net.output("y", y);
            let expected = pooled(pool, &window, dims, &x, (from, to));
            check_s8(&net, &x, &expected, &format!("{dims:?} {op:?}"));
        }
    }
}

#[test]
fn extremes_of_large_windows_do_not_overflow() {
    let dims = Dims { h: 61, w: 67, c: 17 };
    let quantization = |zero_point| Quantization { scale: 1.0, zero_point };
    let whole = Window { kernel: Hw { h: 61, w: 67 }, ..Window::POINT };
    for (value, zero_point) in [(127, -128), (-128, 127)] {
        let (x, pair) = (vec![value; elements(dims)], (quantization(zero_point), quantization(0)));
        let args =
            pool_s8::Args::new(POOLS[2], &whole, (dims, pair.0), (Dims::vector(17), pair.1), &x);
        let expected = [if value > 0 { 127 } else { -128 }; 17];
        check_kernels::<PoolS8>(&args.unwrap(), &expected, "a mean beyond the ends");
    }
}

// ---------------------------------------------------------------- resampling

/// Runs and weights of one axis.
type Runs = Vec<(u32, Vec<i32>)>;

/// `output` random runs of `count` taps whose weights sum to one.
fn runs(random: &mut Random, count: u32, input: u32, output: u32) -> Runs {
    let entry = |_| {
        let first = random.bits() % (input - count + 1);
        let weight = |_| random.pick(&[0, 512, -300, 1024, 700]);
        let mut weights: Vec<i32> = (1..count).map(weight).collect();
        weights.push(resample_s8::ONE - weights.iter().sum::<i32>());
        (first, weights)
    };
    (0..output).map(entry).collect()
}

fn table(runs: &Runs) -> Vec<i32> {
    let entries = runs.iter().flat_map(|(first, w)| [&[first.cast_signed()], &w[..]].concat());
    entries.collect()
}

/// The step's formula in wide integers.
fn resampled(dims: Dims, rows: &Runs, columns: &Runs, x: &[i8]) -> Vec<i8> {
    let [h, w] = [rows, columns].map(|runs| u32::try_from(runs.len()).unwrap());
    let value = |y: u32, column: u32, c: u32| {
        let ((top, vertical), (left, horizontal)) = (&rows[y as usize], &columns[column as usize]);
        let taps =
            (*top..).zip(vertical).flat_map(|y| (*left..).zip(horizontal).map(move |x| (y, x)));
        let product = |((row, a), (column, b)): ((u32, &i32), (u32, &i32))| {
            i64::from(*a) * i64::from(*b) * i64::from(x[at(dims, row, column, c)])
        };
        let sum: i64 = taps.map(product).sum();
        (sum + (1 << 21)).div_euclid(1 << 22).clamp(-128, 127) as f64
    };
    each(Dims { h, w, c: dims.c }, value).into_iter().map(|value| value as i8).collect()
}

#[test]
fn every_kernel_resamples_as_the_formula_says() {
    let mut random = Random(9);
    let shapes = MAPS.into_iter().chain([Dims { h: 9, w: 4, c: 64 }, Dims { h: 3, w: 5, c: 131 }]);
    for dims in shapes {
        for (vertical, horizontal) in [(1, 1), (1, 2), (2, 1), (2, 2), (4, 3), (3, 5)] {
            let (vertical, horizontal) = (dims.h.min(vertical), dims.w.min(horizontal));
            let rows = runs(&mut random, vertical, dims.h, 7);
            let columns = runs(&mut random, horizontal, dims.w, 5);
            let x = random.bytes(elements(dims));
            let expected = resampled(dims, &rows, &columns, &x);
            let out = Dims { h: 7, w: 5, c: dims.c };

            let taps = |count| Taps { count, table: Span::default() };
            let op = Resample { rows: taps(vertical), columns: taps(horizontal) };
            let tables = (table(&rows), table(&columns));
            let args = resample_s8::Args::new(&op, dims, out, &x, (&tables.0, &tables.1)).unwrap();
            let what = format!("{dims:?} {vertical} x {horizontal}");
            check_kernels::<ResampleS8>(&args, &expected, &what);

            let mut net = StrandBuilder::new();
            net.scratch = dims.w * dims.c * 4;
            let input = net.input_of("x", dims, s8(77));
            let rows = Taps { count: vertical, table: net.weights_of(&tables.0) };
            let columns = Taps { count: horizontal, table: net.weights_of(&tables.1) };
            let op = Op::Resample(Resample { rows, columns });
            let y = net.step_to(input, out, s8(77), op);
            net.output("y", y);
            check_s8(&net, &x, &expected, &what);
        }
    }
}

#[test]
fn any_table_of_integers_is_read_without_harm() {
    let dims = Dims { h: 3, w: 2, c: 3 };
    let x = Random(10).bytes(elements(dims));
    let taps = |count| Taps { count, table: Span::default() };
    let op = Resample { rows: taps(2), columns: taps(1) };
    let ends = [i32::MIN, -1, 0, 1, 2, 99, i32::MAX];
    for (&first, &weight) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))) {
        let tables = ([first, weight, 1], [first, weight]);
        let out = Dims { h: 1, w: 1, c: 3 };
        let args = resample_s8::Args::new(&op, dims, out, &x, (&tables.0, &tables.1)).unwrap();
        let row = usize::try_from(first.clamp(0, 1)).unwrap();
        let value = |c: usize| {
            let of = |row: usize| i32::from(x[(row * 2 + row_of_column(first)) * 3 + c]);
            let sum = weight.wrapping_mul(of(row)).wrapping_add(of(row + 1));
            let scaled = sum.wrapping_mul(weight).wrapping_add(1 << 21) >> 22;
            scaled.clamp(-128, 127) as i8
        };
        check_kernels::<ResampleS8>(&args, &[value(0), value(1), value(2)], "wrapping");
    }
}

/// The only column of a run of one that begins at `first`, of two columns.
fn row_of_column(first: i32) -> usize {
    usize::try_from(first.clamp(0, 1)).unwrap()
}

// ---------------------------------------------------------------- copies

#[test]
fn copies_move_s8_values_as_they_are() {
    let (dims, element) = (Dims { h: 5, w: 7, c: 19 }, s8(-20));
    let x = Random(11).bytes(elements(dims));
    let run = |out: Dims, op| {
        let mut net = StrandBuilder::new();
        let input = net.input_of("x", dims, element);
        let y = net.step_to(input, out, element, op);
        net.output("y", y);
        net
    };
    let transposed = view(&[(19, 1), (5, 7 * 19), (7, 19)], 0);
    let out = Dims { h: 19, w: 5, c: 7 };
    let expected = each(out, |c, y, column| x[at(dims, y, column, c)].into());
    check_exactly(&run(out, Op::Rearrange(transposed)), &x, &expected, "a transpose");

    let pad = Pad { top: 1, left: 2, bottom: 0, right: 3 };
    let out = Dims { h: 6, w: 12, c: 19 };
    let inside =
        |y: u32, column: u32| y.checked_sub(1).zip(column.checked_sub(2).filter(|&x| x < 7));
    // 3.25 is 13 steps of 0.25 above the zero point.
    for (mode, fill) in [(PadMode::Constant(3.25), -7), (PadMode::Constant(f32::INFINITY), 127)] {
        let value = |y, column, c| match inside(y, column) {
            Some((y, column)) => x[at(dims, y, column, c)].into(),
            None => f64::from(fill),
        };
        check_exactly(&run(out, Op::Pad { pad, mode }), &x, &each(out, value), "constant padding");
    }
    let nearest = |at: u32, before: u32, len: u32| at.saturating_sub(before).min(len - 1);
    let value = |y, column, c| x[at(dims, nearest(y, 1, 5), nearest(column, 2, 7), c)].into();
    check_exactly(&run(out, Op::Pad { pad, mode: PadMode::Edge }), &x, &each(out, value), "edges");
}

fn check_exactly(net: &StrandBuilder, x: &[i8], expected: &[f64], what: &str) {
    let expected: Vec<i8> = expected.iter().map(|&value| value as i8).collect();
    check_s8(net, x, &expected, what);
}

#[test]
fn s8_maps_are_joined_by_channels() {
    let (dims, joined) = (Dims { h: 3, w: 5, c: 17 }, Dims { h: 3, w: 5, c: 34 });
    let x = Random(12).bytes(elements(dims));
    let mut net = StrandBuilder::new();
    let input = net.input_of("x", dims, s8(1));
    let table: Vec<i8> = (i8::MIN..=i8::MAX).rev().collect();
    let flipped = Op::TableS8(net.weights_of(&table));
    let flipped = net.step_to(input, dims, s8(1), flipped);
    let both = net.step_to(input, joined, s8(1), Op::CopyInto { at: [0, 0, 0] });
    net.steps.push(Step { input: flipped, output: both, op: Op::CopyInto { at: [0, 0, 17] } });
    net.output("y", both);
    let value = |y, column, c| {
        let value = x[at(dims, y, column, c % 17)];
        f64::from(if c < 17 { value } else { -1 - value })
    };
    check_exactly(&net, &x, &each(joined, value), "concatenation");
}

// ---------------------------------------------------------------- refusals

/// What a step between maps of these elements is refused with.
fn fault(input: Element, output: Element, op: Op) -> Option<StepFault> {
    let dims = Dims { h: 2, w: 2, c: 16 };
    let mut net = StrandBuilder::new();
    net.weights_of(&[1i8; 512]);
    let x = net.input_of("x", dims, input);
    let y = net.step_to(x, dims, output, op);
    net.output("y", y);
    match Model::new(&net.finish()) {
        Ok(_) => None,
        Err(FormatError::Step { fault, .. }) => Some(fault),
        Err(other) => panic!("{op:?}: {other}"),
    }
}

#[test]
fn values_of_another_type_than_the_operation_takes_are_refused() {
    let other = |len| {
        let span = Span { offset: 0, len };
        Source::Weights { span, dims: Dims { h: 2, w: 2, c: 16 } }
    };
    let pair = |len| Op::PairS8(PairS8 { other: other(len), ..pairs(Dims::vector(1))[0] });
    let table = Op::TableS8(Span { offset: 64, len: 256 });
    let average = Op::AveragePool { window: Window::POINT, count_include_pad: true };
    let (f32, s8, other) = (Element::F32, s8(3), s8(4));
    let refused = |role| Some(StepFault::Element { role });
    let (input, output) = (refused(Role::Input), refused(Role::Output));
    for (op, [both_f32, to_s8, to_f32, both_s8]) in [
        (Op::Quantize, [output, None, input, input]),
        (Op::Dequantize, [input, input, None, output]),
        (pair(64), [input, input, output, None]),
        (table, [input, input, output, None]),
        (Op::Softmax, [None, output, input, input]),
        (Op::MaxPool(Window::POINT), [None, output, output, output]),
        (average, [None, output, output, None]),
        (Op::CopyInto { at: [0; 3] }, [None, output, output, output]),
    ] {
        assert_eq!(fault(f32, f32, op), both_f32, "{op:?}");
        assert_eq!(fault(f32, s8, op), to_s8, "{op:?}");
        assert_eq!(fault(s8, f32, op), to_f32, "{op:?}");
        assert_eq!(fault(s8, other, op), both_s8, "{op:?}");
    }
    assert_eq!(fault(s8, s8, Op::CopyInto { at: [0; 3] }), None);
    let role = Role::Other;
    assert_eq!(fault(s8, s8, pair(256)), Some(StepFault::Length { role, expected: 64 }));
    let (role, table) = (Role::Table, Op::TableS8(Span { offset: 0, len: 255 }));
    assert_eq!(fault(s8, s8, table), Some(StepFault::Length { role, expected: 256 }));
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        let element = Element::S8(Quantization { scale, zero_point: 0 });
        let role = Role::Output;
        assert_eq!(fault(f32, element, Op::Quantize), Some(StepFault::Quantization { role }));
    }
}

#[test]
fn the_second_operand_of_a_pair_is_an_s8_map() {
    let dims = Dims { h: 1, w: 2, c: 16 };
    let fault = |element| {
        let mut net = StrandBuilder::new();
        let (x, other) = (net.input_of("x", dims, s8(0)), net.input_of("z", dims, element));
        let pair = PairS8 { other: Source::Arena(other), ..pairs(dims)[0] };
        let y = net.step_to(x, dims, s8(0), Op::PairS8(pair));
        net.output("y", y);
        Model::new(&net.finish()).err()
    };
    assert_eq!(fault(s8(9)), None);
    let fault = fault(Element::F32);
    let role = Role::Other;
    let expected = FormatError::Step { index: 0, fault: StepFault::Element { role } };
    assert_eq!(fault, Some(expected));
}

#[test]
fn integers_whose_sums_may_leave_32_bits_are_refused() {
    let sum = |m, n| FunctionS8::Sum { multipliers: [m, n] };
    let product = |multiplier| FunctionS8::Product { zero_points: [1, 2], multiplier };
    let most = i32::MAX;
    for (function, offset, shift, lo, hi, fits) in [
        (sum(1 << 23, (1 << 23) - 1), 127, 31, 0, 0, true),
        (sum(1 << 23, (1 << 23) - 1), 128, 0, 0, 0, false),
        (sum(1 << 23, -(1 << 23)), 0, 0, 0, 0, false),
        (sum(i32::MIN, i32::MIN), 0, 0, 0, 0, false),
        (sum(1, 0), -(most - 128), 0, 0, 0, true),
        (sum(1, 0), most - 127, 0, 0, 0, false),
        (sum(1, 0), i32::MIN, 0, 0, 0, false),
        (sum(0, 0), 0, 0, 0, 0, false),
        (sum(1, 1), 0, 32, 0, 0, false),
        (sum(1, 1), 0, 0, 1, 0, false),
        (product(33_025), most - 33_025 * 65_025, 0, 0, 0, true),
        (product(33_025), most - 33_025 * 65_025 + 1, 0, 0, 0, false),
        (product(-33_026), 0, 0, 0, 0, false),
        (product(0), 0, 0, 0, 0, false),
    ] {
        let other = Source::Weights { span: Span { offset: 0, len: 1 }, dims: Dims::vector(1) };
        let pair = PairS8 { function, other, offset, shift, lo, hi };
        let expected = (!fits).then_some(StepFault::Integers);
        assert_eq!(fault(s8(0), s8(0), Op::PairS8(pair)), expected, "{pair:?}");
    }
}

#[test]
fn means_of_more_values_than_32_bits_sum_are_refused() {
    let kernel = Hw { h: 2_903, w: 2_901 };
    assert!(u64::from(kernel.h * kernel.w) * 255 > 1 << 31);
    let pad = Pad { top: 2_902, left: 2_900, bottom: 0, right: 0 };
    let window = Window { kernel, pad, ..Window::POINT };
    let op = Op::AveragePool { window, count_include_pad: true };
    assert_eq!(fault(s8(0), s8(0), op), Some(StepFault::Integers));
    assert_eq!(fault(Element::F32, Element::F32, op), None);
    let window = Window { kernel: Hw { w: 2_900, ..kernel }, ..window };
    assert!(u64::from(kernel.h * 2_900) * 255 < 1 << 31);
    let window = Window { pad: Pad { left: 2_899, ..pad }, ..window };
    let op = Op::AveragePool { window, count_include_pad: true };
    assert_eq!(fault(s8(0), s8(0), op), None);
}
