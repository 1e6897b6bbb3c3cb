//! Builds `.strand` files by hand, step by step, with the runtime's own writer types.
//!
//! For tests of the format and of sessions, which must not depend on the converter. Every operand
//! gets bytes of its own: small and simple, where the converter's plan reuses memory.

use bytemuck::NoUninit;
use std::ops::{Deref, DerefMut};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::model::header::{HEADER_LEN, Header};
use unbraid_runtime::model::section::{ENTRY_LEN, SectionEntry, SectionKind, align_up};
use unbraid_runtime::model::{ALIGN, Model, Port, crc32, macs};
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{Element, Op, Operand, Step};

/// Bytes at an address that is a multiple of 64.
#[derive(Debug)]
pub struct AlignedBytes {
    // Never grows, so the bytes stay where they are.
    buffer: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` times `byte`.
    pub fn filled(byte: u8, len: usize) -> Self {
        let buffer = vec![byte; len + 64];
        let start = buffer.as_ptr().align_offset(64);
        Self { buffer, start, len }
    }

    /// A copy of `bytes`.
    pub fn copied(bytes: &[u8]) -> Self {
        let mut copy = Self::filled(0, bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.start + self.len]
    }
}

/// A network under construction.
#[derive(Debug, Default)]
pub struct StrandBuilder {
    /// Steps so far; tests may bend them before [`StrandBuilder::finish`].
    pub steps: Vec<Step>,
    /// Multiply-accumulates to declare; [`StrandBuilder::finish`] counts them if absent.
    pub macs: Option<u64>,
    /// Bytes of scratch a worker, rounded up to 64 when the file is written.
    pub scratch: u32,
    /// Bytes of the arena given away so far.
    pub arena: u32,
    weights: Vec<u8>,
    ports: Vec<(String, bool, Operand, Vec<u32>)>,
    names: Vec<String>,
}

impl StrandBuilder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A feature map with bytes of its own.
    pub fn map(&mut self, dims: Dims) -> Operand {
        self.map_of(dims, Element::F32)
    }

    /// [`StrandBuilder::map`] of other values than f32.
    pub fn map_of(&mut self, dims: Dims, element: Element) -> Operand {
        let len = u32::try_from(dims.elements().unwrap() * element.size()).unwrap();
        let span = Span { offset: self.arena, len };
        self.arena = align_up(self.arena + len).unwrap();
        Operand { span, dims, element }
    }

    /// An input picture `[1, C, H, W]`.
    pub fn input(&mut self, name: &str, dims: Dims) -> Operand {
        self.input_of(name, dims, Element::F32)
    }

    /// [`StrandBuilder::input`] of other values than f32.
    pub fn input_of(&mut self, name: &str, dims: Dims, element: Element) -> Operand {
        let operand = self.map_of(dims, element);
        let shape = vec![1, dims.c, dims.h, dims.w];
        self.ports.push((name.into(), false, operand, shape));
        operand
    }

    /// Makes `operand` an output `[1, C, H, W]`. After all inputs.
    pub fn output(&mut self, name: &str, operand: Operand) {
        let Dims { h, w, c } = operand.dims;
        self.ports.push((name.into(), true, operand, vec![1, c, h, w]));
    }

    /// Any port, right or wrong.
    pub fn port(&mut self, name: &str, is_output: bool, operand: Operand, shape: &[u32]) {
        self.ports.push((name.into(), is_output, operand, shape.to_vec()));
    }

    /// Values in the weights section.
    pub fn weights(&mut self, values: &[f32]) -> Span {
        self.weights_of(values)
    }

    /// [`StrandBuilder::weights`] of any type.
    pub fn weights_of<T: NoUninit>(&mut self, values: &[T]) -> Span {
        self.weights.resize(self.weights.len().next_multiple_of(ALIGN as usize), 0);
        let offset = u32::try_from(self.weights.len()).unwrap();
        self.weights.extend_from_slice(bytemuck::cast_slice(values));
        // The section is a whole number of f32.
        self.weights.resize(self.weights.len().next_multiple_of(4), 0);
        Span { offset, len: u32::try_from(size_of_val(values)).unwrap() }
    }

    /// `op(input)` into a map of its own.
    pub fn step(&mut self, input: Operand, dims: Dims, op: Op) -> Operand {
        self.step_to(input, dims, Element::F32, op)
    }

    /// [`StrandBuilder::step`] with other values than f32.
    pub fn step_to(&mut self, input: Operand, dims: Dims, element: Element, op: Op) -> Operand {
        let output = self.map_of(dims, element);
        self.steps.push(Step { input, output, op });
        output
    }

    /// `op(input)` into the bytes of the input.
    pub fn step_in_place(&mut self, input: Operand, op: Op) -> Operand {
        self.steps.push(Step { input, output: input, op });
        input
    }

    /// Names the steps, for profiles.
    pub fn names(&mut self, names: &[&str]) {
        self.names = names.iter().map(|&name| name.into()).collect();
    }

    /// The file.
    pub fn finish(&self) -> AlignedBytes {
        let mut sections = vec![
            (SectionKind::Plan, self.steps.iter().flat_map(postcard_bytes).collect::<Vec<_>>()),
            (SectionKind::Weights, self.weights.clone()),
            (SectionKind::Ports, self.port_records()),
        ];
        if !self.names.is_empty() {
            sections
                .push((SectionKind::Names, self.names.iter().flat_map(postcard_bytes).collect()));
        }
        let header = Header {
            target: 0,
            arena_base: align_up(self.arena).unwrap(),
            scratch_per_worker: align_up(self.scratch).unwrap(),
            macs: self.macs.unwrap_or_else(|| self.steps.iter().filter_map(macs).sum()),
            file_len: 0,
            section_count: 0,
            step_count: u32::try_from(self.steps.len()).unwrap(),
            table_crc: 0,
            expanded: 0,
        };
        let sections: Vec<_> = sections
            .into_iter()
            .map(|(kind, bytes)| (kind.number(), kind.required(), bytes))
            .collect();
        assemble(header, &sections)
    }

    fn port_records(&self) -> Vec<u8> {
        let record = |(name, is_output, operand, axes): &(String, bool, Operand, Vec<u32>)| {
            let mut shape = [0; 5];
            shape[..axes.len()].copy_from_slice(axes);
            let rank = u8::try_from(axes.len()).unwrap();
            postcard_bytes(&Port { name, is_output: *is_output, operand: *operand, rank, shape })
        };
        self.ports.iter().flat_map(record).collect()
    }
}

/// Header, table and sections `(kind, required, bytes)`, with lengths, places and checksums filled in.
pub fn assemble(mut header: Header, sections: &[(u32, bool, Vec<u8>)]) -> AlignedBytes {
    let mut end = u32::try_from(HEADER_LEN + ENTRY_LEN * sections.len()).unwrap();
    let (mut table, mut bodies) = (Vec::new(), Vec::new());
    for (kind, required, bytes) in sections {
        let offset = align_up(end).unwrap();
        let len = u32::try_from(bytes.len()).unwrap();
        let entry =
            SectionEntry { kind: *kind, required: *required, offset, len, crc: crc32(bytes) };
        table.extend(entry.to_bytes());
        bodies.resize(bodies.len() + (offset - end) as usize, 0);
        bodies.extend(bytes);
        end = entry.end();
    }
    header.file_len = end;
    header.section_count = u32::try_from(sections.len()).unwrap();
    header.table_crc = crc32(&table);
    AlignedBytes::copied(&[&header.to_bytes()[..], &table, &bodies].concat())
}

/// `(kind, required, bytes)` of each section of a right file.
///
/// # Panics
/// When the bytes are no file.
pub fn sections_of(bytes: &[u8]) -> Vec<(u32, bool, Vec<u8>)> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let entry = |index: u32| {
        let at = 64 + 24 * index as usize;
        let (start, len) = (word(at + 8) as usize, word(at + 12) as usize);
        (word(at), word(at + 4) == 1, bytes[start..start + len].to_vec())
    };
    (0..word(36)).map(entry).collect()
}

/// One record, as the plan and port sections hold them.
pub fn postcard_bytes<T: serde::Serialize + ?Sized>(record: &T) -> Vec<u8> {
    postcard::to_extend(record, Vec::new()).expect("a record is written to memory")
}

/// Opens what [`StrandBuilder::finish`] made.
pub fn open(bytes: &AlignedBytes) -> Model<'_> {
    Model::new(bytes).unwrap_or_else(|error| panic!("the hand-made file is refused: {error}"))
}
