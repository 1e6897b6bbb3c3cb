//! Contract of the f32 kernels that find the best channels ([`TopK`]).
//!
//! One value is found in two passes, the largest and then where it is; several are kept in a heap, in
//! the memory of the output, whose root is the worst of them. Where NaN ends up is not specified. All kernels give the same bits.
//!
//! `x` and `y` are NHWC; a kernel computes a band of output rows.

use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use super::conv_f32::NR;
use crate::dims::Dims;
use crate::step::TopK;
use core::ops::Range;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: usize = 1;

/// One choice with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    op: TopK,
    rows: usize,
    columns: usize,
    channels: usize,
    count: usize,
    x: &'a [f32],
}

impl<'a> Args<'a> {
    /// `None` when a dimension is zero, there are fewer channels than are chosen, the output is another
    /// one, or `x` is not as long as [`Dims::elements`] says.
    pub fn new(op: TopK, input: Dims, output: Dims, x: &'a [f32]) -> Option<Self> {
        let wanted = Dims { c: op.count.checked_mul(2)?, ..input };
        let fits = (1..=input.c).contains(&op.count)
            && input.c <= TopK::MAX_CHANNELS
            && output == wanted
            && x.len() == input.elements()?;
        output.elements()?;
        fits.then_some(Self {
            op,
            rows: nonzero(input.h)?,
            columns: nonzero(input.w)?,
            channels: nonzero(input.c)?,
            count: nonzero(op.count)?,
            x,
        })
    }

    /// Number of values in one output row.
    pub fn output_row(&self) -> usize {
        self.columns.saturating_mul(self.count).saturating_mul(2)
    }
}

impl Operands for Args<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.output_row())
    }
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct TopKF32;

impl Contract for TopKF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("top_k_f32_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("top_k_f32_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("top_k_f32_portable");
}

impl Loops for TopKF32 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], _: &mut [f32]) {
        let first = rows.start.saturating_mul(args.columns).saturating_mul(args.channels);
        let pixels = args.x.get(first..).unwrap_or(&[]).chunks_exact(args.channels.max(1));
        for (x, y) in pixels.zip(y.chunks_exact_mut(args.count.saturating_mul(2).max(1))) {
            let Some((values, places)) = y.split_at_mut_checked(args.count) else { return };
            match (values, places) {
                ([value], [place]) => (*value, *place) = best(args.op, x),
                (values, places) => several(args.op, x, values, places),
            }
        }
    }
}

/// The best value and where it is.
#[inline(always)]
fn best(op: TopK, x: &[f32]) -> (f32, f32) {
    let value = if op.largest {
        extreme(x, f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
    } else {
        extreme(x, f32::INFINITY, |a, b| if b < a { b } else { a })
    };
    let is_best = |x: &f32| *x == value;
    let place = if op.last { x.iter().rposition(is_best) } else { x.iter().position(is_best) };
    (value, place.unwrap_or(0) as f32)
}

#[inline(always)]
fn extreme(x: &[f32], start: f32, better: impl Fn(f32, f32) -> f32) -> f32 {
    let (blocks, rest) = x.as_chunks::<NR>();
    let mut lanes = [start; NR];
    for block in blocks {
        for i in 0..NR {
            lanes[i] = better(lanes[i], block[i]);
        }
    }
    lanes.iter().chain(rest).fold(start, |all, &value| better(all, value))
}

/// As many as `values` holds, the best first.
fn several(op: TopK, x: &[f32], values: &mut [f32], places: &mut [f32]) {
    let mut heap = Heap { op, len: values.len(), values, places };
    for (place, &value) in x.iter().enumerate().take(heap.len) {
        heap.set(place, (value, place as f32));
    }
    (0..heap.len / 2).rev().for_each(|at| heap.sink(at));
    for (place, &value) in x.iter().enumerate().skip(heap.len) {
        let entry = (value, place as f32);
        if heap.beats(entry, heap.get(0)) {
            heap.set(0, entry);
            heap.sink(0);
        }
    }
    // The worst goes behind all others, until one is left.
    while heap.len > 1 {
        heap.len = heap.len.saturating_sub(1);
        let (worst, last) = (heap.get(0), heap.get(heap.len));
        heap.set(heap.len, worst);
        heap.set(0, last);
        heap.sink(0);
    }
}

/// A binary heap of values and their places, in which no entry beats one of its children: the root is the
/// worst of all.
struct Heap<'a> {
    op: TopK,
    /// Entries from here on are no longer part of the heap.
    len: usize,
    values: &'a mut [f32],
    places: &'a mut [f32],
}

impl Heap<'_> {
    fn get(&self, at: usize) -> (f32, f32) {
        let value = self.values.get(at).copied().unwrap_or(0.0);
        (value, self.places.get(at).copied().unwrap_or(0.0))
    }

    fn set(&mut self, at: usize, (value, place): (f32, f32)) {
        self.values.get_mut(at).into_iter().for_each(|to| *to = value);
        self.places.get_mut(at).into_iter().for_each(|to| *to = place);
    }

    /// Whether `a` comes before `b` in the result.
    fn beats(&self, a: (f32, f32), b: (f32, f32)) -> bool {
        let before = |a: f32, b: f32, greater: bool| if greater { a > b } else { a < b };
        match a.0 == b.0 {
            true => before(a.1, b.1, self.op.last),
            false => before(a.0, b.0, self.op.largest),
        }
    }

    /// Moves the entry at `at` down until it beats none of its children.
    fn sink(&mut self, at: usize) {
        let mut at = at;
        loop {
            let children = at.saturating_mul(2).saturating_add(1);
            let mut worst = at;
            for child in children..children.saturating_add(2).min(self.len) {
                if self.beats(self.get(worst), self.get(child)) {
                    worst = child;
                }
            }
            if worst == at {
                return;
            }
            let (upper, lower) = (self.get(at), self.get(worst));
            self.set(at, lower);
            self.set(worst, upper);
            at = worst;
        }
    }
}
