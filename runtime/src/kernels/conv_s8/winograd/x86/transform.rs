//! The transforms along one axis, on registers; what each says for points and outputs it does not have is
//! zero.

use super::super::cover::{POINTS, TILE};
use core::arch::x86_64::*;

/// One value a point.
pub(super) type Points = [__m512i; POINTS];

/// `G g`: three taps (words) to all points.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn weights([g0, g1, g2]: [__m512i; 3]) -> Points {
    let even = _mm512_add_epi16(g0, g2);
    let twice = _mm512_add_epi16(g1, g1);
    let far = _mm512_add_epi16(g0, _mm512_slli_epi16::<2>(g2));
    [
        g0,
        _mm512_add_epi16(even, g1),
        _mm512_sub_epi16(even, g1),
        _mm512_add_epi16(far, twice),
        _mm512_sub_epi16(far, twice),
        g2,
    ]
}

/// `B d`: the inputs (words) of a tile of `OUTPUTS` to its points.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn data<const OUTPUTS: usize>(d: Points) -> Points {
    match OUTPUTS {
        1 => data_1(d),
        2 => data_2(d),
        3 => data_3(d),
        _ => data_4(d),
    }
}

/// Points 0, 1 and infinity.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn data_1([d0, d1, d2, zero, ..]: Points) -> Points {
    [_mm512_sub_epi16(d0, d1), d1, zero, zero, zero, _mm512_sub_epi16(d2, d1)]
}

/// Points 0, 1, -1 and infinity.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn data_2([d0, d1, d2, d3, zero, _]: Points) -> Points {
    [
        _mm512_sub_epi16(d0, d2),
        _mm512_add_epi16(d1, d2),
        _mm512_sub_epi16(d2, d1),
        zero,
        zero,
        _mm512_sub_epi16(d3, d1),
    ]
}

/// Points 0, 1, -1, 2 and infinity: `2 d0 - d1 - 2 d2 + d3`, `-2 d1 - d2 + d3`, `2 d1 - 3 d2 + d3`,
/// `d3 - d1`, `2 d1 - d2 - 2 d3 + d4`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn data_3([d0, d1, d2, d3, d4, zero]: Points) -> Points {
    let (a, b) = (_mm512_sub_epi16(d0, d2), _mm512_sub_epi16(d3, d1));
    let (c, e) = (_mm512_sub_epi16(d3, d2), _mm512_sub_epi16(d1, d2));
    let (twice_d1, twice_e) = (_mm512_add_epi16(d1, d1), _mm512_add_epi16(e, e));
    let twice_b = _mm512_add_epi16(b, b);
    [
        _mm512_add_epi16(_mm512_add_epi16(a, a), b),
        _mm512_sub_epi16(c, twice_d1),
        _mm512_add_epi16(c, twice_e),
        b,
        zero,
        _mm512_sub_epi16(_mm512_sub_epi16(d4, d2), twice_b),
    ]
}

/// All points: `4 d0 - 5 d2 + d4`, `-4 d1 - 4 d2 + d3 + d4`, `4 d1 - 4 d2 - d3 + d4`,
/// `-2 d1 - d2 + 2 d3 + d4`, `2 d1 - d2 - 2 d3 + d4`, `4 d1 - 5 d3 + d5`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn data_4([d0, d1, d2, d3, d4, d5]: Points) -> Points {
    let a = _mm512_sub_epi16(d4, _mm512_slli_epi16::<2>(d2));
    let b = _mm512_sub_epi16(d3, _mm512_slli_epi16::<2>(d1));
    let c = _mm512_sub_epi16(d4, d2);
    let half = _mm512_sub_epi16(d3, d1);
    let e = _mm512_add_epi16(half, half);
    let near = _mm512_slli_epi16::<2>(_mm512_sub_epi16(d0, d2));
    [
        _mm512_add_epi16(near, c),
        _mm512_add_epi16(a, b),
        _mm512_sub_epi16(a, b),
        _mm512_add_epi16(c, e),
        _mm512_sub_epi16(c, e),
        _mm512_sub_epi16(_mm512_sub_epi16(d5, d3), _mm512_add_epi16(e, e)),
    ]
}

