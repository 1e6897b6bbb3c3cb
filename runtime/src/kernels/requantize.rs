//! [`Requantize`]: how the sums of an s8 convolution become values of its output. `quant.rs` is the
//! arithmetic.

#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

use super::conv_f32::NR;
use super::conv_s8::Tensors;
use crate::quant::{clamp, to_s8};
use crate::step::{ConvS8, Element};

/// Factors and bounds; the results are s8 or f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requantize<'a> {
    scale: &'a [f32],
    /// As `scale`, for negative sums; empty if they are the same.
    negative: &'a [f32],
    bounds: (f32, f32),
    /// Of an s8 output.
    zero_point: Option<i8>,
}

impl<'a> Requantize<'a> {
    /// `None` when there are not `vector` factors, or neither none nor `vector` of negative sums.
    pub(super) fn new(
        conv: &ConvS8,
        output: Element,
        tensors: &Tensors<'a>,
        vector: usize,
    ) -> Option<Self> {
        let Tensors { scale, negative, .. } = *tensors;
        let zero_point = output.quantization().map(|quantization| quantization.zero_point);
        let fits = scale.len() == vector && (negative.is_empty() || negative.len() == vector);
        fits.then_some(Self { scale, negative, bounds: (conv.lo, conv.hi), zero_point })
    }

    /// Bytes of one result.
    pub(super) fn size(&self) -> usize {
        if self.zero_point.is_some() { size_of::<i8>() } else { size_of::<f32>() }
    }

    /// Writes the results of neighbouring channels, of which `at` is the first of the factors: as many
    /// as `y` has room for.
    pub(super) fn write(&self, sums: &[i32; NR], at: usize, y: &mut [u8]) -> Option<()> {
        let scale = self.scale.get(at..)?.first_chunk::<NR>()?;
        let negative = match self.negative {
            [] => scale,
            negative => negative.get(at..)?.first_chunk::<NR>()?,
        };
        let factors = scale.iter().zip(negative);
        let products = sums
            .iter()
            .zip(factors)
            .map(|(&sum, (&scale, &negative))| sum as f32 * if sum < 0 { negative } else { scale });
        let (lo, hi) = self.bounds;
        if let Some(zero_point) = self.zero_point {
            for (y, t) in y.iter_mut().zip(products) {
                *y = to_s8(t, (lo, hi), zero_point).cast_unsigned();
            }
        } else {
            for (y, t) in y.as_chunks_mut().0.iter_mut().zip(products) {
                *y = clamp(t, lo, hi).to_ne_bytes();
            }
        }
        Some(())
    }
}
