//! [`Model`]: the bytes of a `.strand` file, proved (`FORMAT.md` is the spec).
//!
//! [`Model::new`] checks everything that memory safety and termination stand on: header, section
//! table, plan, ports, and every span and shape in them. The weights are used where they lie;
//! only [`Model::verify`] reads them all, because flash is slow and wrong weights are merely wrong.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

pub(crate) mod check;
pub mod header;
pub mod meta;
pub mod port;
pub mod section;
pub mod sparse;

use crate::detect::{Head, HeadFault};
use crate::dims::Dims;
use crate::error::{FormatError, Region};
use crate::span::Span;
use crate::step::{Activation, Op, Source, Step};
use bytemuck::Pod;
use check::{Bounds, Role, StepFault};
pub use check::{macs, scratch_bytes};
use core::fmt;
pub use header::Header;
pub use port::Port;
use port::{PortFault, Ports};
use section::{SectionKind, Table};

/// Every section, every span, the file's bytes and the arena start at multiples of this many bytes.
pub const ALIGN: u32 = 64;

/// Larger tables are worth their flash only where there is a lot of it; the sums are the same.
#[cfg(feature = "std")]
type CrcTables = crc::Table<16>;
#[cfg(not(feature = "std"))]
type CrcTables = crc::Table<1>;

static CRC: crc::Crc<u32, CrcTables> = crc::Crc::<u32, CrcTables>::new(&crc::CRC_32_ISO_HDLC);

/// CRC-32/ISO-HDLC (that of zip and PNG), the checksum of everything in a file.
pub fn crc32(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// A proved network. Borrows the file's bytes and copies none of them, except that
/// [`Model::expand`] writes sparse weights into memory of the caller.
#[derive(Clone, Copy)]
pub struct Model<'m> {
    header: Header,
    table: Table<'m>,
    plan: &'m [u8],
    ports: &'m [u8],
    names: &'m [u8],
    weights: &'m [f32],
}

impl<'m> Model<'m> {
    /// Proves the bytes of a whole file, except for the values of the weights.
    ///
    /// # Errors
    ///
    /// The first thing found wrong. `bytes` must start at a multiple of 64, as
    /// [`include_strand!`](crate::include_strand) and mapped files do. [`FormatError::Sparse`] if
    /// the weights are stored sparsely: those need [`Model::expand`].
    pub fn new(bytes: &'m [u8]) -> Result<Self, FormatError> {
        let (header, table) = open(bytes)?;
        if header.expanded > 0 {
            return Err(FormatError::Sparse { needed: header.expanded });
        }
        let weights = table.require(SectionKind::Weights, false)?;
        let weights = bytemuck::try_cast_slice(weights).map_err(|_| FormatError::WeightsLength)?;
        Self::proved(header, table, weights)
    }

