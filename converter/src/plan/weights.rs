//! [`Weights`]: the weights section while it grows.

use super::error::Kind;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use unbraid_runtime::span::Span;

/// Every tensor starts at a multiple of this many bytes.
const ALIGN: usize = 64;

/// The section is a sequence of words of this many bytes: so is every tensor, filled up with zeros.
const WORD: usize = 4;

/// Little-endian tensors one after another, each aligned, equal ones stored once.
#[derive(Debug, Default)]
pub(super) struct Weights {
    bytes: Vec<u8>,
    by_hash: HashMap<u64, Vec<Span>>,
    tensors: Vec<Span>,
}

impl Weights {
    /// Where the f32 tensor lies: behind the others, or where its equal already does.
    pub(super) fn add(&mut self, values: &[f32]) -> Result<Span, Kind> {
        self.add_bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// [`Weights::add`] of 32-bit integers.
    pub(super) fn add_i32(&mut self, values: &[i32]) -> Result<Span, Kind> {
        self.add_bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// [`Weights::add`] of bytes.
    pub(super) fn add_s8(&mut self, values: &[i8]) -> Result<Span, Kind> {
        self.add_bytes(values.iter().map(|v| v.cast_unsigned()).collect())
    }

    fn add_bytes(&mut self, tensor: Vec<u8>) -> Result<Span, Kind> {
        let mut hasher = DefaultHasher::new();
        tensor.hash(&mut hasher);
        let equals = self.by_hash.entry(hasher.finish()).or_default();
        let bytes = &mut self.bytes;
        let equal = |s: &&Span| s.range().is_some_and(|r| bytes.get(r) == Some(&tensor[..]));
        if let Some(span) = equals.iter().find(equal) {
            return Ok(*span);
        }
        let start = bytes.len().next_multiple_of(ALIGN);
        let stored = tensor.len().next_multiple_of(WORD);
        let narrow = |n: usize| {
            u32::try_from(n).map_err(|_| Kind::TooLarge { shape: vec![start + tensor.len()] })
        };
        narrow(start + stored)?;
        let span = Span { offset: narrow(start)?, len: narrow(tensor.len())? };
        bytes.resize(start, 0);
        bytes.extend_from_slice(&tensor);
        bytes.resize(start + stored, 0);
        equals.push(span);
        self.tensors.push(Span { len: narrow(stored)?, ..span });
        Ok(span)
    }

    /// The section, and where its tensors lie, in order.
    pub(super) fn into_parts(self) -> (Vec<u8>, Vec<Span>) {
        (self.bytes, self.tensors)
    }
}
