//! Proof of s8 convolutions: lengths of all tensors, bounds of the results, sums that 32 bits hold.

use super::{Bounds, Role, StepFault, check_border, slide};
use crate::dims::Dims;
use crate::kernels::{conv_s8, depthwise_s8};
use crate::step::{Border, ConvS8, Element, LayoutS8, Operand};

impl Bounds {
    pub(super) fn conv_s8(
        &self,
        conv: &ConvS8,
        input: &Operand,
        output: &Operand,
    ) -> Result<Dims, StepFault> {
        let expected = slide(&conv.window, input.dims, output.dims.c)?;
        if output.dims != expected {
            return Err(StepFault::Shape { expected });
        }
        check_border(conv.border, expected)?;
        let sizes = sizes(conv, input.dims, expected).ok_or(StepFault::Groups)?;
        if sizes.depth > conv_s8::MAX_DEPTH {
            return Err(StepFault::Products { most: conv_s8::MAX_DEPTH });
        }
        self.bytes(conv.weights, Role::Weights, Some(sizes.weights))?;
        self.weights(conv.bias, Role::Bias, Some(sizes.bias))?;
        self.weights(conv.sums, Role::Sums, Some(sizes.vector))?;
        self.weights(conv.scale, Role::Scale, Some(sizes.vector))?;
        let negative = if conv.negative.len == 0 { 0 } else { sizes.vector };
        self.weights(conv.negative, Role::Negative, Some(negative))?;
        check_bounds(conv, output.element)?;
        self.stated_scratch(conv.scratch, sizes.scratch)?;
        Ok(expected)
    }
}

/// Results are numbers, and of s8 where the output is.
fn check_bounds(conv: &ConvS8, output: Element) -> Result<(), StepFault> {
    let ConvS8 { lo, hi, .. } = *conv;
    let inside = output.quantization().is_none_or(|quantization| {
        let zero = f32::from(quantization.zero_point);
        lo + zero >= -128.0 && hi + zero <= 127.0
    });
    if inside && lo <= hi { Ok(()) } else { Err(StepFault::Activation) }
}

/// Lengths that the layout demands.
struct Sizes {
    /// Bytes.
    weights: usize,
    /// Values.
    bias: usize,
    /// Values of what is one vector.
    vector: usize,
    /// Bytes.
    scratch: usize,
    /// Products of one sum.
    depth: usize,
}

/// `None` where the groups do not fit, or a length cannot be addressed.
fn sizes(conv: &ConvS8, input: Dims, output: Dims) -> Option<Sizes> {
    let ConvS8 { window, groups, layout, border, .. } = conv;
    let taps = window.kernel.h.checked_mul(window.kernel.w)?;
    let depth = taps.checked_mul(input.c.checked_div(*groups)?)?;
    let depth = usize::try_from(depth).ok()?;
    match layout {
        LayoutS8::Nr16Kr4 | LayoutS8::Nr16Kr4Bits4 => Some(Sizes {
            weights: conv_s8::weights_len(*layout, window, *groups, input.c, output.c)?,
            bias: conv_s8::bias_len(*border, *groups, output.c)?,
            vector: conv_s8::bias_len(Border::default(), *groups, output.c)?,
            scratch: conv_s8::scratch_len(*layout, window, *groups, input, output, 1)?,
            depth,
        }),
        LayoutS8::Dw16 if input.c == output.c && *groups == input.c => Some(Sizes {
            weights: depthwise_s8::weights_len(window, output.c)?,
            bias: depthwise_s8::bias_len(*border, output.c)?,
            vector: depthwise_s8::bias_len(Border::default(), output.c)?,
            scratch: depthwise_s8::scratch_len(window)?,
            depth,
        }),
        LayoutS8::Dw16 => None,
    }
}
