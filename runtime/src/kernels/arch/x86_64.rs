//! Loads, stores and the multiply-add loops of x86-64.
//!
//! Raw pointers live in this file only. Arrays prove the extent of single loads and stores,
//! [`Taps`] and [`Panels`] that of the loops, whose bounds checks would otherwise cost as much as
//! their arithmetic.
#![allow(unsafe_code, reason = "SIMD loads and stores take raw pointers")]

pub(crate) mod s8;
pub(crate) mod s8_columns;
pub(crate) mod words;

use core::arch::x86_64::*;

/// Floats of one 512-bit register, and of one row of a panel.
const ROW: usize = 16;

/// `MR` neighbouring floats of each of `count` rows, `pitch` floats apart: the pixels that one
/// tap of a tile reads, channel by channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps<'a, const MR: usize> {
    x: &'a [f32],
    pitch: usize,
    count: usize,
}

impl<'a, const MR: usize> Taps<'a, MR> {
    /// `None` when `x` ends before the last row does.
    #[inline]
    pub(crate) fn new(x: &'a [f32], pitch: usize, count: usize) -> Option<Self> {
        let last = count.checked_sub(1)?.checked_mul(pitch)?;
        (last.checked_add(MR)? <= x.len()).then_some(Self { x, pitch, count })
    }
}

/// `count` rows of 16 weights in each of `NB` panels, `pitch` floats apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a, const NB: usize> {
    weights: &'a [f32],
    pitch: usize,
    count: usize,
}

impl<'a, const NB: usize> Panels<'a, NB> {
    /// `None` when `weights` ends before the last panel's rows do.
    #[inline]
    pub(crate) fn new(weights: &'a [f32], pitch: usize, count: usize) -> Option<Self> {
        let last = NB.checked_sub(1)?.checked_mul(pitch)?;
        let end = last.checked_add(count.checked_mul(ROW)?)?;
        (end <= weights.len()).then_some(Self { weights, pitch, count })
    }
}

/// `sum[m][n] += taps[i][m] * panels[n][i]` for every row `i` that both have, in order.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn add_taps_avx512<const MR: usize, const NB: usize>(
    sum: &mut [[__m512; NB]; MR],
    taps: Taps<'_, MR>,
    panels: Panels<'_, NB>,
) {
    let (mut x, mut w) = (taps.x.as_ptr(), panels.weights.as_ptr());
    for _ in 0..taps.count.min(panels.count) {
        let mut weights = [_mm512_setzero_ps(); NB];
        for n in 0..NB {
            // SAFETY: `Panels::new`: row `i < count` of panel `n < NB` lies inside `weights`.
            weights[n] = unsafe { _mm512_loadu_ps(w.add(n * panels.pitch)) };
        }
        for m in 0..MR {
            // SAFETY: `Taps::new`: float `m < MR` of row `i < count` lies inside `x`.
            let pixel = _mm512_set1_ps(unsafe { *x.add(m) });
            for n in 0..NB {
                sum[m][n] = _mm512_fmadd_ps(pixel, weights[n], sum[m][n]);
            }
        }
        // Wrapping: after the last row both may point past the end, and are not read again.
        x = x.wrapping_add(taps.pitch);
        w = w.wrapping_add(ROW);
    }
}

/// [`add_taps_avx512`] for one panel of two registers: `sum[m][h] += taps[i][m] * panel[i][h]`.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(crate) fn add_taps_avx2<const MR: usize>(
    sum: &mut [[__m256; 2]; MR],
    taps: Taps<'_, MR>,
    panel: Panels<'_, 1>,
) {
    let (mut x, mut w) = (taps.x.as_ptr(), panel.weights.as_ptr());
    for _ in 0..taps.count.min(panel.count) {
        // SAFETY: `Panels::new`: all 16 floats of row `i < count` lie inside `weights`.
        let weights = unsafe { [_mm256_loadu_ps(w), _mm256_loadu_ps(w.add(ROW / 2))] };
        for m in 0..MR {
            // SAFETY: `Taps::new`: float `m < MR` of row `i < count` lies inside `x`.
            let pixel = _mm256_set1_ps(unsafe { *x.add(m) });
            for h in 0..2 {
                sum[m][h] = _mm256_fmadd_ps(pixel, weights[h], sum[m][h]);
            }
        }
        // Wrapping: after the last row both may point past the end, and are not read again.
        x = x.wrapping_add(taps.pitch);
        w = w.wrapping_add(ROW);
    }
}

