//! The oracle's reductions and normalisations, along any axes.

use super::Array;
use super::array::Broadcast;
use crate::graph::Reduction;

/// All elements along the axes, which have length 1 in the result; `None` if one of them is missing.
pub(super) fn reduced(x: &Array, function: Reduction, axes: &[usize]) -> Option<Array> {
    let (start, combine): (f64, fn(f64, f64) -> f64) = match function {
        Reduction::Sum | Reduction::Mean => (0.0, |a, b| a + b),
        Reduction::Max => (f64::NEG_INFINITY, f64::max),
        Reduction::Min => (f64::INFINITY, f64::min),
        Reduction::Product => (1.0, |a, b| a * b),
    };
    let mut shape = x.shape.clone();
    let mut count = 1;
    for &axis in axes {
        count *= std::mem::replace(shape.get_mut(axis)?, 1);
    }
    let mut values = vec![start; shape.iter().product()];
    for (number, &value) in x.values.iter().enumerate() {
        let to = place(number, &x.shape, &shape);
        values[to] = combine(values[to], value);
    }
    if function == Reduction::Mean {
        values.iter_mut().for_each(|value| *value /= count as f64);
    }
    Array::new(shape, values)
}

/// `(x - mean) / sqrt(variance + eps)`; `None` if an axis is missing.
pub(super) fn normalised(x: &Array, axes: &[usize], centred: bool, eps: f64) -> Option<Array> {
    let mean = if centred {
        reduced(x, Reduction::Mean, axes)?
    } else {
        Array { shape: vec![], values: vec![0.0] }
    };
    let broadcast = Broadcast::new(&x.shape, &mean.shape)?;
    let centred = broadcast.apply(&x.values, &mean.values, |x, mean| x - mean);
    let squares = centred.clone().map(|x| x * x);
    let variance = reduced(&squares, Reduction::Mean, axes)?;
    let broadcast = Broadcast::new(&x.shape, &variance.shape)?;
    Some(
        broadcast
            .apply(&centred.values, &variance.values, |x, variance| x / (variance + eps).sqrt()),
    )
}

/// The number of the element, in a shape of which some axes have length 1, that belongs to element
/// `number` of `shape`.
fn place(number: usize, shape: &[usize], reduced: &[usize]) -> usize {
    let (mut rest, mut place, mut step) = (number, 0, 1);
    for (&length, &kept) in shape.iter().zip(reduced).rev() {
        place += if kept == 1 { 0 } else { rest % length * step };
        rest /= length;
        step *= kept;
    }
    place
}
