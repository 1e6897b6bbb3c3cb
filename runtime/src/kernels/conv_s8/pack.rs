//! Packing of weights as [`LayoutS8::Nr16Kr4`](crate::step::LayoutS8::Nr16Kr4) and
//! [`LayoutS8::Nr16Kr4Bits4`](crate::step::LayoutS8::Nr16Kr4Bits4).
//!
//! It lies beside the kernels that read it, so that converter and tests write what they expect.

use super::geometry::ROW;
use super::{KR, NR};

/// Packs OIHW weights as `[group][panel][kh][kw][i / 4][16][4]`; channels that fill up a panel or a
/// four are zeros.
///
/// `weights` is `[out_c][in_c][kh][kw]` with `in_c` the input channels of one group; `packed` is
/// [`weights_len`](super::weights_len) long. `None`, and nothing written, when a length differs, a
/// number is zero, or `groups` does not divide `out_c`.
pub fn pack(
    weights: &[i8],
    out_c: usize,
    in_c: usize,
    kh: usize,
    kw: usize,
    groups: usize,
    packed: &mut [i8],
) -> Option<()> {
    let taps = kh.checked_mul(kw).filter(|&taps| taps > 0)?;
    let filter = taps.checked_mul(in_c).filter(|&len| len > 0)?;
    let group = out_c.checked_div(groups).filter(|&len| len > 0 && len * groups == out_c)?;
    let panel = in_c.div_ceil(KR).checked_mul(taps)?.checked_mul(ROW)?;
    let fits = weights.len() == out_c.checked_mul(filter)?
        && packed.len() == group.div_ceil(NR).checked_mul(groups)?.checked_mul(panel)?;
    if !fits {
        return None;
    }
    let of_groups = packed.chunks_exact_mut(group.div_ceil(NR) * panel);
    for (weights, packed) in weights.chunks_exact(group * filter).zip(of_groups) {
        for (filters, panel) in weights.chunks(NR * filter).zip(packed.chunks_exact_mut(panel)) {
            pack_panel(filters, taps, in_c, panel);
        }
    }
    Some(())
}

/// `filters` `[up to 16][i][tap]` to `panel` `[tap][i / 4][16][4]`.
fn pack_panel(filters: &[i8], taps: usize, in_c: usize, panel: &mut [i8]) {
    let (rows, _) = panel.as_chunks_mut::<ROW>();
    for (tap, rows) in rows.chunks_exact_mut(in_c.div_ceil(KR)).enumerate() {
        for (at, row) in rows.iter_mut().enumerate() {
            let mut of_channels = filters.chunks_exact(in_c * taps);
            for fours in row.as_chunks_mut::<KR>().0 {
                let filter = of_channels.next().unwrap_or(&[]);
                for (k, value) in fours.iter_mut().enumerate() {
                    let i = at * KR + k;
                    let weight = filter.get(i * taps + tap).filter(|_| i < in_c);
                    *value = weight.copied().unwrap_or(0);
                }
            }
        }
    }
}

/// Packs `values`, each in -8..=7, two a byte, the first in the low half.
///
/// `None`, and nothing written, when `bytes` is not half as long, or a value is out of range.
pub fn pack_bits4(values: &[i8], bytes: &mut [i8]) -> Option<()> {
    let fits = Some(values.len()) == bytes.len().checked_mul(2)
        && values.iter().all(|value| (-8..=7).contains(value));
    for (byte, [low, high]) in bytes.iter_mut().zip(values.as_chunks().0).filter(|_| fits) {
        *byte = (low & 15) | (high << 4);
    }
    fits.then_some(())
}

/// The values of one row of a panel, which lie two a byte.
pub(super) fn unpack_bits4(bytes: &[i8; ROW / 2]) -> [i8; ROW] {
    let mut values = [0; ROW];
    for ([low, high], byte) in values.as_chunks_mut().0.iter_mut().zip(bytes) {
        (*low, *high) = (byte << 4 >> 4, byte >> 4);
    }
    values
}
