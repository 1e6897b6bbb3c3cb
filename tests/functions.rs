//! Functions of one value and of two: every kernel under every CPU mask, against the formula in f64.
#![forbid(unsafe_code)]

use unbraid_runtime::Cpu;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::kernels::contract::Contract;
use unbraid_runtime::kernels::elementwise_f32::{Args, ElementwiseF32, Operation, Pairing};
use unbraid_runtime::step::{Activation, Binary, Function, Op, Source};
use unbraid_tests::execute::cpus;
use unbraid_tests::formula::{MAPS, at, check, each, infer, one_step};
use unbraid_tests::rng::Random;
use unbraid_tests::steps::view;
use unbraid_tests::strand_builder::StrandBuilder;

type Unary = fn(f64) -> f64;
type Pair = fn(f64, f64) -> f64;

/// Every function, and its value in f64.
const FUNCTIONS: [(Function, Unary); 22] = [
    (Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
    (Function::Tanh, f64::tanh),
    (Function::Erf, libm::erf),
    (Function::Gelu, |x| 0.5 * x * libm::erfc(-x / 2f64.sqrt())),
    (Function::HardSigmoid { alpha: 0.2, beta: 0.5 }, |x| {
        (f64::from(0.2f32) * x + 0.5).clamp(0.0, 1.0)
    }),
    (Function::HardSigmoid { alpha: -1.5, beta: 0.25 }, |x| (-1.5 * x + 0.25).clamp(0.0, 1.0)),
    (Function::HardSwish, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
    (Function::Silu, |x| x / (1.0 + (-x).exp())),
    (Function::Exp, f64::exp),
    (Function::Sqrt, f64::sqrt),
    (Function::Softplus, |x| x.exp().ln_1p()),
    (Function::Mish, |x| x * x.exp().ln_1p().tanh()),
    (Function::Elu { alpha: 1.0 }, |x| if x < 0.0 { x.exp_m1() } else { x }),
    (Function::Elu { alpha: -0.75 }, |x| if x < 0.0 { -0.75 * x.exp_m1() } else { x }),
    (Function::Abs, f64::abs),
    (Function::Neg, |x| -x),
    (Function::Reciprocal, |x| 1.0 / x),
    (Function::Log, f64::ln),
    (Function::Floor, f64::floor),
    (Function::Ceil, f64::ceil),
    (Function::Round, f64::round_ties_even),
    (Function::Sign, f64::signum),
];

#[test]
fn every_function_is_within_its_bound_under_every_mask() {
    let x: Vec<f32> = (-40_000..40_001).map(|k| k as f32 * 0.0011 + 1e-4).collect();
    let dims = Dims { h: 1, w: x.len() as u32, c: 1 };
    for (function, formula) in FUNCTIONS {
        let file = one_step(dims, dims, Op::Apply(function)).finish();
        let portable = infer(&file, Cpu::PORTABLE, &x);
        for (&x, &found) in x.iter().zip(&portable) {
            let expected = formula(x.into());
            let error = (f64::from(found) - expected).abs();
            let nan = found.is_nan() && expected.is_nan();
            let close = error <= f64::max(1e-6 * expected.abs(), 1e-7);
            assert!(nan || close, "{function:?} of {x} is {found}, should be {expected}");
        }
        for (mask, cpu) in cpus() {
            let other = infer(&file, cpu, &x);
            let same = other.iter().zip(&portable).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{function:?}: {mask} differs from portable");
        }
    }
}

#[test]
fn functions_of_extremes_are_their_limits() {
    let dims = Dims::vector(4);
    let x = [1e30, -1e30, 0.0, f32::NAN];
    for (function, _) in FUNCTIONS {
        for (mask, cpu) in cpus() {
            let y = infer(&one_step(dims, dims, Op::Apply(function)).finish(), cpu, &x);
            assert!(y[3].is_nan(), "{function:?} loses NaN under {mask}");
        }
    }
    let limits = [
        (Function::Sigmoid, [1.0, 0.0]),
        (Function::Tanh, [1.0, -1.0]),
        (Function::Erf, [1.0, -1.0]),
        (Function::HardSigmoid { alpha: 0.2, beta: 0.5 }, [1.0, 0.0]),
        (Function::HardSwish, [1e30, 0.0]),
        (Function::Exp, [f32::INFINITY, 0.0]),
        (Function::Gelu, [1e30, 0.0]),
        (Function::Silu, [1e30, 0.0]),
        (Function::Softplus, [1e30, 0.0]),
        (Function::Mish, [1e30, 0.0]),
        (Function::Elu { alpha: 2.0 }, [1e30, -2.0]),
    ];
    for (function, limits) in limits {
        let y = infer(&one_step(dims, dims, Op::Apply(function)).finish(), Cpu::detect(), &x);
        assert_eq!(y[..2], limits, "{function:?}");
    }
}

const BINARIES: [(Binary, Pair); 12] = [
    (Binary::Add, |a, b| a + b),
    (Binary::Sub, |a, b| a - b),
    (Binary::Mul, |a, b| a * b),
    (Binary::Div, |a, b| a / b),
    (Binary::Min, f64::min),
    (Binary::Max, f64::max),
    (Binary::Pow, f64::powf),
    (Binary::Equal, |a, b| f64::from(a == b)),
    (Binary::Greater, |a, b| f64::from(a > b)),
    (Binary::GreaterOrEqual, |a, b| f64::from(a >= b)),
    (Binary::Keep, |a, b| if a == 0.0 { 0.0 } else { b }),
    (Binary::Drop, |a, b| if a == 0.0 { b } else { 0.0 }),
];

/// The map with some of its axes, as the bits say, shortened to 1.
fn shortened(dims: Dims, mask: u32) -> Dims {
    let pick = |bit: u32, len: u32| if mask >> bit & 1 == 1 { 1 } else { len };
    Dims { h: pick(0, dims.h), w: pick(1, dims.w), c: pick(2, dims.c) }
}

/// Where the second operand of these dims has the value of a pixel and channel.
fn repeated(own: Dims, y: u32, x: u32, c: u32) -> usize {
    at(own, y % own.h, x % own.w, c % own.c)
}

/// Numbers between 0.5 and 1.5, so that quotients and powers stay near 1.
fn positive(random: &mut Random, len: usize) -> Vec<f32> {
    random.vec(len).iter().map(|x| x * 0.5 + 1.0).collect()
}

/// The same numbers; for functions that tell equal ones and zeros, whole ones from -2 to 2.
fn operands(function: Binary, values: &[f32]) -> Vec<f32> {
    use Binary::{Drop, Equal, Greater, GreaterOrEqual, Keep};
    let coarse = matches!(function, Equal | Greater | GreaterOrEqual | Keep | Drop);
    let operand = |&v: &f32| if coarse { (v * 4.0).round() - 4.0 } else { v };
    values.iter().map(operand).collect()
}

#[test]
fn every_function_of_two_values_matches_its_formula_under_every_mask() {
    let mut random = Random(11);
    for dims in MAPS {
        let x = positive(&mut random, dims.elements().unwrap());
        for (mask, (function, formula)) in (0..8).flat_map(|m| BINARIES.map(|b| (m, b))) {
            let own = shortened(dims, mask);
            let constant = positive(&mut random, own.elements().unwrap());
            let (x, constant) = (operands(function, &x), operands(function, &constant));
            for swapped in [false, true] {
                let mut net = StrandBuilder::new();
                let input = net.input("x", dims);
                let other = Source::Weights { span: net.weights(&constant), dims: own };
                let slopes = net.weights(&vec![0.5; dims.c as usize]);
                let activation = Activation::PRelu { slopes };
                let op = Op::Binary { function, other, swapped, activation };
                let y = net.step(input, dims, op);
                net.output("y", y);
                let expected = each(dims, |y, column, c| {
                    let a = f64::from(x[at(dims, y, column, c)]);
                    let b = f64::from(constant[repeated(own, y, column, c)]);
                    let y = if swapped { formula(b, a) } else { formula(a, b) };
                    if y < 0.0 { 0.5 * y } else { y }
                });
                check(&net, &x, &expected, &format!("{op:?} {dims:?} {own:?}"));
            }
        }
    }
}

/// Two inputs, `other` of which is shortened, combined in place or not; and a copy of `other`.
fn of_two_maps(dims: Dims, own: Dims, op: impl Fn(Source) -> Op, in_place: bool) -> StrandBuilder {
    let mut net = StrandBuilder::new();
    let input = net.input("x", dims);
    let narrow = view(
        &[
            (own.h, i32::try_from(dims.w * dims.c).unwrap()),
            (own.w, i32::try_from(dims.c).unwrap()),
            (own.c, 1),
        ],
        0,
    );
    let other = Source::Arena(net.step(input, own, Op::Rearrange(narrow)));
    let y = if in_place {
        net.step_in_place(input, op(other))
    } else {
        net.step(input, dims, op(other))
    };
    net.output("y", y);
    net
}

#[test]
fn computed_operands_are_repeated_in_place_and_not() {
    let mut random = Random(12);
    for (dims, mask) in MAPS.into_iter().flat_map(|dims| (0..8).map(move |mask| (dims, mask))) {
        let (x, own) = (random.vec(dims.elements().unwrap()), shortened(dims, mask));
        for in_place in [false, true] {
            let op = |other| Op::Binary {
                function: Binary::Sub,
                other,
                swapped: in_place,
                activation: Activation::None,
            };
            let expected = each(dims, |y, column, c| {
                let a = f64::from(x[at(dims, y, column, c)]);
                let (y, column, c) = (y % own.h, column % own.w, c % own.c);
                let b = f64::from(x[at(dims, y, column, c)]);
                if in_place { b - a } else { a - b }
            });
            let net = of_two_maps(dims, own, op, in_place);
            check(&net, &x, &expected, &format!("{dims:?} {own:?} in place: {in_place}"));
        }
    }
}

#[test]
fn powers_and_extrema_keep_what_is_no_number() {
    let dims = Dims::vector(4);
    let x = [-2.0, -2.0, f32::NAN, 3.0];
    let other = [3.0, 0.5, 1.0, f32::NAN];
    let run = |function| {
        let mut net = StrandBuilder::new();
        let input = net.input("x", dims);
        let other = Source::Weights { span: net.weights(&other), dims };
        let activation = Activation::None;
        let op = Op::Binary { function, other, swapped: false, activation };
        let y = net.step(input, dims, op);
        net.output("y", y);
        infer(&net.finish(), Cpu::detect(), &x)
    };
    let pow = run(Binary::Pow);
    assert!(pow[0] == -8.0 && pow[1..].iter().all(|y| y.is_nan()), "{pow:?}");
    for function in [Binary::Min, Binary::Max] {
        let y = run(function);
        assert!(y[2].is_nan() && y[3] == 3.0, "comparisons with NaN keep the first: {y:?}");
    }
}

/// What a kernel must leave as it is.
const GUARD: f32 = -7.25e17;

#[test]
fn every_kernel_writes_its_band_and_nothing_around_it() {
    let (dims, row) = (Dims { h: 5, w: 7, c: 19 }, 7 * 19);
    let mut random = Random(13);
    let x = random.vec(5 * row);
    for mask in 0..8 {
        let own = shortened(dims, mask);
        let other = positive(&mut random, own.elements().unwrap());
        let pairing = Pairing { function: Binary::Div, swapped: true, other: &other, dims: own };
        let operations = [Operation::Pair(pairing), Operation::Apply(Function::Gelu)];
        for (operation, kernel) in
            operations.into_iter().flat_map(|o| ElementwiseF32::LIST.iter().map(move |k| (o, k)))
        {
            let cpu = Cpu::detect();
            if !cpu.has(kernel.needs) {
                continue;
            }
            let args = Args::new(operation, dims, Some(&x), Activation::None, &[]).unwrap();
            let mut whole = vec![0.0; 5 * row];
            kernel.run(cpu, &args, 0..5, &mut whole, &mut []).unwrap();
            for (first, last) in [(0, 1), (1, 3), (2, 5), (4, 5), (3, 3)] {
                let mut y = vec![GUARD; (last - first) * row + 2];
                let inner = 1..y.len() - 1;
                kernel.run(cpu, &args, first..last, &mut y[inner.clone()], &mut []).unwrap();
                assert_eq!(y[inner], whole[first * row..last * row], "{}", kernel.name);
                assert!(y[0] == GUARD && y[y.len() - 1] == GUARD, "{}", kernel.name);
            }
            let mut y = vec![GUARD; row];
            assert_eq!(kernel.run(cpu, &args, 5..6, &mut y, &mut []), None);
            assert_eq!(kernel.run(cpu, &args, 0..2, &mut y, &mut []), None);
            assert!(y.iter().all(|&y| y == GUARD), "refused, but wrote");
        }
    }
}
