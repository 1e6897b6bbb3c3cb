//! The section table: what lies where in a file, and the proof that it does.

use super::header::{HEADER_LEN, Header, u32_at};
use super::{ALIGN, FormatError, Region, crc32};

/// Bytes of a [`SectionEntry`].
pub const ENTRY_LEN: usize = 24;

/// What a section holds (`FORMAT.md`, "Sections").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SectionKind {
    /// The steps, one postcard record each. Required.
    Plan = 1,
    /// Packed weights, used in place. Required.
    Weights = 2,
    /// Inputs, then outputs, one postcard record each. Required.
    Ports = 3,
    /// A name for each step, one postcard string each.
    Names = 4,
    /// Weights as the ONNX file orders them, for re-packing on the device.
    PlainWeights = 5,
    /// One [`Meta`](super::meta::Meta) record.
    Meta = 6,
    /// [Sparse](super::sparse) weights, in place of [`SectionKind::Weights`]. Required where there are no others.
    SparseWeights = 7,
    /// One [`Head`](crate::detect::Head) record: what the outputs of a detector mean.
    Head = 8,
    /// The name of each class, one postcard string each.
    Labels = 9,
}

impl SectionKind {
    /// All kinds this crate knows.
    pub const ALL: [Self; 9] = [
        Self::Plan,
        Self::Weights,
        Self::Ports,
        Self::Names,
        Self::PlainWeights,
        Self::Meta,
        Self::SparseWeights,
        Self::Head,
        Self::Labels,
    ];

    /// The number in the table.
    #[expect(clippy::as_conversions, reason = "the discriminant is a u32")]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Whether a reader that does not know this kind must refuse the file.
    pub const fn required(self) -> bool {
        matches!(self, Self::Plan | Self::Weights | Self::Ports | Self::SparseWeights)
    }

    /// The kind with this number, if this crate knows it.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// One entry of the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionEntry {
    /// Number of the kind, known or not.
    pub kind: u32,
    /// A reader that does not know the kind must refuse the file.
    pub required: bool,
    /// First byte in the file: a multiple of 64.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
    /// CRC-32 of those bytes.
    pub crc: u32,
}

impl SectionEntry {
    /// The entry of a section of `kind` with content `bytes`, placed at the first aligned offset
    /// that is not before `end`, the end of what precedes it. `None` beyond 4 GiB.
    pub fn after(end: u32, kind: SectionKind, bytes: &[u8]) -> Option<Self> {
        let offset = align_up(end)?;
        let len = u32::try_from(bytes.len()).ok()?;
        offset.checked_add(len)?;
        let required = kind.required();
        Some(Self { kind: kind.number(), required, offset, len, crc: crc32(bytes) })
    }

    /// First byte behind the section. Saturates where no file could be that long.
    pub const fn end(&self) -> u32 {
        self.offset.saturating_add(self.len)
    }

    /// The 24 bytes.
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let words = [self.kind, u32::from(self.required), self.offset, self.len, self.crc, 0];
        let mut bytes = [0; ENTRY_LEN];
        let (chunks, _) = bytes.as_chunks_mut::<4>();
        chunks.iter_mut().zip(words).for_each(|(chunk, word)| *chunk = word.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; ENTRY_LEN], index: usize) -> Result<Self, FormatError> {
        let flags = u32_at(bytes, 4);
        if flags > 1 || u32_at(bytes, 20) != 0 {
            return Err(FormatError::Section { index, fault: SectionFault::Reserved });
        }
        Ok(Self {
            kind: u32_at(bytes, 0),
            required: flags == 1,
            offset: u32_at(bytes, 8),
            len: u32_at(bytes, 12),
            crc: u32_at(bytes, 16),
        })
    }

    /// The section's bytes in `file`.
    pub(super) fn slice<'m>(&self, file: &'m [u8]) -> Option<&'m [u8]> {
        let start = usize::try_from(self.offset).ok()?;
        let end = start.checked_add(usize::try_from(self.len).ok()?)?;
        file.get(start..end)
    }
}

/// What is wrong with an entry of the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SectionFault {
    /// A reserved flag or field is set.
    Reserved,
    /// It does not start at the first multiple of 64 behind its predecessor.
    Misplaced {
        /// Where it had to start.
        expected: u32,
    },
    /// Its end is behind the end of the file.
    OutOfFile,
    /// The bytes between it and its predecessor are not zero.
    Padding,
    /// The kind is known and occurs twice.
    Duplicate,
    /// The kind is unknown and marked as required: a newer runtime is needed.
    Unknown {
        /// Number of the kind.
        kind: u32,
    },
    /// The flag "required" is not what the kind demands.
    WrongFlag,
}