/// `sums[n][k % 4] += panels[n][k] * x[k]` for every `k` that both have, in order, from zero and
/// without fused multiply-add.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn dot_avx512<const NB: usize>(x: &[f32], panels: Panels<'_, NB>) -> [[__m512; 4]; NB] {
    let mut sums = [[_mm512_setzero_ps(); 4]; NB];
    let mut w = panels.weights.as_ptr();
    let mut add = |k: usize, x: f32| {
        let x = _mm512_set1_ps(x);
        for n in 0..NB {
            // SAFETY: `Panels::new`: a row `< count` of panel `n < NB` lies inside `weights`.
            let weights = unsafe { _mm512_loadu_ps(w.add(n * panels.pitch)) };
            sums[n][k] = _mm512_add_ps(sums[n][k], _mm512_mul_ps(weights, x));
        }
        // Wrapping: after the last row it may point past the end, and is not read again.
        w = w.wrapping_add(ROW);
    };
    let (fours, rest) = x.get(..panels.count).unwrap_or(x).as_chunks::<4>();
    for x in fours {
        for k in 0..4 {
            add(k, x[k]);
        }
    }
    for (k, &x) in rest.iter().enumerate() {
        add(k, x);
    }
    sums
}

/// [`dot_avx512`] for one panel of two registers.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(crate) fn dot_avx2(x: &[f32], panel: Panels<'_, 1>) -> [[__m256; 2]; 4] {
    let mut sums = [[_mm256_setzero_ps(); 2]; 4];
    let mut w = panel.weights.as_ptr();
    let mut add = |k: usize, x: f32| {
        let x = _mm256_set1_ps(x);
        for h in 0..2 {
            // SAFETY: `Panels::new`: all 16 floats of a row `< count` lie inside `weights`.
            let weights = unsafe { _mm256_loadu_ps(w.add(h * ROW / 2)) };
            sums[k][h] = _mm256_add_ps(sums[k][h], _mm256_mul_ps(weights, x));
        }
        // Wrapping: after the last row it may point past the end, and is not read again.
        w = w.wrapping_add(ROW);
    };
    let (fours, rest) = x.get(..panel.count).unwrap_or(x).as_chunks::<4>();
    for x in fours {
        for k in 0..4 {
            add(k, x[k]);
        }
    }
    for (k, &x) in rest.iter().enumerate() {
        add(k, x);
    }
    sums
}

/// Blocks of 16 floats: that of pixel `m < MR` under tap `k < count` begins at
/// `m * pixel + k * tap`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks<'a, const MR: usize> {
    x: &'a [f32],
    pixel: usize,
    tap: usize,
    count: usize,
}

impl<'a, const MR: usize> Blocks<'a, MR> {
    /// `None` when `x` ends before the last block does.
    #[inline]
    pub(crate) fn new(x: &'a [f32], pixel: usize, tap: usize, count: usize) -> Option<Self> {
        let last = MR.checked_sub(1)?.checked_mul(pixel)?;
        let last = last.checked_add(count.checked_sub(1)?.checked_mul(tap)?)?;
        (last.checked_add(ROW)? <= x.len()).then_some(Self { x, pixel, tap, count })
    }
}

/// `sum[m] += weights[k] * blocks[m][k]` for every tap `k` that both have, in order, without fused
/// multiply-add.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn add_blocks_avx512<const MR: usize>(
    sum: &mut [[__m512; 1]; MR],
    blocks: Blocks<'_, MR>,
    weights: &[[f32; ROW]],
) {
    let mut x = blocks.x.as_ptr();
    for weights in weights.iter().take(blocks.count) {
        let weights = load_avx512(weights);
        for m in 0..MR {
            // SAFETY: `Blocks::new`: the block of pixel `m < MR` under a tap `k < count` lies
            // inside `x`.
            let block = unsafe { _mm512_loadu_ps(x.add(m * blocks.pixel)) };
            sum[m][0] = _mm512_add_ps(sum[m][0], _mm512_mul_ps(weights, block));
        }
        // Wrapping: after the last tap it may point past the end, and is not read again.
        x = x.wrapping_add(blocks.tap);
    }
}

/// [`add_blocks_avx512`] with two registers a block.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(crate) fn add_blocks_avx2<const MR: usize>(
    sum: &mut [[__m256; 2]; MR],
    blocks: Blocks<'_, MR>,
    weights: &[[f32; ROW]],
) {
    let mut x = blocks.x.as_ptr();
    for weights in weights.iter().take(blocks.count) {
        let weights = load_panel_avx(weights);
        for m in 0..MR {
            for h in 0..2 {
                // SAFETY: `Blocks::new`: all 16 floats of the block of pixel `m < MR` under a tap
                // `k < count` lie inside `x`.
                let block = unsafe { _mm256_loadu_ps(x.add(m * blocks.pixel + h * ROW / 2)) };
                sum[m][h] = _mm256_add_ps(sum[m][h], _mm256_mul_ps(weights[h], block));
            }
        }
        // Wrapping: after the last tap it may point past the end, and is not read again.
        x = x.wrapping_add(blocks.tap);
    }
}

