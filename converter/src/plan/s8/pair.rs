//! Sums, differences and products of integers: of two maps, of a map and a constant, of a map and one number.

use super::super::error::Kind;
use super::super::lower::Lowering;
use super::super::view::aligned;
use super::channels::Channels;
use crate::graph::{Activation, Node, Quantization, ValueId};
use crate::reference;
use crate::tensor::Tensor;
use unbraid_runtime::step::{self, Binary, Element, FunctionS8, PairS8, Source};

/// Largest distance of an s8 value from 0.
const MAGNITUDE: i64 = 128;

/// Largest distance of an s8 value from a zero point.
const DISTANCE: i64 = 255;

/// Steps of the result by which rounded multipliers may move it.
const INEXACT: f64 = 1.0 / 64.0;

/// Two operands of integers and the result's.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Pairing {
    function: Binary,
    /// The operands change places.
    swapped: bool,
    operands: [step::Quantization; 2],
    output: step::Quantization,
    bounds: (i8, i8),
}

impl Pairing {
    /// What the result lies as.
    pub(in crate::plan) fn output(&self) -> Element {
        Element::S8(self.output)
    }

    /// The integers of a constant second operand.
    pub(in crate::plan) fn integers(&self, values: &[f32]) -> Vec<i8> {
        let [_, step::Quantization { scale, zero_point }] = self.operands;
        let grid = Quantization::of_activation(scale, zero_point);
        values.iter().map(|&v| grid.nearest(v.into())).collect()
    }

    /// The step; `None` where 32 bits do not hold it exactly enough.
    pub(in crate::plan) fn step(&self, other: Source) -> Option<PairS8> {
        (1..=30).rev().find_map(|shift| {
            let (function, largest) = self.function(shift)?;
            let zero = i64::from(self.output.zero_point) << shift;
            let offset = self.shifted(&function) + zero + (1 << (shift - 1));
            let fits = largest + offset.abs() <= i64::from(i32::MAX);
            let (lo, hi) = self.bounds;
            let offset = i32::try_from(offset).ok().filter(|_| fits)?;
            Some(PairS8 { function, other, offset, shift, lo, hi })
        })
    }

    /// Multipliers in units of `2^-shift`, and the largest magnitude of the function before its offset;
    /// `None` if they are too large, or too inexact.
    fn function(&self, shift: u8) -> Option<(FunctionS8, i64)> {
        let [a, b] = self.operands.map(|operand| f64::from(operand.scale));
        let (y, unit) = (f64::from(self.output.scale), f64::from(1_u32 << shift));
        let integer = |factor: f64| {
            let multiplier = (factor * unit).round_ties_even();
            (multiplier.abs() < f64::from(i32::MAX)).then_some(multiplier as i32)
        };
        // Beyond 255 steps a result is clamped.
        let steps = |factor: f64, most: i64| (DISTANCE as f64 / factor).min(most as f64);
        if let Binary::Mul = self.function {
            let factor = a * b / y;
            let multiplier = integer(factor).filter(|&multiplier| multiplier != 0)?;
            let exact = steps(factor, DISTANCE * DISTANCE) / unit <= INEXACT;
            let zero_points = self.operands.map(|operand| operand.zero_point);
            let largest = i64::from(multiplier).abs() * DISTANCE * DISTANCE;
            return exact.then_some((FunctionS8::Product { zero_points, multiplier }, largest));
        }
        let negative = (self.function == Binary::Sub).then_some(usize::from(!self.swapped));
        let sign = |operand: usize| if negative == Some(operand) { -1.0 } else { 1.0 };
        let multipliers = [integer(a / y * sign(0))?, integer(b / y * sign(1))?];
        let exact = 2.0 * DISTANCE as f64 / unit <= INEXACT && multipliers != [0, 0];
        let largest = multipliers.iter().map(|&m| i64::from(m).abs() * MAGNITUDE).sum();
        exact.then_some((FunctionS8::Sum { multipliers }, largest))
    }

    /// What the zero points of the operands contribute to the offset.
    fn shifted(&self, function: &FunctionS8) -> i64 {
        let FunctionS8::Sum { multipliers } = function else { return 0 };
        let share = |(&m, operand): (&i32, &step::Quantization)| {
            -i64::from(m) * i64::from(operand.zero_point)
        };
        multipliers.iter().zip(&self.operands).map(share).sum()
    }
}