/// Smallest multiple of [`ALIGN`] that is not below `n`.
pub const fn align_up(n: u32) -> Option<u32> {
    n.checked_next_multiple_of(ALIGN)
}

/// The checked table of one file.
#[derive(Clone, Copy)]
pub(super) struct Table<'m> {
    file: &'m [u8],
    entries: &'m [[u8; ENTRY_LEN]],
}

impl<'m> Table<'m> {
    /// Proves checksum, order, bounds, padding and kinds of all entries.
    pub(super) fn read(file: &'m [u8], header: &Header) -> Result<Self, FormatError> {
        let table = Self::locate(file, header)?;
        if crc32(table.entries.as_flattened()) != header.table_crc {
            return Err(FormatError::Checksum { region: Region::SectionTable });
        }
        let table_len = u32::try_from(table.entries.as_flattened().len()).unwrap_or(u32::MAX);
        let mut end = table_len.saturating_add(64);
        for (index, entry) in table.entries.iter().enumerate() {
            let entry = SectionEntry::read(entry, index)?;
            let checked =
                table.check_place(&entry, end).and_then(|()| table.check_kind(&entry, index));
            checked.map_err(|fault| FormatError::Section { index, fault })?;
            end = entry.end();
        }
        if end != header.file_len {
            return Err(FormatError::UnlistedBytes { offset: end });
        }
        Ok(table)
    }

    fn locate(file: &'m [u8], header: &Header) -> Result<Self, FormatError> {
        let count = usize::try_from(header.section_count).ok();
        let (chunks, _) = file.get(HEADER_LEN..).unwrap_or(&[]).as_chunks::<ENTRY_LEN>();
        let entries = count.and_then(|count| chunks.get(..count));
        let entries =
            entries.ok_or(FormatError::TableTooLong { sections: header.section_count })?;
        Ok(Self { file, entries })
    }

    fn check_place(&self, entry: &SectionEntry, end: u32) -> Result<(), SectionFault> {
        let expected = align_up(end).unwrap_or(u32::MAX);
        if entry.offset != expected {
            return Err(SectionFault::Misplaced { expected });
        }
        entry.slice(self.file).ok_or(SectionFault::OutOfFile)?;
        let gap = SectionEntry { offset: end, len: expected.saturating_sub(end), ..*entry };
        let zero = gap.slice(self.file).is_some_and(|gap| gap.iter().all(|&byte| byte == 0));
        if zero { Ok(()) } else { Err(SectionFault::Padding) }
    }

    fn check_kind(&self, entry: &SectionEntry, index: usize) -> Result<(), SectionFault> {
        let Some(kind) = SectionKind::from_number(entry.kind) else {
            let kind = entry.kind;
            return if entry.required { Err(SectionFault::Unknown { kind }) } else { Ok(()) };
        };
        if entry.required != kind.required() {
            return Err(SectionFault::WrongFlag);
        }
        let before = self.iter().take(index);
        if before.into_iter().any(|other| other.kind == entry.kind) {
            return Err(SectionFault::Duplicate);
        }
        Ok(())
    }

    /// All entries.
    pub(super) fn iter(self) -> impl Iterator<Item = SectionEntry> + 'm {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(index, raw)| SectionEntry::read(raw, index).ok())
    }

    /// The bytes of a section, its checksum proved if `proved`.
    pub(super) fn find(
        &self,
        kind: SectionKind,
        proved: bool,
    ) -> Result<Option<&'m [u8]>, FormatError> {
        let Some(entry) = self.iter().find(|entry| entry.kind == kind.number()) else {
            return Ok(None);
        };
        let bytes = entry.slice(self.file).unwrap_or(&[]);
        if proved && crc32(bytes) != entry.crc {
            return Err(FormatError::Checksum { region: Region::Section(entry.kind) });
        }
        Ok(Some(bytes))
    }

    /// [`Table::find`] for a section that every file has.
    pub(super) fn require(&self, kind: SectionKind, proved: bool) -> Result<&'m [u8], FormatError> {
        self.find(kind, proved)?.ok_or(FormatError::MissingSection { kind })
    }

    /// Proves the checksum of every section, known or not.
    pub(super) fn verify(&self) -> Result<(), FormatError> {
        for entry in self.iter() {
            if entry.slice(self.file).map(crc32) != Some(entry.crc) {
                return Err(FormatError::Checksum { region: Region::Section(entry.kind) });
            }
        }
        Ok(())
    }
}
