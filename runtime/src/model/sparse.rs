//! Sparse weights: a bitmap and the values that are not zero, expanded once into memory.
//!
//! Unstructured zeros (GSM: Ding et al., "Global Sparse Momentum SGD for Pruning Very Deep Neural
//! Networks", 2019) save no multiplication here; they save flash. The section is a sequence of
//! 32-bit words, a record a tensor:
//!
//! ```text
//! offset in the expanded weights, n values, s stored | bitmap: ceil(n / 32) words, if s < n | s f32
//! ```
//!
//! Bit `k % 32` of word `k / 32` says whether value `k` is stored; the others are +0.0. A record
//! without a bitmap stores all its values.

use super::{ALIGN, FormatError};

/// Words of a record before its bitmap.
pub const RECORD_WORDS: usize = 3;

/// What is wrong with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SparseFault {
    /// The section ends inside its record.
    Truncated,
    /// It does not start at a multiple of 64 behind the tensor before it, or ends outside memory.
    Place,
    /// It stores more values than it has.
    Count {
        /// Values that it stores.
        stored: u32,
        /// Values that it has.
        len: u32,
    },
    /// Its bitmap has another number of bits than values are stored, or bits behind its values.
    Bits {
        /// Values that it stores.
        stored: u32,
        /// Bits of the bitmap for values that it has.
        found: u32,
    },
}

/// Words of the record of `len` values of which `nonzero` are not +0.0: with a bitmap where that is
/// smaller. `None` beyond what can be addressed.
pub fn record_words(len: usize, nonzero: usize) -> Option<usize> {
    let bitmap = len.div_ceil(32).checked_add(nonzero)?;
    bitmap.min(len).checked_add(RECORD_WORDS)
}

/// Expands a section into the first `len` bytes of `memory`.
pub(super) fn expand<'m>(
    section: &[u8],
    len: u32,
    memory: &'m mut [u8],
) -> Result<&'m [f32], FormatError> {
    let found = memory.len();
    let needed = usize::try_from(len).ok();
    let room = needed.and_then(|needed| memory.get_mut(..needed));
    let room = room.ok_or(FormatError::MemoryTooSmall { needed: len, found })?;
    if !room.as_ptr().addr().is_multiple_of(64) {
        return Err(FormatError::MemoryMisaligned);
    }
    let weights: &mut [f32] =
        bytemuck::try_cast_slice_mut(room).map_err(|_| FormatError::WeightsLength)?;
    let mut words: &[u32] =
        bytemuck::try_cast_slice(section).map_err(|_| FormatError::WeightsLength)?;
    weights.fill(0.0);
    let (mut index, mut end) = (0usize, 0usize);
    while !words.is_empty() {
        let wrong = |fault| FormatError::SparseTensor { index, fault };
        let (record, rest) = Record::read(words).ok_or(wrong(SparseFault::Truncated))?;
        end = record.expand(weights, end).map_err(wrong)?;
        words = rest;
        index = index.saturating_add(1);
    }
    if end == weights.len() {
        Ok(weights)
    } else {
        Err(FormatError::ExpandedLength { declared: len, found: end.saturating_mul(4) })
    }
}

/// One tensor.
struct Record<'a> {
    offset: u32,
    len: u32,
    stored: u32,
    bitmap: &'a [u32],
    values: &'a [u32],
}

impl<'a> Record<'a> {
    /// The first record and the words behind it.
    fn read(words: &'a [u32]) -> Option<(Self, &'a [u32])> {
        let (&[offset, len, stored], rest) = words.split_first_chunk::<RECORD_WORDS>()?;
        let bitmap = if stored < len { len.div_ceil(32) } else { 0 };
        let (bitmap, rest) = rest.split_at_checked(usize::try_from(bitmap).ok()?)?;
        let (values, rest) = rest.split_at_checked(usize::try_from(stored).ok()?)?;
        Some((Self { offset, len, stored, bitmap, values }, rest))
    }

    /// Writes the values to where they belong, which must be behind value `end`; the new end.
    fn expand(&self, weights: &mut [f32], end: usize) -> Result<usize, SparseFault> {
        let (start, stop) = self.place(end).ok_or(SparseFault::Place)?;
        let tensor = weights.get_mut(start..stop).ok_or(SparseFault::Place)?;
        let Self { stored, len, .. } = *self;
        if stored >= len {
            let whole = stored == len;
            tensor.iter_mut().zip(self.values).for_each(|(v, bits)| *v = f32::from_bits(*bits));
            return if whole { Ok(stop) } else { Err(SparseFault::Count { stored, len }) };
        }
        self.check_bits()?;
        let mut values = self.values.iter();
        for (values_of_word, word) in tensor.chunks_mut(32).zip(self.bitmap) {
            for (bit, value) in values_of_word.iter_mut().enumerate() {
                if is_set(*word, bit) {
                    *value = values.next().map_or(0.0, |bits| f32::from_bits(*bits));
                }
            }
        }
        Ok(stop)
    }

    /// First value and the one behind the last, if it starts aligned and not before `end`.
    fn place(&self, end: usize) -> Option<(usize, usize)> {
        let start = usize::try_from(self.offset.checked_div(4)?).ok()?;
        let stop = start.checked_add(usize::try_from(self.len).ok()?)?;
        (self.offset.is_multiple_of(ALIGN) && start >= end).then_some((start, stop))
    }

    /// As many bits as values, none of them behind the tensor.
    fn check_bits(&self) -> Result<(), SparseFault> {
        let used = self.len.checked_rem(32).unwrap_or(0);
        let last = self.bitmap.last().copied().unwrap_or(0);
        let behind = if used == 0 { 0 } else { last.checked_shr(used).unwrap_or(0) };
        let all = self.bitmap.iter().fold(0u32, |sum, word| sum.saturating_add(word.count_ones()));
        let found = all.saturating_sub(behind.count_ones());
        let stored = self.stored;
        if behind == 0 && found == stored {
            Ok(())
        } else {
            Err(SparseFault::Bits { stored, found })
        }
    }
}

fn is_set(word: u32, bit: usize) -> bool {
    let shifted = u32::try_from(bit).ok().and_then(|bit| word.checked_shr(bit));
    shifted.is_some_and(|word| word & 1 == 1)
}
