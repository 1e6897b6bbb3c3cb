//! Contract of the tables: `y = table[x + 128]`, any function of one s8 value.
//!
//! Input and output are NHWC and of one shape; a kernel computes a band of rows. Where there is no
//! `x`, the values are those that `y` holds.

use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use super::rows::row_of;
use crate::dims::Dims;
use core::ops::Range;

/// Bands start at multiples of this many rows.
pub const ROW_QUANTUM: usize = 1;

/// A value for each of an s8.
pub const LEN: usize = 256;

/// One table with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    table: &'a [i8; LEN],
    rows: usize,
    row: usize,
    x: Option<&'a [i8]>,
}

impl<'a> Args<'a> {
    /// `None` when a dimension is zero, `x` is not as long as [`Dims::elements`] says, or `table` has
    /// not [`LEN`] values.
    pub fn new(table: &'a [i8], dims: Dims, x: Option<&'a [i8]>) -> Option<Self> {
        let elements = dims.elements()?;
        let (rows, row) = (nonzero(dims.h)?, dims.row().filter(|&row| row > 0)?);
        let table = table.try_into().ok()?;
        x.is_none_or(|x| x.len() == elements).then_some(Self { table, rows, row, x })
    }

    /// Number of values in one row.
    pub fn output_row(&self) -> usize {
        self.row
    }
}

impl Operands for Args<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.row)
    }
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct TableS8;

impl Contract for TableS8 {
    type Args<'a> = Args<'a>;
    type Value = i8;
    type Scratch = u8;

    const LIST: &'static [Kernel<Self>] = &[*Self::PORTABLE];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("table_s8_portable");
}

impl Loops for TableS8 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [i8], _: &mut [u8]) {
        let mut rest = y;
        for row in rows {
            let Some((y, after)) = rest.split_at_mut_checked(args.row) else { return };
            rest = after;
            match args.x {
                Some(x) => y
                    .iter_mut()
                    .zip(row_of(x, row, args.row))
                    .for_each(|(y, &x)| *y = looked_up(args.table, x)),
                None => y.iter_mut().for_each(|y| *y = looked_up(args.table, *y)),
            }
        }
    }
}

#[inline(always)]
fn looked_up(table: &[i8; LEN], x: i8) -> i8 {
    table[usize::from(x.cast_unsigned() ^ 0x80)]
}
