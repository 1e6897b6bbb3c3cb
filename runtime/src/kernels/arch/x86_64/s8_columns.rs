//! Loads and multiply-adds of 64 neighbouring channels, which lie in four registers in the order
//! of `vpunpck`: lane `l` of register `i` holds channels `16 * l + 4 * i` to `16 * l + 4 * i + 3`.
//!
//! [`Columns`] proves the extent of the loops, arrays that of single loads.

use core::arch::x86_64::*;

/// Channels at once.
pub(crate) const CHANNELS: usize = 64;

/// The weights of a quad of rows in one column of taps: registers in the order above, four bytes a
/// channel.
pub(crate) type Quad = [[i8; CHANNELS]; 4];

/// `width` neighbouring channels of `COLS` pixels in each of four rows, `pitch` bytes apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a, const COLS: usize> {
    rows: [(&'a [i8], usize); 4],
    width: usize,
}

impl<'a, const COLS: usize> Columns<'a, COLS> {
    /// Rows with their pitch. `None` when a row ends before its last pixel does, or there are no
    /// channels, or more than 64.
    #[inline]
    pub(crate) fn new(rows: [(&'a [i8], usize); 4], width: usize) -> Option<Self> {
        for (x, pitch) in rows {
            let last = COLS.checked_sub(1)?.checked_mul(pitch)?;
            if last.checked_add(width)? > x.len() {
                return None;
            }
        }
        (1..=CHANNELS).contains(&width).then_some(Self { rows, width })
    }

    /// Column `j` with the rows' bytes side by side, sign bits flipped.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn quads(&self, j: usize) -> [__m512i; 4] {
        debug_assert!(j < COLS, "loops end at COLS");
        let mask = mask(self.width);
        let mut rows = [_mm512_setzero_si512(); 4];
        for k in 0..4 {
            let (x, pitch) = self.rows[k];
            let at = x.as_ptr().wrapping_add(j * pitch);
            // SAFETY: `Columns::new`: `width` channels of pixel `j < COLS` lie inside `x`; others are
            // not read.
            let row = unsafe { _mm512_maskz_loadu_epi8(mask, at) };
            rows[k] = _mm512_xor_si512(row, _mm512_set1_epi8(i8::MIN));
        }
        interleave(rows)
    }
}

/// `sum[m] += dot(quads[m * S + k], weights[k])` for every `k < K`; `COLS` is `(MR - 1) * S + K`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
pub(crate) fn add_columns_vnni<
    const MR: usize,
    const K: usize,
    const S: usize,
    const COLS: usize,
>(
    sum: &mut [[__m512i; 4]; MR],
    columns: Columns<'_, COLS>,
    weights: &[Quad; K],
) {
    for j in 0..COLS {
        let quads = columns.quads(j);
        for m in 0..MR {
            let Some(k) = j.checked_sub(m * S).filter(|&k| k < K) else { continue };
            for i in 0..4 {
                let weights = load_bytes(&weights[k][i]);
                sum[m][i] = _mm512_dpbusd_epi32(sum[m][i], quads[i], weights);
            }
        }
    }
}

/// Four rows of 64 bytes as dwords of one byte of each, in the order above.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(crate) fn interleave([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab_low, cd_low),
        _mm512_unpackhi_epi16(ab_low, cd_low),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ]
}

/// 64 dwords in order to the order above, or back.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn transpose_lanes([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) =
        (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
    let (cd_low, cd_high) =
        (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
    [
        _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
    ]
}

/// The first `width` of 64 lanes, `1 <= width <= 64`.
#[inline]
fn mask(width: usize) -> __mmask64 {
    u64::MAX >> (CHANNELS.saturating_sub(width) & 63)
}

/// Loads 64 bytes.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load_bytes(from: &[i8; CHANNELS]) -> __m512i {
    // SAFETY: the array is as long as the register; unaligned loads are allowed.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Stores 64 bytes.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store_bytes(to: &mut [i8; CHANNELS], value: __m512i) {
    // SAFETY: the array is as long as the register; unaligned stores are allowed.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) };
}
