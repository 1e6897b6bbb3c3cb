//! [`Order`]: where each element of a value lies in its buffer.
//!
//! ONNX numbers the elements of a value row-major; the runtime stores pictures pixel by pixel
//! (NHWC). An order says, digit by digit of ONNX's number, how far apart neighbours lie. Reshapes
//! keep the numbers, so they are free; transposes and pixel shuffles exchange digits, so they are
//! free as well; whoever needs another order asks for it.

use super::error::Kind;
use crate::rearrange::Rearrange;
use crate::tensor::elements;
use unbraid_runtime::dims::Dims;

/// Where the elements of a value lie in its buffer, which holds nothing else.
///
/// An element's number is read in the mixed radix of the digits' extents; its place is the sum of
/// digit x stride.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Order {
    /// The most significant first; none has extent 1, and no two neighbours could be one.
    digits: Vec<Digit>,
}

/// One digit of ONNX's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Digit {
    /// How many values it takes.
    pub(super) extent: usize,
    /// Elements of the buffer between neighbours.
    pub(super) stride: usize,
}

impl Order {
    fn new(digits: impl IntoIterator<Item = Digit>) -> Self {
        let mut merged: Vec<Digit> = Vec::new();
        for digit in digits.into_iter().filter(|digit| digit.extent != 1) {
            match merged.last_mut() {
                Some(outer) if outer.stride == digit.stride * digit.extent => {
                    *outer = Digit { extent: outer.extent * digit.extent, ..digit };
                }
                _ => merged.push(digit),
            }
        }
        Self { digits: merged }
    }

    /// ONNX's own.
    pub(super) fn row_major(shape: &[usize]) -> Self {
        Self::new([Digit { extent: elements(shape).unwrap_or(0), stride: 1 }])
    }

    /// The axes of `shape` lie in memory in the order `memory`, outermost first.
    pub(super) fn of_axes(shape: &[usize], memory: impl IntoIterator<Item = usize>) -> Self {
        let places = memory.into_iter().map(|axis| (axis, shape[axis]));
        Self::packed(&places.collect::<Vec<_>>())
    }

    /// The digits of ONNX's number lie in memory as listed, outermost first: each with its rank
    /// among the digits, the most significant being the lowest, and its extent.
    pub(super) fn packed(memory: &[(usize, usize)]) -> Self {
        let mut stride = 1;
        let mut digits: Vec<(usize, Digit)> = Vec::with_capacity(memory.len());
        for &(rank, extent) in memory.iter().rev() {
            digits.push((rank, Digit { extent, stride }));
            stride *= extent;
        }
        digits.sort_by_key(|&(rank, _)| rank);
        Self::new(digits.into_iter().map(|(_, digit)| digit))
    }

    /// How a value of this shape is stored where axis 1 counts channels: pixel by pixel.
    pub(super) fn of_picture(shape: &[usize]) -> Self {
        Self::with_innermost(shape, 1)
    }

    /// One axis lies innermost, the others keep their order.
    pub(super) fn with_innermost(shape: &[usize], axis: usize) -> Self {
        let others = (0..shape.len()).filter(|&other| other != axis);
        Self::of_axes(shape, others.chain((axis < shape.len()).then_some(axis)))
    }

    /// The axes of a value of this shape in the order in which steps like them best, outermost
    /// first: pictures and rows of pixels pixel by pixel, everything else as it is.
    pub(super) fn natural_axes(shape: &[usize]) -> Vec<usize> {
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        if let 3 | 4 = shape.len() {
            axes[1..].rotate_left(1);
        }
        axes
    }

    /// The order of [`Order::natural_axes`].
    pub(super) fn natural(shape: &[usize]) -> Self {
        Self::of_axes(shape, Self::natural_axes(shape))
    }

    /// How a value of this shape enters and leaves a network: one picture pixel by pixel,
    /// everything else row-major.
    pub(super) fn of_port(shape: &[usize]) -> Self {
        match shape {
            [1, _, _, _] => Self::of_picture(shape),
            _ => Self::row_major(shape),
        }
    }

    /// The digits of ONNX's number with place values from `low` on that count to `extent`, the
    /// most significant first; `None` if one of the order's digits reaches across an end.
    pub(super) fn digits(&self, low: usize, extent: usize) -> Option<Vec<Digit>> {
        let (mut skip, mut take, mut found) = (low, extent, Vec::new());
        for digit in self.digits.iter().rev() {
            let skipped = divided(&mut skip, digit.extent)?;
            let rest = digit.extent / skipped;
            if rest > 1 && take > 1 {
                let taken = divided(&mut take, rest)?;
                found.push(Digit { extent: taken, stride: digit.stride * skipped });
            }
        }
        found.reverse();
        (skip == 1 && take == 1).then_some(found)
    }