    /// [`Model::new`] for any file: sparse weights are expanded, once, into `memory`, which must
    /// start at a multiple of 64 and have [`expanded_len`](crate::expanded_len) bytes; a file whose
    /// weights are used where they lie leaves it alone. The network is the same either way.
    ///
    /// ```no_run
    /// # use unbraid_runtime::{Aligned, Arena, Model, expanded_len};
    /// # const MODEL: &[u8] = &Aligned(*b"\x89STRAND\n________________________________________\0\0\0\0____________").0;
    /// static WEIGHTS: Arena<{ expanded_len(MODEL) }> = Arena::new();
    /// let model = Model::expand(MODEL, WEIGHTS.take().expect("taken once"));
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Model::new`]; and if `memory` is too small or starts elsewhere, or if the sparse weights
    /// contradict themselves ([`FormatError::SparseTensor`]).
    pub fn expand(bytes: &'m [u8], memory: &'m mut [u8]) -> Result<Self, FormatError> {
        let (header, table) = open(bytes)?;
        if header.expanded == 0 {
            return Self::new(bytes);
        }
        let sparse = table.require(SectionKind::SparseWeights, false)?;
        let weights = sparse::expand(sparse, header.expanded, memory)?;
        Self::proved(header, table, weights)
    }

    fn proved(header: Header, table: Table<'m>, weights: &'m [f32]) -> Result<Self, FormatError> {
        let unused = match header.expanded {
            0 => SectionKind::SparseWeights,
            _ => SectionKind::Weights,
        };
        if table.find(unused, false)?.is_some() {
            return Err(FormatError::UnusedWeights { kind: unused });
        }
        let model = Self {
            header,
            table,
            plan: table.require(SectionKind::Plan, true)?,
            ports: table.require(SectionKind::Ports, true)?,
            names: table.find(SectionKind::Names, true)?.unwrap_or(&[]),
            weights,
        };
        model.arena_len(1).ok_or(FormatError::ArenaUnaligned)?;
        model.check_steps()?;
        model.check_ports()?;
        model.check_names()?;
        model.check_head()?;
        model.check_labels()?;
        Ok(model)
    }

    /// Proves the checksum of every section, the weights included.
    ///
    /// # Errors
    ///
    /// [`FormatError::Checksum`] with the first section that is damaged.
    pub fn verify(&self) -> Result<(), FormatError> {
        self.table.verify()
    }

    /// What the first 64 bytes say.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of arena that a session with `workers` workers needs; `None` if no address space
    /// could hold them.
    pub fn arena_len(&self, workers: usize) -> Option<usize> {
        header::arena_bytes(self.header.arena_base, self.header.scratch_per_worker, workers)
    }

    /// The steps in order of execution.
    pub fn steps(&self) -> Steps<'m> {
        Steps { rest: self.plan }
    }

    /// The network's inputs, in ONNX order.
    pub fn inputs(&self) -> impl Iterator<Item = Port<'m>> + use<'m> {
        Ports { rest: self.ports }.filter(|port| !port.is_output)
    }

    /// The network's outputs, in ONNX order.
    pub fn outputs(&self) -> impl Iterator<Item = Port<'m>> + use<'m> {
        Ports { rest: self.ports }.filter(|port| port.is_output)
    }

    /// The name of each step, for profiles; nothing if the file has none.
    pub fn names(&self) -> Names<'m> {
        Names { rest: self.names }
    }

    /// What the outputs mean, if the network is a detector whose file says so.
    pub fn head(&self) -> Option<Head> {
        // Its checksum and content are proved.
        Head::from_section(self.table.find(SectionKind::Head, false).ok()??)
    }

    /// The name of each class, in order; nothing if the file has none.
    pub fn labels(&self) -> Names<'m> {
        let section = self.table.find(SectionKind::Labels, false).ok().flatten();
        Names { rest: section.unwrap_or(&[]) }
    }

    /// The content of an optional section that this crate has no use for itself.
    ///
    /// # Errors
    ///
    /// [`FormatError::Checksum`] if it is damaged.
    pub fn section(&self, kind: SectionKind) -> Result<Option<&'m [u8]>, FormatError> {
        self.table.find(kind, true)
    }

    /// Values of the weights section, where they lie. Empty for a span of no step of this model.
    #[inline]
    pub fn weights_f32(&self, span: Span) -> &'m [f32] {
        self.weights_of(span)
    }

    /// [`Model::weights_f32`], for 8-bit values.
    #[inline]
    pub fn weights_s8(&self, span: Span) -> &'m [i8] {
        self.weights_of(span)
    }

    /// [`Model::weights_f32`], for 32-bit integers.
    #[inline]
    pub fn weights_i32(&self, span: Span) -> &'m [i32] {
        self.weights_of(span)
    }

    #[inline]
    fn weights_of<T: Pod>(&self, span: Span) -> &'m [T] {
        let all: &[u8] = bytemuck::try_cast_slice(self.weights).unwrap_or(&[]);
        let bytes = span.range().and_then(|range| all.get(range)).unwrap_or(&[]);
        bytemuck::try_cast_slice(bytes).unwrap_or(&[])
    }

    /// Number of values in the weights that the ONNX graph would count as parameters: without
    /// the padding of layouts, and one bias vector a layer.
    pub fn params(&self) -> u64 {
        self.steps().fold(0, |sum, step| sum.saturating_add(params(&step)))
    }

    fn check_steps(&self) -> Result<(), FormatError> {
        let bounds = Bounds::new(&self.header, self.weights);
        let mut steps = self.steps();
        let (mut index, mut macs) = (0usize, 0u64);
        while !steps.rest.is_empty() {
            let step = steps.next().ok_or(StepFault::Undecodable);
            let more = step.and_then(|step| bounds.check(&step));
            let more = more.map_err(|fault| FormatError::Step { index, fault })?;
            macs = macs.saturating_add(more);
            index = index.saturating_add(1);
        }
        let Header { step_count: declared, macs: declared_macs, .. } = self.header;
        if usize::try_from(declared) != Ok(index) {
            return Err(FormatError::StepCount { declared, found: index });
        }
        if macs != declared_macs {
            return Err(FormatError::Macs { declared: declared_macs, computed: macs });
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), FormatError> {
        let bounds = Bounds::new(&self.header, self.weights);
        let mut ports = Ports { rest: self.ports };
        let (mut index, mut inputs, mut outputs) = (0usize, false, false);
        while !ports.rest.is_empty() {
            let port = ports.next().ok_or(PortFault::Undecodable);
            let checked = port.and_then(|port| check_port(&port, &bounds, outputs).map(|()| port));
            let port = checked.map_err(|fault| FormatError::Port { index, fault })?;
            inputs |= !port.is_output;
            outputs |= port.is_output;
            index = index.saturating_add(1);
        }
        if inputs && outputs { Ok(()) } else { Err(FormatError::NoPorts) }
    }

    fn check_names(&self) -> Result<(), FormatError> {
        if self.names.is_empty() {
            return Ok(());
        }
        let count = self.names().count_checked().ok_or(FormatError::Names)?;
        if count == self.header.step_count { Ok(()) } else { Err(FormatError::Names) }
    }

    fn check_labels(&self) -> Result<(), FormatError> {
        let Some(rest) = self.table.find(SectionKind::Labels, true)? else { return Ok(()) };
        let count = Names { rest }.count_checked().ok_or(FormatError::Labels)?;
        let classes = self.head().map_or(count, |head| head.classes);
        if count == classes { Ok(()) } else { Err(FormatError::Labels) }
    }

    fn check_head(&self) -> Result<(), FormatError> {
        let Some(section) = self.table.find(SectionKind::Head, true)? else { return Ok(()) };
        let head = Head::from_section(section).ok_or(HeadFault::Undecodable);
        let checked = head.and_then(|head| head.check(self.inputs(), self.outputs()));
        checked.map_err(|fault| FormatError::Head { fault })
    }
}

/// Proves header and section table.
fn open(bytes: &[u8]) -> Result<(Header, Table<'_>), FormatError> {
    if !bytes.as_ptr().addr().is_multiple_of(64) {
        return Err(FormatError::Misaligned);
    }
    let header = Header::read(bytes)?;
    Ok((header, Table::read(bytes, &header)?))
}

/// The header: the bytes would fill screens.
impl fmt::Debug for Model<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("header", &self.header).finish_non_exhaustive()
    }
}

fn check_port(port: &Port<'_>, bounds: &Bounds, outputs: bool) -> Result<(), PortFault> {
    if !is_name(port.name) {
        return Err(PortFault::Name);
    }
    if outputs && !port.is_output {
        return Err(PortFault::Order);
    }
    bounds.operand(&port.operand, Role::Output).map_err(|_| PortFault::Operand)?;
    let dims = port.operand.dims;
    let tail = port.shape.get(usize::from(port.rank)..).ok_or(PortFault::Shape)?;
    let product = port.axes().iter().try_fold(1u32, |product, &axis| product.checked_mul(axis));
    let elements = dims.elements().and_then(|elements| u32::try_from(elements).ok());
    let picture = match port.axes() {
        &[1, c, h, w] => dims == Dims { h, w, c },
        _ => true,
    };
    let agree = product == elements && picture && tail.iter().all(|&axis| axis == 0);
    if agree { Ok(()) } else { Err(PortFault::Shape) }
}

/// Printable on a terminal without surprises.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}

fn params(step: &Step) -> u64 {
    let (input, output) = (step.input.dims, step.output.dims);
    let c = u64::from(output.c);
    let slopes = |activation: &Activation| match activation {
        Activation::PRelu { .. } => c,
        _ => 0,
    };
    // One weight for each multiply-accumulate of one output pixel; the check has computed both.
    let weights = |pixels: u64| macs(step).and_then(|macs| macs.checked_div(pixels));
    let pixels = u64::from(output.h).saturating_mul(u64::from(output.w));
    let (weights, vectors) = match &step.op {
        Op::Conv(conv) => (weights(pixels), c.saturating_add(slopes(&conv.activation))),
        Op::ConvS8(_) => (weights(pixels), c),
        Op::Linear(linear) => (weights(1), c.saturating_add(slopes(&linear.activation))),
        Op::ScaleShift { activation, .. } => {
            (Some(u64::from(input.c)), c.saturating_add(slopes(activation)))
        }
        Op::Binary { other, activation, .. } => (constants(other), slopes(activation)),
        Op::MatMul(matmul) => (constants(&matmul.other), 0),
        Op::Activate(activation) => (None, slopes(activation)),
        _ => (None, 0),
    };
    weights.unwrap_or(0).saturating_add(vectors)
}

/// Number of values of a second operand, if it is constant.
fn constants(other: &Source) -> Option<u64> {
    match other {
        Source::Weights { dims, .. } => dims.elements().and_then(|n| u64::try_from(n).ok()),
        Source::Arena(_) => None,
    }
}

/// Decodes the steps of a plan one at a time.
#[derive(Clone, Debug)]
pub struct Steps<'m> {
    rest: &'m [u8],
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let (step, rest) = postcard::take_from_bytes(self.rest).ok()?;
        self.rest = rest;
        Some(step)
    }
}

/// Decodes the names of the steps, or those of the classes, one at a time.
#[derive(Clone, Debug)]
pub struct Names<'m> {
    rest: &'m [u8],
}

impl Names<'_> {
    /// How many there are, if all are names and nothing is left over.
    fn count_checked(mut self) -> Option<u32> {
        let mut count = 0u32;
        while !self.rest.is_empty() {
            self.next().filter(|name| is_name(name))?;
            count = count.saturating_add(1);
        }
        Some(count)
    }
}

impl<'m> Iterator for Names<'m> {
    type Item = &'m str;

    fn next(&mut self) -> Option<&'m str> {
        let (name, rest) = postcard::take_from_bytes(self.rest).ok()?;
        self.rest = rest;
        Some(name)
    }
}

/// Bytes at an address that is a multiple of 64; what [`include_strand!`](crate::include_strand) makes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

/// Like `include_bytes!`, for [`Model::new`]: a `&'static [u8]` at a multiple of 64.
#[macro_export]
macro_rules! include_strand {
    ($path:expr $(,)?) => {{
        static FILE: &$crate::Aligned<[u8]> = &$crate::Aligned(*::core::include_bytes!($path));
        const BYTES: &[u8] = &FILE.0;
        BYTES
    }};
}
