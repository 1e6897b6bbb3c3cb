//! [`Rearrange`]: operations that move elements and compute none, as one strided walk.
//!
//! Transpose, Expand, Slice, `DepthToSpace` and `SpaceToDepth` differ only in the strides with which the
//! operand is read; the oracle, constant folding and the plan read them from here.

use crate::graph::{DepthOrder, Op};
use crate::tensor::elements;

/// Element `(i0, i1, ...)` of the result, under the axis lengths `extent`, is the operand's element
/// number `offset + i0 * strides[0] + i1 * strides[1] + ...`, both row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rearrange {
    /// Axis lengths; their product is the number of elements of the result, whose own shape may
    /// join some of the axes.
    pub extent: Vec<usize>,
    /// Elements of the operand between neighbours along each axis.
    pub strides: Vec<i64>,
    /// Element of the operand that comes first.
    pub offset: i64,
}

impl Rearrange {
    /// How an operation moves the elements of an operand of shape `input` into its `output`; `None`
    /// if it computes anything or does not fit the shapes.
    pub fn of(op: &Op, input: &[usize], output: &[usize]) -> Option<Self> {
        let own = strides(input);
        match op {
            Op::Transpose { perm } => {
                let pick = |axis: &usize| Some((*input.get(*axis)?, *own.get(*axis)?));
                let axes: Option<Vec<_>> = perm.iter().map(pick).collect();
                let (extent, strides) = axes?.into_iter().unzip();
                Some(Self { extent, strides, offset: 0 })
            }
            Op::Expand if input.len() == output.len() => {
                let axes = input.iter().zip(output).zip(&own);
                let stride = |((&own, &result), &stride): ((&usize, &usize), &i64)| match own {
                    1 => Some(0),
                    _ => (own == result).then_some(stride),
                };
                let strides = axes.map(stride).collect::<Option<_>>()?;
                Some(Self { extent: output.to_vec(), strides, offset: 0 })
            }
            Op::Slice { starts, steps } => {
                let mut offset = 0_i64;
                for (&start, &own) in starts.iter().zip(&own) {
                    offset = offset.checked_add(i64::try_from(start).ok()?.checked_mul(own)?)?;
                }
                let scaled = steps.iter().zip(&own).map(|(step, own)| step.checked_mul(*own));
                let strides = scaled.collect::<Option<_>>()?;
                Some(Self { extent: output.to_vec(), strides, offset })
            }
            Op::DepthToSpace { block, order } => depth_to_space(*block, *order, input, &own),
            Op::SpaceToDepth { block } => space_to_depth(*block, input, &own),
            _ => None,
        }
    }

    /// The operand's element for each element of the result.
    pub fn indices(&self) -> impl Iterator<Item = usize> + use<> {
        walk(&self.extent, self.offset, &self.strides)
    }
}

/// `[N, C, H, W]` as `[N, C', H, row in square, W, column in square]`.
fn depth_to_space(
    block: usize,
    order: DepthOrder,
    input: &[usize],
    own: &[i64],
) -> Option<Rearrange> {
    let (&[n, c, h, w], &[image, plane, row, pixel]) = (input, own) else { return None };
    let side = i64::try_from(block).ok()?;
    let square = block.checked_mul(block)?;
    let channels = c.checked_div(square)?;
    let (channel, position) = match order {
        DepthOrder::SquareFirst => (plane, plane.checked_mul(i64::try_from(channels).ok()?)?),
        DepthOrder::ChannelFirst => (plane.checked_mul(side.checked_mul(side)?)?, plane),
    };
    Some(Rearrange {
        extent: vec![n, channels, h, block, w, block],
        strides: vec![image, channel, row, position.checked_mul(side)?, pixel, position],
        offset: 0,
    })
}

/// `[N, C, H, W]` as `[N, row in square, column in square, C, H', W']`.
fn space_to_depth(block: usize, input: &[usize], own: &[i64]) -> Option<Rearrange> {
    let (&[n, c, h, w], &[image, plane, row, pixel]) = (input, own) else { return None };
    let side = i64::try_from(block).ok()?;
    let (rows, columns) = (row.checked_mul(side)?, pixel.checked_mul(side)?);
    Some(Rearrange {
        extent: vec![n, block, block, c, h.checked_div(block)?, w.checked_div(block)?],
        strides: vec![image, row, pixel, plane, rows, columns],
        offset: 0,
    })
}

/// Elements between neighbours along each axis of a row-major tensor.
pub(crate) fn strides(shape: &[usize]) -> Vec<i64> {
    let mut stride = 1_i64;
    let mut strides: Vec<i64> = Vec::with_capacity(shape.len());
    for &length in shape.iter().rev() {
        strides.push(stride);
        stride = stride.saturating_mul(i64::try_from(length).unwrap_or(i64::MAX));
    }
    strides.reverse();
    strides
}

/// Row-major walk over `shape`; yields `offset` + the sum of coordinate x stride.
pub(crate) fn walk(
    shape: &[usize],
    offset: i64,
    strides: &[i64],
) -> impl Iterator<Item = usize> + use<> {
    let axes: Vec<(i64, i64)> =
        shape.iter().map(|&n| i64::try_from(n).unwrap_or(0)).zip(strides.iter().copied()).collect();
    let total = elements(shape).unwrap_or(0);
    let mut at = vec![0_i64; axes.len()];
    let mut index = offset;
    (0..total).map(move |_| {
        let here = index;
        for (coordinate, &(length, stride)) in at.iter_mut().zip(&axes).rev() {
            *coordinate = coordinate.saturating_add(1);
            index = index.saturating_add(stride);
            if *coordinate < length {
                break;
            }
            index = index.saturating_sub(stride.saturating_mul(length));
            *coordinate = 0;
        }
        usize::try_from(here).unwrap_or(usize::MAX)
    })
}