/// `MR` pixels of an output row, `pitch` floats apart, and the `width` neighbouring channels of
/// each that a tile of `NB` panels computes.
#[derive(Debug)]
pub(crate) struct Pixels<'a, const MR: usize, const NB: usize> {
    y: &'a mut [f32],
    pitch: usize,
    width: usize,
}

impl<'a, const MR: usize, const NB: usize> Pixels<'a, MR, NB> {
    /// `None` when `y` ends before the last pixel does, or `width` exceeds the panels.
    #[inline]
    pub(crate) fn new(y: &'a mut [f32], pitch: usize, width: usize) -> Option<Self> {
        let last = MR.checked_sub(1)?.checked_mul(pitch)?;
        let fits = last.checked_add(width)? <= y.len() && width <= NB.checked_mul(ROW)?;
        fits.then_some(Self { y, pitch, width })
    }

    /// Stores the sums of every pixel; those of channels from `width` on are dropped.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn store_avx512(self, sum: &[[__m512; NB]; MR]) {
        let y = self.y.as_mut_ptr();
        if self.width == NB * ROW {
            for m in 0..MR {
                for n in 0..NB {
                    // SAFETY: `Pixels::new`: panel `n < NB` of pixel `m < MR` lies inside `y`.
                    unsafe { _mm512_storeu_ps(y.add(m * self.pitch + n * ROW), sum[m][n]) };
                }
            }
            return;
        }
        for n in 0..NB {
            let lanes = self.width.saturating_sub(n * ROW).min(ROW);
            let mask = ((1u32 << lanes) - 1) as __mmask16;
            for m in 0..MR {
                let at = y.wrapping_add(m * self.pitch + n * ROW);
                // SAFETY: `Pixels::new`: `width` channels of pixel `m < MR` lie inside `y`; the
                // mask leaves the others untouched.
                unsafe { _mm512_mask_storeu_ps(at, mask, sum[m][n]) };
            }
        }
    }
}

impl<const MR: usize> Pixels<'_, MR, 1> {
    /// [`Pixels::store_avx512`] for one panel of two registers.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(crate) fn store_avx2(self, sum: &[[__m256; 2]; MR]) {
        let y = self.y.as_mut_ptr();
        if self.width == ROW {
            for m in 0..MR {
                for h in 0..2 {
                    // SAFETY: `Pixels::new`: 16 channels of pixel `m < MR` lie inside `y`.
                    unsafe { _mm256_storeu_ps(y.add(m * self.pitch + h * ROW / 2), sum[m][h]) };
                }
            }
            return;
        }
        for h in 0..2 {
            let lanes = _mm256_set1_epi32(self.width as i32 - (h * ROW / 2) as i32);
            let mask = _mm256_cmpgt_epi32(lanes, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            for m in 0..MR {
                let at = y.wrapping_add(m * self.pitch + h * ROW / 2);
                // SAFETY: `Pixels::new`: `width` channels of pixel `m < MR` lie inside `y`; the
                // mask leaves the others untouched.
                unsafe { _mm256_maskstore_ps(at, mask, sum[m][h]) };
            }
        }
    }
}

/// Loads 16 floats.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load_avx512(from: &[f32; ROW]) -> __m512 {
    // SAFETY: the array is as long as the register; unaligned loads are allowed.
    unsafe { _mm512_loadu_ps(from.as_ptr()) }
}

/// Loads 16 floats as two registers.
#[target_feature(enable = "avx")]
#[inline]
pub(crate) fn load_panel_avx(from: &[f32; ROW]) -> [__m256; 2] {
    // SAFETY: the array is as long as two registers; unaligned loads are allowed.
    unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(ROW / 2))] }
}

/// Loads 8 floats.
#[target_feature(enable = "avx")]
#[inline]
pub(crate) fn load_avx(from: &[f32; 8]) -> __m256 {
    // SAFETY: the array is as long as the register; unaligned loads are allowed.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

/// Stores 8 floats.
#[target_feature(enable = "avx")]
#[inline]
pub(crate) fn store_avx(to: &mut [f32; 8], value: __m256) {
    // SAFETY: the array is as long as the register; unaligned stores are allowed.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), value) }
}
