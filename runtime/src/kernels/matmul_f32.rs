//! Contract of the f32 kernels for products of matrices ([`MatMul`]).
//!
//! Each output value is the sum of its products in order of `k`, without fused multiply-add: all kernels
//! give the same bits, whatever the bands.
//!
//! Sixteen columns of the second factor at a time are copied to scratch as a panel `[k][16]`, with which
//! tiles of four rows of the first factor are multiplied. A kernel computes a band of rows of all
//! matrices, which follow one another.

use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use super::conv_f32::NR;
use super::load_block;
use crate::dims::Dims;
use crate::step::MatMul;
use core::ops::Range;

/// Bands start at multiples of this many rows.
pub const ROW_QUANTUM: usize = MR;

/// Rows of a tile.
const MR: usize = 4;

/// Floats of scratch: one panel. `None` when the product overflows.
pub fn scratch_len(input: Dims) -> Option<usize> {
    nonzero(input.c)?.checked_mul(NR)
}

/// One product with its factors, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// Matrices, and rows of each.
    matrices: usize,
    rows: usize,
    depth: usize,
    columns: usize,
    /// Values of the second factor from one matrix to the next; 0 if all share one.
    pitch: usize,
    transposed: bool,
    x: &'a [f32],
    other: &'a [f32],
    scratch: usize,
}

impl<'a> Args<'a> {
    /// `other` are the values of the second factor.
    ///
    /// `None` when a dimension is zero, the factors or the output do not fit each other, or a slice is not
    /// as long as [`Dims::elements`] says.
    pub fn new(
        op: &MatMul,
        input: Dims,
        output: Dims,
        x: &'a [f32],
        other: &'a [f32],
    ) -> Option<Self> {
        let dims = op.other.dims();
        let fits = (input.h, input.w) == (output.h, output.w)
            && (dims.w, dims.c) == op.factor(input.c, output.c)
            && (dims.h == 1 || dims.h == input.h)
            && x.len() == input.elements()?
            && other.len() == dims.elements()?;
        output.elements()?;
        fits.then_some(Self {
            matrices: nonzero(input.h)?,
            rows: nonzero(input.w)?,
            depth: nonzero(input.c)?,
            columns: nonzero(output.c)?,
            pitch: if dims.h == 1 { 0 } else { dims.row()? },
            transposed: op.transposed,
            x,
            other,
            scratch: scratch_len(input)?,
        })
    }

    /// Number of values in one row of a product.
    pub fn output_row(&self) -> usize {
        self.columns
    }
}

impl Operands for Args<'_> {
    /// Rows of all matrices.
    fn rows(&self) -> usize {
        self.matrices.saturating_mul(self.rows)
    }

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.columns)
    }

    fn min_scratch(&self) -> usize {
        self.scratch
    }
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct MatMulF32;

impl Contract for MatMulF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("matmul_f32_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("matmul_f32_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("matmul_f32_portable");
}

/// One value for each column of a panel.
type Columns = [f32; NR];

impl Loops for MatMulF32 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], scratch: &mut [f32]) {
        let (panel, _) = scratch.as_chunks_mut::<NR>();
        let Some(panel) = panel.get_mut(..args.depth) else { return };
        let (mut row, mut rest) = (rows.start, y);
        while row < rows.end {
            let matrix = row.checked_div(args.rows).unwrap_or(0);
            let end = (matrix + 1).saturating_mul(args.rows).min(rows.end);
            let len = (end - row).saturating_mul(args.columns);
            let Some((part, after)) = rest.split_at_mut_checked(len) else { return };
            let x = args.x.get(row.saturating_mul(args.depth)..).unwrap_or(&[]);
            let factor = args.other.get(matrix.saturating_mul(args.pitch)..).unwrap_or(&[]);
            for first in (0..args.columns).step_by(NR) {
                pack(args, factor, first, panel);
                multiply(args, x, panel, first, part);
            }
            (rest, row) = (after, end);
        }
    }
}

/// Columns `first` to `first + 16` of the second factor, row by row; those that there are not hold
/// anything.
#[inline(always)]
fn pack(args: &Args<'_>, factor: &[f32], first: usize, panel: &mut [Columns]) {
    if !args.transposed {
        for (k, columns) in panel.iter_mut().enumerate() {
            *columns = load_block(factor, k * args.columns + first);
        }
        return;
    }
    for i in 0..NR.min(args.columns - first) {
        let values = factor.get((first + i) * args.depth..).unwrap_or(&[]);
        panel.iter_mut().zip(values).for_each(|(columns, value)| columns[i] = *value);
    }
}

/// All rows of `y`, whose values from `first` on are products with this panel.
#[inline(always)]
fn multiply(args: &Args<'_>, x: &[f32], panel: &[Columns], first: usize, y: &mut [f32]) {
    let len = NR.min(args.columns - first);
    let mut x = x;
    let width = args.columns.max(1);
    for rows in y.chunks_mut(width.saturating_mul(MR)) {
        let mut sums = [[0.0; NR]; MR];
        let count = rows.len() / width;
        let Some((tile, after)) = x.split_at_checked(count * args.depth) else { return };
        x = after;
        if count == MR {
            four_rows(tile, panel, &mut sums);
        } else {
            for (row, sum) in tile.chunks_exact(args.depth.max(1)).zip(&mut sums) {
                one_row(row, panel, sum);
            }
        }
        for (row, sum) in rows.chunks_exact_mut(width).zip(&sums) {
            let to = row.get_mut(first..).and_then(|rest| rest.get_mut(..len));
            to.into_iter().flatten().zip(sum).for_each(|(to, from)| *to = *from);
        }
    }
}

#[inline(always)]
fn one_row(x: &[f32], panel: &[Columns], sum: &mut Columns) {
    for (x, columns) in x.iter().zip(panel) {
        add(sum, *x, columns);
    }
}

/// Four rows as long as the panel is deep, so that each of its rows is loaded once for all of them.
#[inline(always)]
fn four_rows(x: &[f32], panel: &[Columns], sums: &mut [Columns; MR]) {
    let mut rows = x.chunks_exact(panel.len().max(1));
    let (Some(a), Some(b), Some(c), Some(d)) = (rows.next(), rows.next(), rows.next(), rows.next())
    else {
        return;
    };
    let [mut p, mut q, mut r, mut s] = *sums;
    for ((((a, b), c), d), columns) in a.iter().zip(b).zip(c).zip(d).zip(panel) {
        add(&mut p, *a, columns);
        add(&mut q, *b, columns);
        add(&mut r, *c, columns);
        add(&mut s, *d, columns);
    }
    *sums = [p, q, r, s];
}

#[inline(always)]
fn add(sum: &mut Columns, x: f32, columns: &Columns) {
    for i in 0..NR {
        sum[i] += x * columns[i];
    }
}
