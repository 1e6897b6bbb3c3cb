//! Packing of weights, biases and slopes as [`Layout::F32Nr16`](crate::step::Layout::F32Nr16).
//!
//! It lies beside the kernels that read it, so that converter and tests write what they expect.

use super::NR;
use bytemuck::Pod;

/// Packs OIHW weights as `[group][panel][kh][kw][i][16]`, the last panel of a group filled up with
/// zeros.
///
/// `weights` is `[out_c][in_c][kh][kw]` with `in_c` the input channels of one group; `packed` is
/// [`weights_len`](super::weights_len) long. `None`, and nothing written, when a length differs, a
/// number is zero, or `groups` does not divide `out_c`.
pub fn pack(
    weights: &[f32],
    out_c: usize,
    in_c: usize,
    kh: usize,
    kw: usize,
    groups: usize,
    packed: &mut [f32],
) -> Option<()> {
    let taps = kh.checked_mul(kw)?;
    let filter = taps.checked_mul(in_c).filter(|&len| len > 0)?;
    let group = group_len(out_c, groups)?;
    let panel = filter.checked_mul(NR)?;
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

/// `filters` `[up to 16][i][tap]` to `panel` `[tap][i][16]`.
fn pack_panel(filters: &[f32], taps: usize, in_c: usize, panel: &mut [f32]) {
    let (rows, _) = panel.as_chunks_mut::<NR>();
    for (at, row) in rows.iter_mut().enumerate() {
        let (tap, i) = (at / in_c, at % in_c);
        let mut of_channels = filters.chunks_exact(in_c * taps);
        for value in row {
            let weight = of_channels.next().and_then(|filter| filter.get(i * taps + tap));
            *value = weight.copied().unwrap_or(0.0);
        }
    }
}

/// Packs one value an output channel (a bias vector or slopes) as `[group][panel][16]`, the last
/// panel of a group filled up with zeros.
///
/// `None`, and nothing written, when `values` is not `out_c` long, `padded` is not `groups` times
/// whole panels, a number is zero, or `groups` does not divide `out_c`.
pub fn pack_channels<T: Pod>(
    values: &[T],
    out_c: usize,
    groups: usize,
    padded: &mut [T],
) -> Option<()> {
    let group = group_len(out_c, groups)?;
    let stride = group.checked_next_multiple_of(NR)?;
    if values.len() != out_c || padded.len() != stride.checked_mul(groups)? {
        return None;
    }
    for (values, padded) in values.chunks_exact(group).zip(padded.chunks_exact_mut(stride)) {
        padded.fill(T::zeroed());
        padded.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
    }
    Some(())
}

/// Output channels of one group.
fn group_len(out_c: usize, groups: usize) -> Option<usize> {
    let group = out_c.checked_div(groups).filter(|&len| len > 0)?;
    (group * groups == out_c).then_some(group)
}
