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

/// The same for one panel and signed pixels: register `r` of a pixel has the sums of channels `4 * r` to
/// `4 * r + 3`, of fours' first two products and of their last two.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn add_fours_avx2<const MR: usize>(
    sum: &mut [[__m256i; 4]; MR],
    fours: Fours<'_, MR>,
    rows: Rows<'_, 1>,
) {
    let (mut x, mut w) = (fours.x.as_ptr(), rows.weights.as_ptr());
    for _ in 0..fours.count.min(rows.count) {
        let mut pixels = [_mm256_setzero_si256(); MR];
        for m in 0..MR {
            // SAFETY: `Fours::new`: four `i < count` of pixel `m < MR` lies inside `x`.
            let four = unsafe { x.add(m * fours.pitch).cast::<i32>().read_unaligned() };
            pixels[m] = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
        }
        for r in 0..4 {
            // SAFETY: `Rows::new`: all 64 weights of row `i < count` lie inside `weights`.
            let weights = unsafe { _mm_loadu_si128(w.add(r * 16).cast()) };
            let weights = _mm256_cvtepi8_epi16(weights);
            for m in 0..MR {
                let products = _mm256_madd_epi16(pixels[m], weights);
                sum[m][r] = _mm256_add_epi32(sum[m][r], products);
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
}

/// Stores the first bytes of a register: as many as `to` has room for.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(crate) fn store_channels(to: &mut [u8], bytes: __m512i) {
    let mask = u64::MAX >> 64usize.saturating_sub(to.len()).min(63);
    let at = to.as_mut_ptr();
    match to.len() {
        0 => (),
        // SAFETY: that many bytes lie inside `to`; unaligned stores are allowed.
        16 => unsafe { _mm_storeu_si128(at.cast(), _mm512_castsi512_si128(bytes)) },
        // SAFETY: as before.
        32 => unsafe { _mm256_storeu_si256(at.cast(), _mm512_castsi512_si256(bytes)) },
        // SAFETY: as before.
        64.. => unsafe { _mm512_storeu_si512(at.cast(), bytes) },
        // SAFETY: the mask has a bit for every byte of `to`; others are left untouched.
        _ => unsafe { _mm512_mask_storeu_epi8(at.cast(), mask, bytes) },
    }
}

/// Stores the first values of a register: as many as `to` has room for.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store_floats(to: &mut [u8], values: __m512) {
    let mask = ((1u32 << (to.len() / 4).min(NR)) - 1) as __mmask16;
    // SAFETY: the mask has a bit for every whole value of `to`; others are left untouched.
    unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr().cast(), mask, values) };
}

impl<const MR: usize> Results<'_, MR, 1, 1> {
    /// Stores 16 bytes a pixel; those of channels from `width` on are dropped.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(crate) fn store_avx2(self, values: &[__m128i; MR]) {
        for m in 0..MR {
            let mut bytes = [0; NR];
            // SAFETY: the array is as long as the register; unaligned stores are allowed.
            unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), values[m]) };
            let pixel = self.y.get_mut(m * self.pitch..).unwrap_or_default();
            copy_channels(pixel, &bytes, self.width);
        }
    }
}

impl<const MR: usize> Results<'_, MR, 1, 4> {
    /// Stores 16 values a pixel; those of channels from `width` on are dropped.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(crate) fn store_avx2(self, values: &[[__m256; 2]; MR]) {
        for m in 0..MR {
            let mut bytes = [0; NR * 4];
            for h in 0..2 {
                // SAFETY: the array is as long as two registers; unaligned stores are allowed.
                unsafe { _mm256_storeu_ps(bytes.as_mut_ptr().add(h * 32).cast(), values[m][h]) };
            }
            let pixel = self.y.get_mut(m * self.pitch..).unwrap_or_default();
            copy_channels(pixel, &bytes, self.width * 4);
        }
    }
}

/// Copies `len` of the bytes: all of them in one go if they are wanted.
#[inline]
fn copy_channels<const N: usize>(to: &mut [u8], from: &[u8; N], len: usize) {
    match to.first_chunk_mut::<N>().filter(|_| len == N) {
        Some(to) => *to = *from,
        None => to.iter_mut().zip(from).take(len).for_each(|(to, from)| *to = *from),
    }
}

/// Loads 16 bytes and widens them to 16 bits each.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn widen_avx2(from: &[i8; NR]) -> __m256i {
    // SAFETY: the array is as long as the register; unaligned loads are allowed.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
}

/// Loads 16 integers as two registers.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn load_i32_avx2(from: &[i32; NR]) -> [__m256i; 2] {
    let (halves, _) = from.as_chunks::<8>();
    let mut registers = [_mm256_setzero_si256(); 2];
    for (register, half) in registers.iter_mut().zip(halves) {
        // SAFETY: the array is as long as the register; unaligned loads are allowed.
        *register = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
    }
    registers
}

/// Loads 16 integers.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load_i32_avx512(from: &[i32; NR]) -> __m512i {
    // SAFETY: the array is as long as the register; unaligned loads are allowed.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}
