//! [`Header`]: the first 64 bytes of a file, little-endian, read by offset.
//!
//! Read and written here by the same table of offsets, so that converter and runtime cannot drift.
//! The header alone says how much memory an inference needs: [`arena_len`] works in a constant.

use super::{ALIGN, FormatError, Region, crc32};

/// First bytes of every file. A byte above 127 and a line feed show transfers in text mode.
pub const MAGIC: [u8; 8] = *b"\x89STRAND\n";

/// Format version this crate writes.
pub const VERSION: Version = Version { major: 0, minor: 5 };

/// Bytes of a [`Header`].
pub const HEADER_LEN: usize = 64;

/// Version of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Files of another major version are not read. Before 1.0, neither are those of another minor.
    pub major: u16,
    /// Counts additions that older readers may not know.
    pub minor: u16,
}

/// What the first 64 bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the target that the planner had in mind; 0 is "any". Says nothing about what may run it.
    pub target: u32,
    /// Bytes of the arena that hold feature maps; a multiple of 64.
    pub arena_base: u32,
    /// Bytes of scratch that each worker gets behind them; a multiple of 64.
    pub scratch_per_worker: u32,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Bytes of the whole file.
    pub file_len: u32,
    /// Entries of the section table.
    pub section_count: u32,
    /// Records of the plan.
    pub step_count: u32,
    /// CRC-32 of the section table.
    pub table_crc: u32,
    /// Bytes of memory that sparse weights expand into; 0: the weights are used where they lie.
    pub expanded: u32,
}

impl Header {
    /// The 64 bytes, checksum included.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.major.to_le_bytes());
        put(&mut bytes, 10, &VERSION.minor.to_le_bytes());
        put(&mut bytes, 12, &self.target.to_le_bytes());
        put(&mut bytes, 16, &self.arena_base.to_le_bytes());
        put(&mut bytes, 20, &self.scratch_per_worker.to_le_bytes());
        put(&mut bytes, 24, &self.macs.to_le_bytes());
        put(&mut bytes, 32, &self.file_len.to_le_bytes());
        put(&mut bytes, 36, &self.section_count.to_le_bytes());
        put(&mut bytes, 40, &self.step_count.to_le_bytes());
        put(&mut bytes, 44, &self.table_crc.to_le_bytes());
        put(&mut bytes, 48, &self.expanded.to_le_bytes());
        let crc = bytes.get(..60).map_or(0, crc32);
        put(&mut bytes, 60, &crc.to_le_bytes());
        bytes
    }

    /// Reads and checks the header of `bytes`, the whole file.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        if !MAGIC.iter().zip(bytes).all(|(want, found)| want == found) || bytes.is_empty() {
            return Err(FormatError::NotStrand);
        }
        let Some(head) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(FormatError::Truncated { needed: 64, found: bytes.len() });
        };
        let version = Version { major: u16_at(head, 8), minor: u16_at(head, 10) };
        if head.get(..60).map(crc32) != Some(u32_at(head, 60)) {
            return Err(FormatError::Checksum { region: Region::Header });
        }
        if version != VERSION {
            return Err(FormatError::Version { found: version });
        }
        if let Some(offset) = (52..60usize).find(|&at| head.get(at) != Some(&0)) {
            return Err(FormatError::Reserved { offset });
        }
        Self::read_fields(head).checked(bytes.len())
    }

    fn read_fields(head: &[u8; HEADER_LEN]) -> Self {
        Self {
            target: u32_at(head, 12),
            arena_base: u32_at(head, 16),
            scratch_per_worker: u32_at(head, 20),
            macs: u64_at(head, 24),
            file_len: u32_at(head, 32),
            section_count: u32_at(head, 36),
            step_count: u32_at(head, 40),
            table_crc: u32_at(head, 44),
            expanded: u32_at(head, 48),
        }
    }

    /// Holds the fields against the number of bytes there are and against each other.
    fn checked(self, found: usize) -> Result<Self, FormatError> {
        let needed = self.file_len;
        match usize::try_from(needed) {
            Ok(len) if len == found => {}
            Ok(len) if len < found => return Err(FormatError::TooLong { declared: needed, found }),
            _ => return Err(FormatError::Truncated { needed, found }),
        }
        if !self.arena_base.is_multiple_of(ALIGN) || !self.scratch_per_worker.is_multiple_of(ALIGN)
        {
            return Err(FormatError::ArenaUnaligned);
        }
        Ok(self)
    }
}

fn put(bytes: &mut [u8; HEADER_LEN], at: usize, value: &[u8]) {
    let Some(tail) = bytes.get_mut(at..) else { return };
    tail.iter_mut().zip(value).for_each(|(byte, &new)| *byte = new);
}

/// `N` bytes from `at`; zeros where there are none. The offsets above are inside the header.
const fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    match bytes.split_at_checked(at) {
        Some((_, tail)) => match tail.first_chunk() {
            Some(chunk) => *chunk,
            None => [0; N],
        },
        None => [0; N],
    }
}

const fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(super) const fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

const fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Bytes of arena that the file `bytes` needs with `workers` workers, for the size of a static
/// [`Arena`](crate::Arena). [`Model::arena_len`](super::Model::arena_len) is its run-time twin.
///
/// Looks at the header only and proves nothing: [`Model::new`](super::Model::new) does. Where
/// `bytes` is no file at all, or the sum does not fit, the answer is `usize::MAX`: no static can
/// have that size, so the build fails.
pub const fn arena_len(bytes: &[u8], workers: usize) -> usize {
    if bytes.len() < HEADER_LEN || u64_at(bytes, 0) != u64::from_le_bytes(MAGIC) {
        return usize::MAX;
    }
    match arena_bytes(u32_at(bytes, 16), u32_at(bytes, 20), workers) {
        Some(len) => len,
        None => usize::MAX,
    }
}

/// Bytes of memory that [`Model::expand`](super::Model::expand) needs for the sparse weights of the
/// file `bytes`, for the size of a static [`Arena`](crate::Arena); 0 for a file whose weights are
/// used where they lie. Like [`arena_len`] in everything else.
#[expect(clippy::as_conversions, reason = "u32 to usize, guarded: `try_from` is not const")]
pub const fn expanded_len(bytes: &[u8]) -> usize {
    let strand = bytes.len() >= HEADER_LEN && u64_at(bytes, 0) == u64::from_le_bytes(MAGIC);
    if strand && usize::BITS >= u32::BITS { u32_at(bytes, 48) as usize } else { usize::MAX }
}

/// `base + workers * scratch`.
#[expect(clippy::as_conversions, reason = "u32 to usize, guarded: `try_from` is not const")]
pub(super) const fn arena_bytes(base: u32, scratch: u32, workers: usize) -> Option<usize> {
    if usize::BITS < u32::BITS {
        return None;
    }
    match workers.checked_mul(scratch as usize) {
        Some(all) => all.checked_add(base as usize),
        None => None,
    }
}
