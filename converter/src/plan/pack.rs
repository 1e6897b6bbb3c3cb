//! Packing of depthwise weights as [`Layout::F32Dw16`](unbraid_runtime::step::Layout::F32Dw16).

use unbraid_runtime::kernels::conv_f32::NR;

/// `[C][1][kh][kw]` -> `[block][kh][kw][16]`, the last block filled up with zeros.
///
/// `taps` is `kh * kw`. `None` unless there are `channels * taps` weights.
pub(super) fn depthwise(weights: &[f32], channels: usize, taps: usize) -> Option<Vec<f32>> {
    if Some(weights.len()) != channels.checked_mul(taps) {
        return None;
    }
    let mut packed = vec![0.0; channels.next_multiple_of(NR).checked_mul(taps)?];
    for (channel, filter) in weights.chunks_exact(taps).enumerate() {
        let (block, lane) = (channel / NR, channel % NR);
        for (tap, &weight) in filter.iter().enumerate() {
            packed[(block * taps + tap) * NR + lane] = weight;
        }
    }
    Some(packed)
}
