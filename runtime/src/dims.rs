//! [`Dims`] of a feature map and [`Window`], the geometry that convolutions and pools share.

use serde::{Deserialize, Serialize};

/// Height, width and channels of one feature map, stored NHWC with N = 1.
///
/// A vector of `n` values is `1 x 1 x n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dims {
    /// Rows.
    pub h: u32,
    /// Columns.
    pub w: u32,
    /// Channels: neighbours in memory.
    pub c: u32,
}

impl Dims {
    /// A vector.
    pub const fn vector(c: u32) -> Self {
        Self { h: 1, w: 1, c }
    }

    /// Number of values in one row, `w * c`; `None` when it does not fit a `usize`.
    #[inline]
    pub fn row(self) -> Option<usize> {
        usize::try_from(self.w).ok()?.checked_mul(usize::try_from(self.c).ok()?)
    }

    /// Number of values, `h * w * c`; `None` when it does not fit a `usize`.
    #[inline]
    pub fn elements(self) -> Option<usize> {
        usize::try_from(self.h).ok()?.checked_mul(self.row()?)
    }
}

/// A pair along the two picture axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hw {
    /// Along the rows' axis.
    pub h: u32,
    /// Along the columns' axis.
    pub w: u32,
}

impl Hw {
    /// Both axes alike.
    pub const fn square(n: u32) -> Self {
        Self { h: n, w: n }
    }
}

/// Rows and columns added around a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pad {
    /// Rows above.
    pub top: u32,
    /// Columns to the left.
    pub left: u32,
    /// Rows below.
    pub bottom: u32,
    /// Columns to the right.
    pub right: u32,
}

/// A window that slides over a picture: the geometry of a convolution or a pool.
///
/// Output pixel `(y, x)` and tap `(ky, kx)` read input pixel
/// `(y * stride.h + ky * dilation.h - pad.top, x * stride.w + kx * dilation.w - pad.left)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Taps along each axis, at least 1.
    pub kernel: Hw,
    /// Input pixels between neighbouring output pixels, at least 1.
    pub stride: Hw,
    /// Input pixels between neighbouring taps, at least 1.
    pub dilation: Hw,
    /// Padding; may exceed what the last window needs.
    pub pad: Pad,
}

impl Window {
    /// One tap, no padding: what a 1x1 convolution uses.
    pub const POINT: Self = Self {
        kernel: Hw::square(1),
        stride: Hw::square(1),
        dilation: Hw::square(1),
        pad: Pad { top: 0, left: 0, bottom: 0, right: 0 },
    };

    /// Rows and columns of the output for an input of `h x w`.
    ///
    /// Per axis `(in + pads - dilation * (kernel - 1) - 1) / stride + 1`, rounded down.
    /// `None` when a field is zero, a window does not fit, or a number overflows.
    pub fn output(&self, h: u32, w: u32) -> Option<Hw> {
        let (k, s, d, p) = (self.kernel, self.stride, self.dilation, self.pad);
        Some(Hw {
            h: output_len(h, k.h, s.h, d.h, p.top, p.bottom)?,
            w: output_len(w, k.w, s.w, d.w, p.left, p.right)?,
        })
    }
}

fn output_len(len: u32, kernel: u32, stride: u32, dilation: u32, lo: u32, hi: u32) -> Option<u32> {
    if dilation == 0 {
        return None;
    }
    let extent = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
    let padded = len.checked_add(lo)?.checked_add(hi)?;
    padded.checked_sub(extent)?.checked_div(stride)?.checked_add(1)
}
