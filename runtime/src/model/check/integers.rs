//! Proofs of 8-bit steps: that an operation takes the elements it is given, and that its sums stay
//! inside 32 bits.

use super::{Role, StepFault};
use crate::dims::Hw;
use crate::step::{Element, FunctionS8, Op, PairS8, Step};

/// Whether the operation takes values of these types.
pub(super) fn check_elements(step: &Step) -> Result<(), StepFault> {
    let (input, output) = (step.input.element, step.output.element);
    let is_f32 = |element: Element| element.quantization().is_none();
    let fits = match step.op {
        Op::Quantize => (is_f32(input), !is_f32(output)),
        Op::Dequantize => (!is_f32(input), is_f32(output)),
        Op::PairS8(_) | Op::TableS8(_) => (!is_f32(input), !is_f32(output)),
        Op::ConvS8(_) => (!is_f32(input), true),
        Op::CopyInto { .. }
        | Op::Rearrange(_)
        | Op::Pad { .. }
        | Op::MaxPool(_)
        | Op::Resample(_) => (true, input == output),
        Op::AveragePool { .. } | Op::GlobalAveragePool => (true, is_f32(input) == is_f32(output)),
        _ => (is_f32(input), is_f32(output)),
    };
    let role = match fits {
        (true, true) => return Ok(()),
        (true, false) => Role::Output,
        (false, _) => Role::Input,
    };
    Err(StepFault::Element { role })
}

/// Largest distance of an s8 value from 0.
const MAGNITUDE: u64 = 128;

/// Largest distance of an s8 value from a zero point.
const DISTANCE: u64 = 255;

/// Whether the sum over a window of 8-bit values stays inside 32 bits.
pub(super) fn check_mean(element: Element, window: Hw) -> Result<(), StepFault> {
    let taps = u64::from(window.h).saturating_mul(window.w.into());
    let largest = taps.saturating_mul(DISTANCE);
    match element == Element::F32 || largest <= i32::MAX.unsigned_abs().into() {
        true => Ok(()),
        false => Err(StepFault::Integers),
    }
}

/// Whether the integers mean something, and no sum of theirs overflows.
pub(super) fn check_pair(pair: &PairS8) -> Result<(), StepFault> {
    let multiplied = match pair.function {
        FunctionS8::Sum { multipliers: [a, b] } => {
            let sum = u64::from(a.unsigned_abs()).checked_add(b.unsigned_abs().into());
            sum.and_then(|sum| sum.checked_mul(MAGNITUDE))
        }
        FunctionS8::Product { multiplier, .. } => {
            u64::from(multiplier.unsigned_abs()).checked_mul(DISTANCE * DISTANCE)
        }
    };
    let largest = multiplied.filter(|&product| product > 0);
    let largest =
        largest.and_then(|product| product.checked_add(pair.offset.unsigned_abs().into()));
    let fits = largest.is_some_and(|largest| largest <= i32::MAX.unsigned_abs().into());
    match fits && pair.shift <= 31 && pair.lo <= pair.hi {
        true => Ok(()),
        false => Err(StepFault::Integers),
    }
}