/// `24 A c m`: the sums (integers) of a tile's points to 24 times its outputs.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn results<const OUTPUTS: usize>(m: Points) -> [__m512i; TILE] {
    match OUTPUTS {
        1 => results_1(m),
        2 => results_2(m),
        3 => results_3(m),
        _ => results_4(m),
    }
}

/// `24 (m0 + m1 + m5)`.
#[target_feature(enable = "avx512f")]
#[inline]
fn results_1([m0, m1, zero, _, _, m5]: Points) -> [__m512i; TILE] {
    [times_24(_mm512_add_epi32(_mm512_add_epi32(m0, m1), m5)), zero, zero, zero]
}

/// `24 m0 + 12 (m1 + m2)`, `12 (m1 - m2) + 24 m5`.
#[target_feature(enable = "avx512f")]
#[inline]
fn results_2([m0, m1, m2, zero, _, m5]: Points) -> [__m512i; TILE] {
    let (sum, difference) = (_mm512_add_epi32(m1, m2), _mm512_sub_epi32(m1, m2));
    let (m0, m5) = (_mm512_add_epi32(m0, m0), _mm512_add_epi32(m5, m5));
    let y = [_mm512_add_epi32(m0, sum), _mm512_add_epi32(difference, m5)];
    let [y0, y1] = y.map(|y| _mm512_slli_epi32::<2>(times_3(y)));
    [y0, y1, zero, zero]
}

/// 4 times `3 (m0 - m1) - m2 + m3`, `m2 - 3 m1 + 2 m3`, `-3 m1 - m2 + 4 m3 + 6 m5`.
#[target_feature(enable = "avx512f")]
#[inline]
fn results_3([m0, m1, m2, m3, zero, m5]: Points) -> [__m512i; TILE] {
    let first = _mm512_add_epi32(times_3(_mm512_sub_epi32(m0, m1)), _mm512_sub_epi32(m3, m2));
    let (m1, m3) = (times_3(m1), _mm512_add_epi32(m3, m3));
    let second = _mm512_add_epi32(_mm512_sub_epi32(m2, m1), m3);
    let m5 = _mm512_add_epi32(times_3(m5), m3);
    let third = _mm512_sub_epi32(_mm512_add_epi32(m5, m5), _mm512_add_epi32(m1, m2));
    let [y0, y1, y2] = [first, second, third].map(|y| _mm512_slli_epi32::<2>(y));
    [y0, y1, y2, zero]
}

/// `6 m0 - 4 (m1 + m2) + m3 + m4`, `2 (m3 - m4) - 4 (m1 - m2)`, `4 (m3 + m4) - 4 (m1 + m2)`,
/// `8 (m3 - m4) - 4 (m1 - m2) + 24 m5`.
#[target_feature(enable = "avx512f")]
#[inline]
fn results_4([m0, m1, m2, m3, m4, m5]: Points) -> [__m512i; TILE] {
    let (near, d) = (_mm512_add_epi32(m1, m2), _mm512_sub_epi32(m1, m2));
    let (far, e) = (_mm512_add_epi32(m3, m4), _mm512_sub_epi32(m3, m4));
    let twice_e = _mm512_add_epi32(e, e);
    let m0 = _mm512_sub_epi32(times_3(m0), _mm512_add_epi32(near, near));
    let m5 = times_3(m5);
    let last = _mm512_add_epi32(_mm512_sub_epi32(twice_e, d), _mm512_add_epi32(m5, m5));
    [
        _mm512_add_epi32(_mm512_add_epi32(m0, m0), far),
        _mm512_sub_epi32(twice_e, _mm512_slli_epi32::<2>(d)),
        _mm512_slli_epi32::<2>(_mm512_sub_epi32(far, near)),
        _mm512_slli_epi32::<2>(last),
    ]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn times_3(m: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_add_epi32(m, m), m)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn times_24(m: __m512i) -> __m512i {
    _mm512_slli_epi32::<3>(times_3(m))
}
