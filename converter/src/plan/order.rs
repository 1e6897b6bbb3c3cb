//! [`Order`]: how the bytes of a value follow one another.
//!
//! ONNX numbers the values of a picture channel by channel; the runtime stores them pixel by pixel
//! (NHWC). Reshapes keep ONNX's numbering and may cut through the runtime's, so each value carries
//! its order with it: a reshape is then always free, and whoever needs another order asks for it.

use super::error::Kind;
use unbraid_runtime::dims::Dims;

/// Order of a value's elements in the arena, relative to ONNX's row-major order of its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    /// ONNX's own.
    RowMajor,
    /// ONNX's order read as a matrix `[channels][pixels]` is stored transposed. Both are > 1:
    /// otherwise the two orders are one.
    ChannelsLast {
        /// Rows of the matrix.
        channels: usize,
        /// Columns of the matrix.
        pixels: usize,
    },
}

impl Order {
    /// Pixel by pixel.
    pub(super) fn channels_last(channels: usize, pixels: usize) -> Self {
        if channels <= 1 || pixels <= 1 {
            Self::RowMajor
        } else {
            Self::ChannelsLast { channels, pixels }
        }
    }

    /// How a value of this shape enters and leaves a network: pictures (rank 4) pixel by pixel,
    /// everything else row-major.
    pub(super) fn of_port(shape: &[usize]) -> Self {
        match shape {
            [_, c, h, w] => Self::channels_last(*c, h * w),
            _ => Self::RowMajor,
        }
    }

    /// How a value of this shape is stored where axis 1 counts channels.
    pub(super) fn of_picture(shape: &[usize]) -> Self {
        match shape {
            [_, c, pixels @ ..] => Self::channels_last(*c, pixels.iter().product()),
            _ => Self::RowMajor,
        }
    }

    /// Dims under which a value of this shape and order lies in the arena, such that reading
    /// NHWC dims channel by channel gives ONNX's order.
    pub(super) fn dims(self, shape: &[usize]) -> Result<Dims, Kind> {
        match self {
            _ if self == Self::of_picture(shape) && picture_dims(shape).is_ok() => {
                picture_dims(shape)
            }
            Self::RowMajor => dims(1, 1, shape.iter().product()),
            Self::ChannelsLast { channels, pixels } => dims(1, pixels, channels),
        }
    }
}

/// Dims of a value whose axis 1 counts channels: `[1,C]`, `[1,C,W]` or `[1,C,H,W]`.
pub(super) fn picture_dims(shape: &[usize]) -> Result<Dims, Kind> {
    match *shape {
        [1, c] => dims(1, 1, c),
        [1, c, w] => dims(1, w, c),
        [1, c, h, w] => dims(h, w, c),
        _ => Err(Kind::NotPicture { shape: shape.to_vec() }),
    }
}

/// [`Dims`] from lengths of any size.
pub(super) fn dims(h: usize, w: usize, c: usize) -> Result<Dims, Kind> {
    let narrow = |n: usize| u32::try_from(n).map_err(|_| Kind::TooLarge { shape: vec![h, w, c] });
    Ok(Dims { h: narrow(h)?, w: narrow(w)?, c: narrow(c)? })
}
