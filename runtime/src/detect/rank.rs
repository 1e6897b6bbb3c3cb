//! Order of candidates, and the best of many in memory for a few: a heap whose root is the worst.
//!
//! Sorting and selecting are the same heap (Williams, "Heapsort", 1964): no allocation, and unlike
//! `slice::sort_unstable` no path that panics.

use super::Candidate;
use core::cmp::Ordering;

/// `Less` for the better one: higher score, then lower index. NaN is worse than any number.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    let key = |c: &Candidate| if c.score.is_nan() { f32::NEG_INFINITY } else { c.score };
    key(b).total_cmp(&key(a)).then(a.index.cmp(&b.index))
}

/// Sorts the better ones to the front.
pub(super) fn sort(candidates: &mut [Candidate]) {
    let len = candidates.len();
    let mut heap = Best { memory: candidates, len };
    for at in (0..len / 2).rev() {
        heap.sift_down(at);
    }
    heap.finish();
}

/// The best of the candidates that were offered.
pub(super) struct Best<'m> {
    memory: &'m mut [Candidate],
    /// The first `len` of `memory` are a heap: none is worse than its parent.
    len: usize,
}

impl<'m> Best<'m> {
    pub(super) fn new(memory: &'m mut [Candidate]) -> Self {
        Self { memory, len: 0 }
    }

    /// Keeps `candidate`, at the cost of the worst where there is no room, unless it is the worst.
    pub(super) fn offer(&mut self, candidate: Candidate) {
        if let Some(free) = self.memory.get_mut(self.len) {
            *free = candidate;
            let last = self.len;
            self.len = last.saturating_add(1);
            self.sift_up(last);
        } else if let Some(worst) = self.memory.first_mut()
            && order(&candidate, worst) == Ordering::Less
        {
            *worst = candidate;
            self.sift_down(0);
        }
    }

    /// Sorts the better ones to the front; how many there are.
    pub(super) fn finish(mut self) -> usize {
        let count = self.len;
        while let Some(last) = self.len.checked_sub(1) {
            swap(self.memory, 0, last);
            self.len = last;
            self.sift_down(0);
        }
        count
    }

    fn sift_up(&mut self, mut at: usize) {
        while let Some(above) = at.checked_sub(1) {
            let parent = above / 2;
            if !self.is_worse(at, parent) {
                return;
            }
            swap(self.memory, at, parent);
            at = parent;
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let left = at.saturating_mul(2).saturating_add(1);
            let right = left.saturating_add(1);
            let child = if self.is_worse(right, left) { right } else { left };
            if !self.is_worse(child, at) {
                return;
            }
            swap(self.memory, at, child);
            at = child;
        }
    }

    /// Whether place `a` of the heap has a candidate, and a worse one than place `b`.
    fn is_worse(&self, a: usize, b: usize) -> bool {
        let heap = self.memory.get(..self.len).unwrap_or_default();
        match (heap.get(a), heap.get(b)) {
            (Some(a), Some(b)) => order(a, b) == Ordering::Greater,
            _ => false,
        }
    }
}

/// `slice::swap` without its panic: places that are not there stay as they are.
pub(super) fn swap(candidates: &mut [Candidate], a: usize, b: usize) {
    if let Ok([a, b]) = candidates.get_disjoint_mut([a, b]) {
        core::mem::swap(a, b);
    }
}
