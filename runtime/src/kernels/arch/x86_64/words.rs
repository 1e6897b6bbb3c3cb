//! Loads, stores and the multiply-add loop of 16-bit integers of x86-64 with AVX-512 VNNI.
//!
//! Arrays prove the extent of single loads and stores, [`Tiles`] and [`Pairs`] that of the loop.
use core::arch::asm;
use core::arch::x86_64::*;

/// Words of a 512-bit register.
const WORDS: usize = 32;

/// 32-bit integers of a 512-bit register.
const LANES: usize = 16;

/// `count` neighbouring pairs of words in each of `MR` rows, `pitch` words apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles<'a, const MR: usize> {
    x: &'a [i16],
    pitch: usize,
    count: usize,
}

impl<'a, const MR: usize> Tiles<'a, MR> {
    /// `None` when `x` ends before the last row does.
    #[inline]
    pub(crate) fn new(x: &'a [i16], pitch: usize, count: usize) -> Option<Self> {
        let last = MR.checked_sub(1)?.checked_mul(pitch)?;
        let end = last.checked_add(count.checked_mul(2)?)?;
        (end <= x.len()).then_some(Self { x, pitch, count })
    }
}

/// `count` rows of three registers, neighbours: 16 pairs of words of each column of a 3x3 kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    weights: &'a [i16],
    count: usize,
}

impl<'a> Columns<'a> {
    /// `None` when `weights` ends before the last row does.
    #[inline]
    pub(crate) fn new(weights: &'a [i16], count: usize) -> Option<Self> {
        (count.checked_mul(3 * WORDS)? <= weights.len()).then_some(Self { weights, count })
    }
}

/// At which point the polynomial of three columns, `w0 + w1 p + w2 p^2`, is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// 0: the first column.
    Zero,
    /// Infinity: the last column.
    Infinity,
    /// The magnitude that a constant says.
    Positive,
    /// Likewise.
    Negative,
}

/// Row `w` of [`Columns`] at a point; of [`At::Zero`] and [`At::Infinity`] `P` is 0.
///
/// # Safety
/// `w` points to three registers.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn row_at<const P: u32>(w: *const i16, at: At) -> __m512i {
    // SAFETY: the caller says so, for this and the other columns.
    let column = |k: usize| unsafe { _mm512_loadu_si512(w.add(k * WORDS).cast()) };
    if P == 0 {
        return column(if matches!(at, At::Infinity) { 2 } else { 0 });
    }
    let (odd, square) = match P {
        1 => (column(1), column(2)),
        _ => (_mm512_add_epi16(column(1), column(1)), _mm512_slli_epi16::<2>(column(2))),
    };
    let even = _mm512_add_epi16(column(0), square);
    let negative = if matches!(at, At::Negative) { !0 } else { 0 };
    _mm512_mask_sub_epi16(_mm512_add_epi16(even, odd), negative, even, odd)
}

/// `sum + w.0 * pair.0 + w.1 * pair.1` in each lane, wrapping.
///
/// Not the intrinsic: LLVM would split some into a multiplication and an addition, two instructions where
/// one does, to shorten the chain of sums, which other sums hide anyway. And a broadcast of its own takes
/// longer than one that is part of the instruction.
///
/// # Safety
/// `pair` points to two words.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn add_pair(mut sum: __m512i, weights: __m512i, pair: *const i16) -> __m512i {
    // SAFETY: the instruction reads two registers and the two words, and writes a register; the CPU has
    // it, as the features of this function say.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {weights}, dword ptr [{pair}]{{1to16}}",
            sum = inout(zmm_reg) sum,
            weights = in(zmm_reg) weights,
            pair = in(reg) pair,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    sum
}

/// `out[m] = sum_i tiles[m][i] * columns[i] at a point` over every pair `i` that both have, wrapping.
/// `None` when `out` does not have `MR` registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
pub(crate) fn multiply_avx512<const MR: usize, const P: u32>(
    tiles: Tiles<'_, MR>,
    columns: Columns<'_>,
    at: At,
    out: &mut [i32],
) -> Option<()> {
    let out: &mut [[i32; LANES]; MR] = out.as_chunks_mut().0.first_chunk_mut()?;
    let mut sum = [_mm512_setzero_si512(); MR];
    let (mut x, mut w) = (tiles.x.as_ptr(), columns.weights.as_ptr());
    for _ in 0..tiles.count.min(columns.count) {
        // SAFETY: `Columns::new`: the three registers of row `i < count` lie inside `weights`.
        let weights = unsafe { row_at::<P>(w, at) };
        for m in 0..MR {
            // SAFETY: `Tiles::new`: pair `i < count` of row `m < MR` lies inside `x`.
            sum[m] = unsafe { add_pair(sum[m], weights, x.add(m * tiles.pitch)) };
        }
        // Wrapping: after the last row both may point past the end, and are not read again.
        x = x.wrapping_add(2);
        w = w.wrapping_add(3 * WORDS);
    }
    for m in 0..MR {
        store_i32_avx512(&mut out[m], sum[m]);
    }
    Some(())
}

/// The first 32 bytes as words; zeros behind the end of `from`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(crate) fn load_bytes_as_words_avx512(from: &[i8]) -> __m512i {
    if let Some(full) = from.first_chunk::<WORDS>() {
        // SAFETY: the array is as long as the register; unaligned loads are allowed.
        return _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(full.as_ptr().cast()) });
    }
    let mask = (1u32 << from.len()) - 1;
    // SAFETY: fewer than 32 bytes, else they were a chunk; the mask lets no others be read.
    _mm512_cvtepi8_epi16(unsafe { _mm256_maskz_loadu_epi8(mask, from.as_ptr()) })
}

/// Loads 64 bytes.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load_bytes_avx512(from: &[i8; 2 * WORDS]) -> __m512i {
    // SAFETY: the array is as long as the register; unaligned loads are allowed.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Stores 32 words.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store_words_avx512(to: &mut [i16; WORDS], value: __m512i) {
    // SAFETY: the array is as long as the register; unaligned stores are allowed.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) };
}

/// Stores 16 integers.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store_i32_avx512(to: &mut [i32; LANES], value: __m512i) {
    // SAFETY: the array is as long as the register; unaligned stores are allowed.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) };
}
