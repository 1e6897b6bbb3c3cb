//! Constants that say one thing a channel, under whatever shape an exporter has given them.

use crate::tensor::{Tensor, elements};

/// A constant operand as the channels see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Channelwise {
    /// The same for all elements.
    Uniform(f32),
    /// One a channel.
    Each(Vec<f32>),
}

/// The constant broadcast to `shape` (ONNX's rule: axes aligned on the right, length 1 repeats);
/// `None` if that gives different values within one channel (axis 1).
pub(super) fn channelwise(constant: &Tensor, shape: &[usize]) -> Option<Channelwise> {
    let values = constant.as_f32()?;
    let first = *values.first()?;
    if values.iter().all(|v| v.to_bits() == first.to_bits()) {
        return Some(Channelwise::Uniform(first));
    }
    let (&channels, pixels) = (shape.get(1)?, elements(shape.get(2..)?)?);
    let mut each: Vec<Option<f32>> = vec![None; channels];
    for index in 0..elements(shape)? {
        let value = *values.get(broadcast_index(index, shape, constant.shape())?)?;
        let seen = each[index / pixels % channels].get_or_insert(value);
        if seen.to_bits() != value.to_bits() {
            return None;
        }
    }
    each.into_iter().collect::<Option<Vec<f32>>>().map(Channelwise::Each)
}

/// Where the element of `shape` with this row-major index lies in a constant of shape `from`.
fn broadcast_index(index: usize, shape: &[usize], from: &[usize]) -> Option<usize> {
    let missing = shape.len().checked_sub(from.len())?;
    let (mut rest, mut at, mut step) = (index, 0, 1);
    for (&length, &own) in shape.iter().rev().zip(from.iter().rev()).take(shape.len() - missing) {
        at += if own == 1 { 0 } else { rest % length * step };
        rest /= length;
        step *= own;
    }
    Some(at)
}
