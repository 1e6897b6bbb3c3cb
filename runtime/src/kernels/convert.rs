//! Contracts of the conversions between f32 and s8: [`QuantizeF32`] and [`DequantizeS8`].
//!
//! [`quantize`] and [`dequantize`] of each value. Input and output are NHWC and of one shape; a
//! kernel computes a band of rows. All kernels give the same bits.

use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use crate::dims::Dims;
use crate::quant::{dequantize, quantize};
use crate::step::Quantization;
use core::ops::Range;

/// Bands start at multiples of this many rows.
pub const ROW_QUANTUM: usize = 1;

/// One conversion of values `T` with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a, T> {
    quantization: Quantization,
    rows: usize,
    row: usize,
    x: &'a [T],
}

impl<'a, T> Args<'a, T> {
    /// `quantization` is that of the s8 values, wherever they are.
    ///
    /// `None` when a dimension is zero, or `x` is not as long as [`Dims::elements`] says.
    pub fn new(quantization: Quantization, dims: Dims, x: &'a [T]) -> Option<Self> {
        let (rows, row) = (nonzero(dims.h)?, dims.row().filter(|&row| row > 0)?);
        (x.len() == dims.elements()?).then_some(Self { quantization, rows, row, x })
    }

    /// Number of values in one row.
    pub fn output_row(&self) -> usize {
        self.row
    }

    /// The input's values of these rows.
    #[inline(always)]
    fn band(&self, rows: &Range<usize>) -> &'a [T] {
        let at = |row: usize| row.saturating_mul(self.row);
        self.x.get(at(rows.start)..at(rows.end)).unwrap_or(&[])
    }
}

impl<T> Operands for Args<'_, T> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.row)
    }
}

/// The contract of f32 values as s8 ones.
#[derive(Clone, Copy, Debug)]
pub struct QuantizeF32;

impl Contract for QuantizeF32 {
    type Args<'a> = Args<'a, f32>;
    type Value = i8;
    type Scratch = u8;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("quantize_f32_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("quantize_f32_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("quantize_f32_portable");
}

impl Loops for QuantizeF32 {
    #[inline(always)]
    fn compute(args: &Args<'_, f32>, rows: Range<usize>, y: &mut [i8], _: &mut [u8]) {
        let quantization = args.quantization;
        for (y, &x) in y.iter_mut().zip(args.band(&rows)) {
            *y = quantize(x, quantization);
        }
    }
}

/// The contract of what s8 values stand for.
#[derive(Clone, Copy, Debug)]
pub struct DequantizeS8;

impl Contract for DequantizeS8 {
    type Args<'a> = Args<'a, i8>;
    type Value = f32;
    type Scratch = u8;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("dequantize_s8_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("dequantize_s8_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("dequantize_s8_portable");
}

impl Loops for DequantizeS8 {
    #[inline(always)]
    fn compute(args: &Args<'_, i8>, rows: Range<usize>, y: &mut [f32], _: &mut [u8]) {
        let quantization = args.quantization;
        for (y, &x) in y.iter_mut().zip(args.band(&rows)) {
            *y = dequantize(x, quantization);
        }
    }
}
