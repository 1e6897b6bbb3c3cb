//! The sparse weights section: what `unbraid_runtime::model::sparse` reads.

use unbraid_runtime::model::sparse::{RECORD_WORDS, record_words};
use unbraid_runtime::span::Span;

/// A record for each tensor of the weights section `weights`.
pub(super) fn section(weights: &[u8], tensors: &[Span]) -> Vec<u8> {
    let mut words = Vec::new();
    for span in tensors {
        let bytes = span.range().and_then(|range| weights.get(range)).unwrap_or(&[]);
        let (values, _) = bytes.as_chunks::<4>();
        let values: Vec<u32> = values.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        record(&mut words, span.offset, &values);
    }
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Offset, counts, and whichever of both forms is smaller. By bits: -0.0 is stored.
fn record(words: &mut Vec<u32>, offset: u32, values: &[u32]) {
    let nonzero = values.iter().filter(|&&bits| bits != 0).count();
    // A tensor ends below 4 GiB, so it has fewer than 2^30 values.
    words.extend([offset, values.len() as u32]);
    if record_words(values.len(), nonzero) < Some(RECORD_WORDS + values.len()) {
        words.push(nonzero as u32);
        let bit = |(k, &bits): (usize, &u32)| u32::from(bits != 0) << k;
        let word = |values: &[u32]| values.iter().enumerate().map(bit).sum::<u32>();
        words.extend(values.chunks(32).map(word));
        words.extend(values.iter().filter(|&&bits| bits != 0));
    } else {
        words.push(values.len() as u32);
        words.extend(values);
    }
}
