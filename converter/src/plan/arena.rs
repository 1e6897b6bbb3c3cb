//! Lifetimes of buffers -> offsets in the arena.
//!
//! Offline and greedy: buffers are placed one after another, each into the smallest gap between
//! the buffers that live at the same time (best fit). The first order is by size, largest first
//! (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020); then
//! the buffer that sticks out moves to the front, again and again, until the arena is as small as
//! the most crowded step demands. A chain gets there: its largest pair of neighbouring maps.

use std::cmp::Reverse;

/// Every offset in the arena is a multiple of this many bytes.
pub const ALIGN: u64 = 64;

/// Bytes that must stay untouched from one step to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Size in bytes.
    pub bytes: u64,
    /// Index of the first step that writes them; 0 for what the caller writes.
    pub first: usize,
    /// Index of the last step that reads them; the number of steps for what the caller reads.
    pub last: usize,
}

impl Lifetime {
    /// Whether both are needed during some step.
    pub fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The bytes that the arena keeps for it.
    fn aligned(&self) -> u64 {
        self.bytes.next_multiple_of(ALIGN)
    }
}

/// Where each buffer lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arena {
    /// Offset of each buffer in bytes, a multiple of [`ALIGN`], in the order of the lifetimes.
    pub offsets: Vec<u64>,
    /// Bytes of the whole arena, a multiple of [`ALIGN`].
    pub bytes: u64,
}

/// Attempts at a smaller arena; random chains of 30 buffers need at most some dozens.
const ROUNDS: usize = 256;

/// Places all buffers so that no two that [meet](Lifetime::meets) overlap. Deterministic.
pub fn place(lifetimes: &[Lifetime]) -> Arena {
    let bound = lower_bound(lifetimes);
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&buffer| (Reverse(lifetimes[buffer].bytes), lifetimes[buffer].first));
    let mut best = place_in_order(lifetimes, &order);
    let mut last = best.clone();
    for _ in 0..ROUNDS {
        if best.bytes == bound {
            break;
        }
        promote_topmost(lifetimes, &last, &mut order);
        last = place_in_order(lifetimes, &order);
        if last.bytes < best.bytes {
            best = last.clone();
        }
    }
    best
}

/// Moves the buffer that makes the arena as large as it is before all that it meets.
fn promote_topmost(lifetimes: &[Lifetime], arena: &Arena, order: &mut [usize]) {
    let end = |&buffer: &usize| arena.offsets[buffer] + lifetimes[buffer].aligned();
    let topmost = (0..order.len()).max_by_key(|&at| (end(&order[at]), Reverse(at)));
    let Some(at) = topmost else { return };
    let meets = |buffer: &usize| lifetimes[*buffer].meets(&lifetimes[order[at]]);
    let first = order.iter().position(meets).unwrap_or(at);
    order[first..=at].rotate_right(1);
}

/// The most bytes that any one step needs: no arena can be smaller.
pub fn lower_bound(lifetimes: &[Lifetime]) -> u64 {
    let needed = |step| {
        let alive = lifetimes.iter().filter(move |l| l.first <= step && step <= l.last);
        alive.map(Lifetime::aligned).sum()
    };
    lifetimes.iter().map(|l| needed(l.first)).max().unwrap_or(0)
}

fn place_in_order(lifetimes: &[Lifetime], order: &[usize]) -> Arena {
    let mut arena = Arena { offsets: vec![0; lifetimes.len()], bytes: 0 };
    // Placed buffers by offset: gaps between those that meet the next one are read off in order.
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    for &buffer in order {
        let taken = placed.iter().filter(|&&p| lifetimes[p].meets(&lifetimes[buffer]));
        let ranges = taken.map(|&p| (arena.offsets[p], arena.offsets[p] + lifetimes[p].aligned()));
        let offset = best_gap(ranges, lifetimes[buffer].aligned());
        arena.offsets[buffer] = offset;
        arena.bytes = arena.bytes.max(offset + lifetimes[buffer].aligned());
        let at = placed.partition_point(|&p| arena.offsets[p] <= offset);
        placed.insert(at, buffer);
    }
    arena
}

/// Start of the smallest gap of at least `bytes` between `taken` ranges, which come ordered by
/// their start and may overlap; behind all of them when there is none.
fn best_gap(taken: impl Iterator<Item = (u64, u64)>, bytes: u64) -> u64 {
    let mut end = 0;
    let mut best: Option<(u64, u64)> = None;
    for (start, stop) in taken {
        let gap = start.saturating_sub(end);
        if gap >= bytes && gap > 0 && best.is_none_or(|(size, _)| gap < size) {
            best = Some((gap, end));
        }
        end = end.max(stop);
    }
    best.map_or(end, |(_, offset)| offset)
}