    /// The digits of each axis of `shape`; `None` if a digit reaches across two axes and cannot be
    /// split between them.
    pub(super) fn axes(&self, shape: &[usize]) -> Option<Vec<Vec<Digit>>> {
        let mut low = 1;
        let mut axes = Vec::with_capacity(shape.len());
        for &length in shape.iter().rev() {
            axes.push(self.digits(low, length)?);
            low *= length;
        }
        axes.reverse();
        Some(axes)
    }

    /// The order of each of `rows` runs of `len` elements, if they lie one behind the other.
    pub(super) fn of_rows(&self, rows: usize, len: usize) -> Option<Self> {
        let apart = Self::new([Digit { extent: rows, stride: len }]);
        let is_apart = Self::new(self.digits(len, rows)?) == apart;
        is_apart.then_some(Self::new(self.digits(1, len)?))
    }

    /// The same elements where the value's numbers have been exchanged as `moved` says, which takes
    /// each once; `None` if an axis of it begins or ends within a digit.
    pub(super) fn moved(&self, moved: &Rearrange) -> Option<Self> {
        let axes = moved.extent.iter().zip(&moved.strides);
        let digits = axes.map(|(&extent, &low)| self.digits(usize::try_from(low).ok()?, extent));
        Some(Self::new(digits.collect::<Option<Vec<_>>>()?.concat()))
    }

    /// For each digit of the order `to`, outermost in memory first, its extent and how far apart its
    /// neighbours lie here; `None` if a digit reaches across an end of one of `to`.
    pub(super) fn seen_from(&self, to: &Self) -> Option<Vec<(usize, usize)>> {
        let (mut low, mut pieces) = (1, Vec::new());
        for digit in to.digits.iter().rev() {
            let mut stride = digit.stride;
            for own in self.digits(low, digit.extent)?.into_iter().rev() {
                pieces.push((stride, own));
                stride *= own.extent;
            }
            low *= digit.extent;
        }
        pieces.sort_by_key(|&(stride, _)| std::cmp::Reverse(stride));
        Some(pieces.into_iter().map(|(_, own)| (own.extent, own.stride)).collect())
    }

    /// Where the element with this number lies.
    pub(super) fn place(&self, number: usize) -> usize {
        let (mut rest, mut place) = (number, 0);
        for digit in self.digits.iter().rev() {
            place += rest % digit.extent * digit.stride;
            rest /= digit.extent;
        }
        place
    }

    /// Dims under which a value of this shape and order lies in the arena.
    pub(super) fn dims(&self, shape: &[usize]) -> Result<Dims, Kind> {
        if let Ok(picture) = picture_dims(shape)
            && *self == Self::of_picture(shape)
        {
            return Ok(picture);
        }
        match self.digits[..] {
            [channels, pixels] if channels.stride == 1 => dims(1, pixels.extent, channels.extent),
            _ => dims(1, 1, elements(shape).unwrap_or(0)),
        }
    }

    /// Whether reading these dims channel by channel gives ONNX's order.
    pub(super) fn is_planar(&self, dims: Dims) -> bool {
        let (channels, pixels) = (dims.c as usize, dims.h as usize * dims.w as usize);
        *self == Self::of_axes(&[channels, pixels], [1, 0])
    }
}

/// The part of `number` that an extent takes, and `number` without it: one divides the other.
fn divided(number: &mut usize, extent: usize) -> Option<usize> {
    let part = (*number).min(extent);
    let whole = part > 0 && number.is_multiple_of(part) && extent.is_multiple_of(part);
    *number /= part.max(1);
    whole.then_some(part)
}

/// Dims of a value whose axis 1 counts channels, `[N,C]`, `[N,C,W]` or `[N,C,H,W]`: the rows of one
/// picture follow those of the other.
pub(super) fn picture_dims(shape: &[usize]) -> Result<Dims, Kind> {
    match *shape {
        [n, c] => dims(n, 1, c),
        [n, c, w] => dims(n, w, c),
        [n, c, h, w] => dims(n * h, w, c),
        _ => Err(Kind::NotPicture { shape: shape.to_vec() }),
    }
}

/// [`Dims`] from lengths of any size.
pub(super) fn dims(h: usize, w: usize, c: usize) -> Result<Dims, Kind> {
    let narrow = |n: usize| u32::try_from(n).map_err(|_| Kind::TooLarge { shape: vec![h, w, c] });
    Ok(Dims { h: narrow(h)?, w: narrow(w)?, c: narrow(c)? })
}
