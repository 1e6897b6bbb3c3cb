//! Memory handed out: [`Arena`], a static that is taken once, and [`Bands`], disjoint parts of a
//! slice for tasks that run at the same time.
//!
//! Besides the calls of SIMD kernels this is the only file of the crate with `unsafe`: both types
//! turn a shared reference into a mutable one, and both guard it with flags that are set once.
#![allow(unsafe_code, reason = "shared to mutable references, behind flags that are set once")]

#[cfg(target_has_atomic = "8")]
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

/// Memory for one session: `N` bytes at a multiple of 64, for a static.
///
/// `N` is [`arena_len`](crate::arena_len) of the file, so that the linker knows the RAM. A core
/// without atomic exchange (ARMv6-M) has no `Arena`: give
/// [`Session::new`](crate::Session::new) a slice of a static that its framework hands out.
#[cfg(target_has_atomic = "8")]
#[repr(C, align(64))]
pub struct Arena<const N: usize> {
    bytes: UnsafeCell<[u8; N]>,
    taken: AtomicBool,
}

// SAFETY: the bytes are reached through `take` only, which hands them out once: `taken` is
// exchanged atomically, and only the one caller that saw `false` gets them.
#[cfg(target_has_atomic = "8")]
unsafe impl<const N: usize> Sync for Arena<N> {}

#[cfg(target_has_atomic = "8")]
impl<const N: usize> Arena<N> {
    /// Zeros, not yet taken.
    #[expect(clippy::new_without_default, reason = "made for statics, which need a const fn")]
    pub const fn new() -> Self {
        Self { bytes: UnsafeCell::new([0; N]), taken: AtomicBool::new(false) }
    }

    /// The bytes, the first time; `None` ever after.
    #[allow(clippy::mut_from_ref, reason = "handed out once")]
    pub fn take(&'static self) -> Option<&'static mut [u8]> {
        if !claim(&self.taken) {
            return None;
        }
        // SAFETY: `claim` returns true once in the life of `taken`, so no other reference to the
        // bytes exists or will; the static lives for ever.
        Some(unsafe { &mut *self.bytes.get() })
    }
}

#[cfg(target_has_atomic = "8")]
impl<const N: usize> core::fmt::Debug for Arena<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Arena").field("len", &N).field("taken", &self.taken).finish()
    }
}

/// Most workers a session can have.
pub const MAX_WORKERS: usize = 64;

/// Rows of bytes, cut into consecutive bands that are handed out once each.
#[derive(Debug)]
pub(crate) struct Bands<'a> {
    bytes: *mut u8,
    len: usize,
    row_len: usize,
    cut: Cut,
    taken: [AtomicBool; MAX_WORKERS],
    lifetime: PhantomData<&'a mut [u8]>,
}

// SAFETY: `bytes` is an exclusive borrow for 'a; `take` hands out disjoint parts of it (see
// there), each once, and bytes may be sent to other threads.
unsafe impl Sync for Bands<'_> {}

impl<'a> Bands<'a> {
    /// `bytes` are rows of `row_len`, the last one possibly short.
    pub(crate) fn new(bytes: &'a mut [u8], row_len: usize, cut: Cut) -> Self {
        let (bytes, len) = (bytes.as_mut_ptr(), bytes.len());
        let taken = [const { AtomicBool::new(false) }; MAX_WORKERS];
        Self { bytes, len, row_len, cut, taken, lifetime: PhantomData }
    }

    /// The rows of band `index` and their bytes; `None` if there is no such band or it was taken.
    #[allow(clippy::mut_from_ref, reason = "each band is handed out once")]
    pub(crate) fn take(&self, index: usize) -> Option<(Range<usize>, &mut [u8])> {
        if index >= self.cut.bands || !claim(self.taken.get(index)?) {
            return None;
        }
        let rows = self.cut.rows(index);
        let at = |row: usize| row.saturating_mul(self.row_len).min(self.len);
        let (start, end) = (at(rows.start), at(rows.end));
        // SAFETY: `start <= end <= len` because `at` grows with the row and ends at `len`, so the
        // part lies inside the slice that `new` borrowed for 'a. Parts of two bands are disjoint:
        // `Cut::rows` of different bands are disjoint ranges in order, and `at` keeps the order.
        // `claim` returned true, which it does once a band, so this is the only reference to it.
        let band = unsafe {
            core::slice::from_raw_parts_mut(self.bytes.add(start), end.saturating_sub(start))
        };
        Some((rows, band))
    }
}

/// Sets a flag; whether this call was the one that set it.
#[cfg(target_has_atomic = "8")]
fn claim(flag: &AtomicBool) -> bool {
    !flag.swap(true, Ordering::Relaxed)
}

/// Sets a flag; whether this call was the one that set it.
///
/// Not atomic, and need not be: without atomic exchange there is no
/// [`Session::with_workers`](crate::Session), so one thread takes one band after the other.
#[cfg(not(target_has_atomic = "8"))]
fn claim(flag: &AtomicBool) -> bool {
    let unset = !flag.load(Ordering::Relaxed);
    flag.store(true, Ordering::Relaxed);
    unset
}

/// How rows are cut into bands: as evenly as whole quanta allow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    rows: usize,
    quantum: usize,
    /// Quanta that cover the rows.
    quanta: usize,
    bands: usize,
}

impl Cut {
    /// At most `most` bands, each but the last a multiple of `quantum` rows, none of them empty.
    pub(crate) fn new(rows: usize, quantum: usize, most: usize) -> Self {
        let quantum = quantum.max(1);
        let quanta = rows.div_ceil(quantum);
        Self { rows, quantum, quanta, bands: quanta.min(most).min(MAX_WORKERS) }
    }

    /// Number of bands.
    pub(crate) fn bands(&self) -> usize {
        self.bands
    }

    /// The rows of one band. For `index < bands` the ranges follow each other without gaps.
    fn rows(&self, index: usize) -> Range<usize> {
        let start = |band: usize| {
            let quantum = self.quanta.saturating_mul(band).checked_div(self.bands).unwrap_or(0);
            quantum.saturating_mul(self.quantum).min(self.rows)
        };
        start(index)..start(index.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bands, Cut};

    #[test]
    fn bands_cover_each_row_once_at_multiples_of_the_quantum() {
        for (rows, quantum, most) in [(7, 1, 2), (14, 4, 3), (3, 4, 5), (1, 1, 64), (64, 1, 64)] {
            let cut = Cut::new(rows, quantum, most);
            let mut next = 0;
            for band in 0..cut.bands() {
                let range = cut.rows(band);
                assert_eq!((range.start, range.start % quantum), (next, 0));
                assert!(!range.is_empty());
                next = range.end;
            }
            assert_eq!(next, rows);
        }
    }

    #[test]
    fn a_band_is_handed_out_once_and_holds_its_rows() {
        let mut bytes = [0, 0, 1, 1, 2];
        let bands = Bands::new(&mut bytes, 2, Cut::new(3, 1, 2));
        assert_eq!(bands.take(1), Some((1..3, &mut [1, 1, 2][..])));
        assert_eq!(bands.take(0), Some((0..1, &mut [0, 0][..])));
        assert_eq!((bands.take(1), bands.take(2)), (None, None));
    }
}
