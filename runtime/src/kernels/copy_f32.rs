//! Contract of the copies that move channels: memory-bound, so there is one implementation.

use super::axis::nonzero;
use crate::dims::Dims;
use core::ops::Range;

/// Name of the one implementation.
pub const NAME: &str = "copy_f32_portable";

/// What is copied where.
#[derive(Clone, Copy, Debug)]
enum Copy {
    /// Pixel by pixel into channels `at ..` of `channels` output channels.
    Channels { at: usize, channels: usize },
    /// Channel by channel into planes.
    Planar,
}

/// One copy with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    copy: Copy,
    /// Output rows, or planes.
    rows: usize,
    /// Values of an output row, or plane.
    row: usize,
    input: (usize, usize),
    x: &'a [f32],
}

impl<'a> Args<'a> {
    /// Writes the channels of `x` to channels `at ..` of an output of `channels` channels and
    /// leaves the others as they are.
    ///
    /// `None` when a dimension is zero, the channels do not fit, or `x` is not as long as its dims say.
    pub fn channels(at: u32, channels: u32, input: Dims, x: &'a [f32]) -> Option<Self> {
        let fits = input.c <= channels.checked_sub(at)? && x.len() == input.elements()?;
        let (at, channels) = (usize::try_from(at).ok()?, nonzero(channels)?);
        let (rows, w) = (nonzero(input.h)?, nonzero(input.w)?);
        let copy = Copy::Channels { at, channels };
        let row = w.checked_mul(channels)?;
        fits.then_some(Self { copy, rows, row, input: (w, nonzero(input.c)?), x })
    }

    /// Writes all values of channel 0, then those of channel 1, ...: a "row" of the output is the
    /// plane of one channel.
    ///
    /// `None` when a dimension is zero, or `x` is not as long as its dims say.
    pub fn planar(input: Dims, x: &'a [f32]) -> Option<Self> {
        let (h, w, c) = (nonzero(input.h)?, nonzero(input.w)?, nonzero(input.c)?);
        let fits = x.len() == input.elements()?;
        fits.then_some(Self {
            copy: Copy::Planar,
            rows: c,
            row: h.checked_mul(w)?,
            input: (w, c),
            x,
        })
    }

    /// Number of output rows, or planes.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of values in one of them.
    pub fn output_row(&self) -> usize {
        self.row
    }
}

/// Copies what belongs to output rows `rows` into `y`, which holds all values of these rows.
///
/// `None`, and `y` untouched, when there are fewer rows, or `y` has another length.
pub fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [f32]) -> Option<()> {
    if rows.end > args.rows || y.len() != rows.len().checked_mul(args.row)? {
        return None;
    }
    match args.copy {
        Copy::Channels { at, channels } => copy_channels(args, rows.start, y, at, channels),
        Copy::Planar => copy_planes(args, rows, y),
    }
}

fn copy_channels(
    args: &Args<'_>,
    first: usize,
    y: &mut [f32],
    at: usize,
    channels: usize,
) -> Option<()> {
    let (w, c) = args.input;
    let mut x = args.x.get(first.checked_mul(w)?.checked_mul(c)?..)?;
    let mut rest = y;
    while let Some((pixel, after)) = rest.split_at_mut_checked(channels) {
        let (values, later) = x.split_at_checked(c)?;
        pixel.get_mut(at..)?.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        (rest, x) = (after, later);
        if rest.is_empty() {
            break;
        }
    }
    Some(())
}

fn copy_planes(args: &Args<'_>, planes: Range<usize>, y: &mut [f32]) -> Option<()> {
    let mut rest = y;
    for channel in planes {
        let (plane, after) = rest.split_at_mut_checked(args.row)?;
        let mut x = args.x.get(channel..)?;
        for to in plane {
            *to = *x.first()?;
            x = x.get(args.input.1..).unwrap_or(&[]);
        }
        rest = after;
    }
    Some(())
}