impl Lowering<'_> {
    /// The arithmetic of a node whose first operand lies as integers and whose second one does too, or is
    /// constant, and whose result is to; `None` where steps have no such function.
    pub(in crate::plan) fn pairing(
        &self,
        node: &Node,
        function: Binary,
        (first, second, swapped): (ValueId, ValueId, bool),
        activation: &Activation,
    ) -> Option<Pairing> {
        let [own, output] = self.grids(first, node.output)?;
        let other = match &self.graph.get(second).constant {
            Some(constant) => self.grid_of(second, constant)?,
            None => self.kept(second).quantization()?,
        };
        let plain = matches!(activation, Activation::None | Activation::Clamp { .. });
        let known = matches!(function, Binary::Add | Binary::Sub | Binary::Mul);
        let (lo, hi) = super::dense::bounds(activation, Element::S8(output));
        let q = |steps: f32| (steps.round_ties_even() + f32::from(output.zero_point)) as i8;
        let bounds = (q(lo), q(hi));
        let pairing = Pairing { function, swapped, operands: [own, other], output, bounds };
        let source = Source::Arena(step::Operand::default());
        (plain && known && pairing.step(source).is_some()).then_some(pairing)
    }

    /// The grid of a constant operand: its own, or one from its smallest to its largest value.
    fn grid_of(&self, id: ValueId, constant: &Tensor) -> Option<step::Quantization> {
        let own = self.graph.get(id).quantization.as_ref();
        if let Some(own) = own.and_then(Quantization::per_tensor) {
            return Some(own);
        }
        let values = constant.as_f32()?.iter().map(|&v| f64::from(v));
        let lo = values.clone().fold(0.0, f64::min);
        let hi = values.fold(0.0, f64::max);
        let scale = ((hi - lo) / 255.0) as f32;
        let zero_point = (-128.0 - lo / f64::from(scale)).round_ties_even();
        let usable = scale.is_normal() && zero_point.is_finite();
        usable.then_some(step::Quantization { scale, zero_point: zero_point as i8 })
    }

    /// Appends the 8-bit step of a function of one map and a constant that has one value, or one a
    /// channel, or of a map and itself. Returns whether.
    pub(in crate::plan) fn with_constant_s8(
        &mut self,
        node: &Node,
        function: Binary,
        (first, second, swapped): (ValueId, ValueId, bool),
        activation: &Activation,
    ) -> Result<bool, Kind> {
        let combined = |x: f64, other: f64| {
            let (a, b) = if swapped { (other, x) } else { (x, other) };
            reference::activate(reference::combine(function, a, b), activation, 0)
        };
        let per_channel = matches!(activation, Activation::PRelu { .. });
        if first == second && !per_channel {
            return self.table(node, first, |x| combined(x, x));
        }
        let shape = self.graph.shape(node.output);
        let constant = self.graph.get(second).constant.as_ref().and_then(Tensor::as_f32);
        match constant {
            Some(_) if self.graph.shape(first) != shape => Ok(false),
            Some(&[other]) if !per_channel => {
                self.table(node, first, |x| combined(x, other.into()))
            }
            Some(values) if is_per_channel(shape, self.graph.shape(second)) => {
                let affine = affine(function, swapped, values, activation);
                affine.map_or(Ok(false), |channels| self.channels_s8(node, first, &channels))
            }
            _ => Ok(false),
        }
    }
}

/// Whether a constant of shape `own` has one value a channel of `shape`.
fn is_per_channel(shape: &[usize], own: &[usize]) -> bool {
    let own = aligned(own, shape.len());
    let along = |(axis, &length): (usize, &usize)| length == if axis == 1 { shape[1] } else { 1 };
    (2..=4).contains(&shape.len()) && own.iter().enumerate().all(along)
}

/// A function of x and a constant a channel as factor and shift, if it is one.
fn affine<'a>(
    function: Binary,
    swapped: bool,
    values: &[f32],
    activation: &'a Activation,
) -> Option<Channels<'a>> {
    let all = |factor: f64| vec![factor; values.len()];
    let each = |f: fn(f64) -> f64| values.iter().map(|&v| f(v.into())).collect();
    let (factors, shifts) = match (function, swapped) {
        (Binary::Add, _) => (all(1.0), values.to_vec()),
        (Binary::Sub, false) => (all(1.0), values.iter().map(|v| -v).collect()),
        (Binary::Sub, true) => (all(-1.0), values.to_vec()),
        (Binary::Mul, _) => (each(|v| v), vec![0.0; values.len()]),
        (Binary::Div, false) => (each(|v| 1.0 / v), vec![0.0; values.len()]),
        _ => return None,
    };
    let numbers = factors.iter().all(|factor: &f64| factor.is_finite());
    numbers.then_some(Channels { factors, shifts, activation })
}
