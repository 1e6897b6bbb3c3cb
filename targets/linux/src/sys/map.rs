//! A read-only mapping of a whole file.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::slice;

/// Pages of a file, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: NonZeroUsize,
}

// SAFETY: a `Mapping` is an owned range of read-only memory; no method writes or hands out a
// mutable reference, so threads may share it and drop it anywhere.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`.
    pub(crate) fn new(file: &File, len: NonZeroUsize) -> io::Result<Self> {
        let (access, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
        // SAFETY: a null hint lets the kernel choose free addresses, so no memory in use is
        // replaced; the descriptor is open for the length of the call.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len.get(), access, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, len })
    }

    /// The file's bytes; the first is at the start of a page.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `new` mapped `len` readable bytes at `start`, which stay mapped until drop, and
        // any bit pattern is a `u8`. That nobody writes to or truncates the file meanwhile is the
        // documented duty of the user of `MappedFile`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len.get()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of the mapping that `new` made; references into it
        // borrow `self` and are gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len.get()) };
    }
}
