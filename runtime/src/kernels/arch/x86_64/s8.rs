//! Loads, stores and the multiply-add loops of 8-bit kernels.
//!
//! [`Fours`], [`Rows`] and [`Results`] prove the extent of the loops, arrays that of single loads.

use core::arch::x86_64::*;

/// Output channels of a panel.
const NR: usize = 16;

/// Bytes of one row of a panel: 16 output channels by 4 input channels.
const ROW: usize = 64;

/// `count` neighbouring fours of bytes of each of `MR` pixels, `pitch` bytes apart: what a run of
/// taps of a tile reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fours<'a, const MR: usize> {
    x: &'a [u8],
    pitch: usize,
    count: usize,
}

impl<'a, const MR: usize> Fours<'a, MR> {
    /// `None` when `x` ends before the last pixel's fours do.
    #[inline]
    pub(crate) fn new(x: &'a [u8], pitch: usize, count: usize) -> Option<Self> {
        let last = MR.checked_sub(1)?.checked_mul(pitch)?;
        let end = last.checked_add(count.checked_mul(4)?)?;
        (end <= x.len()).then_some(Self { x, pitch, count })
    }
}

/// `count` rows of 64 weights in each of `NB` panels, `pitch` bytes apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a, const NB: usize> {
    weights: &'a [i8],
    pitch: usize,
    count: usize,
}

impl<'a, const NB: usize> Rows<'a, NB> {
    /// `None` when `weights` ends before the last panel's rows do.
    #[inline]
    pub(crate) fn new(weights: &'a [i8], pitch: usize, count: usize) -> Option<Self> {
        let last = NB.checked_sub(1)?.checked_mul(pitch)?;
        let end = last.checked_add(count.checked_mul(ROW)?)?;
        (end <= weights.len()).then_some(Self { weights, pitch, count })
    }
}

/// `sum[m][n][o] += dot(fours[m][i], rows[n][i][o])` for every four `i` that both have; pixels unsigned,
/// weights signed.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
pub(crate) fn add_fours_vnni<const MR: usize, const NB: usize>(
    sum: &mut [[__m512i; NB]; MR],
    fours: Fours<'_, MR>,
    rows: Rows<'_, NB>,
) {
    let (mut x, mut w) = (fours.x.as_ptr(), rows.weights.as_ptr());
    for _ in 0..fours.count.min(rows.count) {
        let mut weights = [_mm512_setzero_si512(); NB];
        for n in 0..NB {
            // SAFETY: `Rows::new`: row `i < count` of panel `n < NB` lies inside `weights`.
            weights[n] = unsafe { _mm512_loadu_si512(w.add(n * rows.pitch).cast()) };
        }
        for m in 0..MR {
            // SAFETY: `Fours::new`: four `i < count` of pixel `m < MR` lies inside `x`.
            let four = unsafe { x.add(m * fours.pitch).cast::<i32>().read_unaligned() };
            let four = _mm512_set1_epi32(four);
            for n in 0..NB {
                sum[m][n] = _mm512_dpbusd_epi32(sum[m][n], four, weights[n]);
            }
        }
        // Wrapping: after the last four both may point past the end, and are not read again.
        x = x.wrapping_add(4);
        w = w.wrapping_add(ROW);
    }
}

/// `MR` pixels of an output row, `pitch` bytes apart, and the `width` neighbouring channels of each
/// that a tile of `NB` panels computes, of one byte each or of four.
#[derive(Debug)]
pub(crate) struct Results<'a, const MR: usize, const NB: usize, const SIZE: usize> {
    y: &'a mut [u8],
    pitch: usize,
    width: usize,
}

impl<'a, const MR: usize, const NB: usize, const SIZE: usize> Results<'a, MR, NB, SIZE> {
    /// `None` when `y` ends before the last pixel does, or `width` exceeds the panels.
    #[inline]
    pub(crate) fn new(y: &'a mut [u8], pitch: usize, width: usize) -> Option<Self> {
        let last = MR.checked_sub(1)?.checked_mul(pitch)?;
        let end = last.checked_add(width.checked_mul(SIZE)?)?;
        (end <= y.len() && width <= NB.checked_mul(NR)?).then_some(Self { y, pitch, width })
    }

    /// Channels of panel `n`, as a mask.
    #[inline]
    fn mask(&self, n: usize) -> __mmask16 {
        let lanes = self.width.saturating_sub(n * NR).min(NR);
        ((1u32 << lanes) - 1) as __mmask16
    }
}

impl<const MR: usize, const NB: usize> Results<'_, MR, NB, 1> {
    /// Stores the low byte of every value; those of channels from `width` on are dropped.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    pub(crate) fn store_avx512(self, values: &[[__m512i; NB]; MR]) {
        let y = self.y.as_mut_ptr();
        if self.width == NB * NR {
            for m in 0..MR {
                for n in 0..NB {
                    let bytes = _mm512_cvtepi32_epi8(values[m][n]);
                    // SAFETY: `Results::new`: panel `n < NB` of pixel `m < MR` lies inside `y`.
                    unsafe { _mm_storeu_si128(y.add(m * self.pitch + n * NR).cast(), bytes) };
                }
            }
            return;
        }
        for n in 0..NB {
            let mask = self.mask(n);
            for m in 0..MR {
                let at = y.wrapping_add(m * self.pitch + n * NR);
                let bytes = _mm512_cvtepi32_epi8(values[m][n]);
                // SAFETY: `Results::new`: `width` channels of pixel `m < MR` lie inside `y`; the mask
                // leaves the others untouched.
                unsafe { _mm_mask_storeu_epi8(at.cast(), mask, bytes) };
            }
        }
    }
}

impl<const MR: usize, const NB: usize> Results<'_, MR, NB, 4> {
    /// Stores every value; those of channels from `width` on are dropped.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn store_avx512(self, values: &[[__m512; NB]; MR]) {
        let y = self.y.as_mut_ptr();
        for n in 0..NB {
            let mask = self.mask(n);
            for m in 0..MR {
                let at = y.wrapping_add(m * self.pitch + n * NR * 4);
                // SAFETY: `Results::new`: `width` channels of pixel `m < MR` lie inside `y`; the mask
                // leaves the others untouched.
                unsafe { _mm512_mask_storeu_ps(at.cast(), mask, values[m][n]) };
            }
        }
    }
}

/// Loads 16 integers.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load_i32_avx512(from: &[i32; NR]) -> __m512i {
    // SAFETY: the array is as long as the register; unaligned loads are allowed.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}
