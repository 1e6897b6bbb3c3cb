//! Sleeping until a word changes: the Linux futex, private to the process.

use std::ptr;
use std::sync::atomic::AtomicU32;

/// Sleeps while `word` holds `expected`, until [`wake`]; may return early for no reason.
pub(crate) fn wait(word: &AtomicU32, expected: u32) {
    let forever = ptr::null::<libc::timespec>();
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: `word` is an aligned 32-bit word that outlives the call; the kernel only reads it.
    // Whatever the call returns (woken, changed already, signal), the caller looks again.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, expected, forever) };
}

/// Wakes at most `count` threads that sleep on `word`.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: the kernel takes the address as a key of its queue and does not access the word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, count) };
}
