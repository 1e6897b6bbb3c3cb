//! [`Axis`]: which pixels the taps of a window read along one axis; for convolutions and pools.
#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "some numbers only SIMD kernels ask for")
)]

use core::num::NonZeroUsize;
use core::ops::Range;

/// `n` as an index, unless it is zero.
pub(crate) fn nonzero(n: u32) -> Option<usize> {
    usize::try_from(n).ok().filter(|&n| n > 0)
}

/// One axis of a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) taps: usize,
    pub(crate) stride: NonZeroUsize,
    pub(crate) dilation: usize,
    /// Padding before the first pixel.
    pub(crate) pad: usize,
    /// Input pixels under the window: `(taps - 1) * dilation + 1`.
    pub(crate) extent: usize,
    /// Border classes before and after the class of the middle, and where the latter begin.
    classes: (usize, usize, usize),
}

impl Axis {
    /// `None` when a number is zero or the extent overflows.
    pub(crate) fn new(taps: u32, stride: u32, dilation: u32, pad: u32) -> Option<Self> {
        let (taps, dilation) = (nonzero(taps)?, nonzero(dilation)?);
        let extent = (taps - 1).checked_mul(dilation)?.checked_add(1)?;
        let stride = NonZeroUsize::new(nonzero(stride)?)?;
        let pad = usize::try_from(pad).ok()?;
        Some(Self { taps, stride, dilation, pad, extent, classes: (0, 0, 0) })
    }

    /// `None` when the classes at both ends overlap on an output of `len`.
    pub(crate) fn with_border(self, before: u32, after: u32, len: usize) -> Option<Self> {
        let (before, after) = (usize::try_from(before).ok()?, usize::try_from(after).ok()?);
        let last = len.checked_sub(after)?;
        (before <= last).then_some(Self { classes: (before, after, last), ..self })
    }

    /// Distance of a tap from the first one.
    #[inline]
    pub(crate) fn tap(&self, k: usize) -> usize {
        k * self.dilation
    }

    /// Where the window of output pixel `at` begins, counted from the start of the padding.
    #[inline]
    pub(crate) fn window(&self, at: usize) -> usize {
        at * self.stride.get()
    }

    /// The input pixel that tap `k` of output pixel `at` reads, if it is one of `len`.
    #[inline]
    pub(crate) fn input(&self, at: usize, k: usize, len: usize) -> Option<usize> {
        (self.window(at) + self.tap(k)).checked_sub(self.pad).filter(|&i| i < len)
    }

    /// The taps of output pixel `at` that read one of `len` input pixels. Always one run.
    #[inline]
    pub(crate) fn taps_inside(&self, at: usize, len: usize) -> Range<usize> {
        let inside = |&k: &usize| self.input(at, k, len).is_some();
        let first = (0..self.taps).find(inside).unwrap_or(0);
        let count = (first..self.taps).take_while(inside).count();
        first..first + count
    }

    /// The output pixels, of `count`, all of whose taps read one of `len` input pixels.
    pub(crate) fn interior(&self, count: usize, len: usize) -> Range<usize> {
        let first = self.pad.div_ceil(self.stride.get());
        let room = (len + self.pad).checked_sub(self.extent);
        let end = room.map_or(0, |room| room / self.stride + 1).min(count);
        first.min(end)..end
    }

    /// Input pixels, of `len`, under the windows of output pixels `at`.
    pub(crate) fn inputs(&self, at: &Range<usize>, len: usize) -> Range<usize> {
        let last = self.window(at.end.saturating_sub(1)) + self.extent;
        let end = last.saturating_sub(self.pad).min(len);
        self.window(at.start).saturating_sub(self.pad).min(end)..end
    }

    /// Whether any tap of any window reads input pixel `i` (no when a stride skips it).
    pub(crate) fn reads(&self, i: usize) -> bool {
        self.dilation > 1 || (i + self.pad) % self.stride < self.taps
    }

    /// Class of output pixel `at`.
    #[inline]
    pub(crate) fn class(&self, at: usize) -> usize {
        let (before, _, last) = self.classes;
        if at < before { at } else { before + (at + 1).saturating_sub(last) }
    }

    /// Whether pixels differ in class.
    #[inline]
    pub(crate) fn has_classes(&self) -> bool {
        self.class_count() > 1
    }

    /// Number of classes.
    pub(crate) fn class_count(&self) -> usize {
        self.classes.0 + 1 + self.classes.1
    }
}
