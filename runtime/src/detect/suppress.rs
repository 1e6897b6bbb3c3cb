//! [`suppress`]: of candidates that overlap, the best.

use super::Candidate;
use super::rank::{sort, swap};

/// Greedy non-maximum suppression, class by class: sorts `candidates` best first and moves those
/// to the front that no better one *of their class* overlaps by more than `iou`. The answer is
/// how many they are; the order of the others is not specified.
///
/// Scores decide, of equal scores the lower [`Candidate::index`], so the same candidates in any
/// order give the same result. `iou` is intersection over union: at 1 or above and at NaN nothing
/// is suppressed, below 0 all but the best of each class. Rectangles with NaN or without area
/// suppress nothing. Needs time for kept x candidates comparisons.
pub fn suppress(candidates: &mut [Candidate], iou: f32) -> usize {
    sort(candidates);
    let mut kept = 0usize;
    for at in 0..candidates.len() {
        let (Some(better), Some(candidate)) = (candidates.get(..kept), candidates.get(at)) else {
            return kept;
        };
        let rivals = better.iter().filter(|other| other.class == candidate.class);
        if rivals.into_iter().any(|other| other.rect.overlap(&candidate.rect) > iou) {
            continue;
        }
        swap(candidates, kept, at);
        kept = kept.saturating_add(1);
    }
    kept
}
