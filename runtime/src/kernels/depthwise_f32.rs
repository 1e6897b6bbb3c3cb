//! Contract of the f32 depthwise convolution kernels ([`Layout::F32Dw16`](crate::step::Layout)).

use crate::dims::Window;
use crate::step::Border;

/// Channels in one block.
pub const NR: usize = 16;

/// Floats of packed weights: `ceil(c / 16) * kh * kw * 16`. `None` when the product overflows.
pub fn weights_len(window: &Window, c: u32) -> Option<usize> {
    let taps = usize::try_from(window.kernel.h.checked_mul(window.kernel.w)?).ok()?;
    channels(c)?.checked_mul(taps)
}

/// Floats of bias vectors: `border classes * ceil(c / 16) * 16`. Slopes: the same without classes.
///
/// `None` when the product overflows.
pub fn bias_len(border: Border, c: u32) -> Option<usize> {
    let (rows, columns) = border.classes();
    channels(c)?.checked_mul(usize::try_from(rows.checked_mul(columns)?).ok()?)
}

/// Channels filled up to whole blocks.
fn channels(c: u32) -> Option<usize> {
    usize::try_from(c).ok()?.checked_next_multiple_of(NR)
}
