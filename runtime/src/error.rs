//! [`FormatError`] and [`SessionError`]: every way in which bytes or memory can be unfit.
//!
//! Small `Copy` enums with the number that helps; `Display` says what to do next where that is
//! not plain. After [`Session::new`](crate::Session::new) nothing can fail.

use crate::arena::MAX_WORKERS;
use crate::detect::HeadFault;
pub use crate::model::check::{Role, StepFault};
use crate::model::header::{VERSION, Version};
pub use crate::model::port::PortFault;
pub use crate::model::section::SectionFault;
use crate::model::section::SectionKind;
pub use crate::model::sparse::SparseFault;
use core::fmt;

/// A part of a file that has a checksum of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The first 64 bytes.
    Header,
    /// The section table.
    SectionTable,
    /// The section of this kind.
    Section(u32),
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::SectionTable => f.write_str("the section table"),
            Self::Section(kind) => match SectionKind::from_number(*kind) {
                Some(kind) => write!(f, "section {kind:?}"),
                None => write!(f, "the section of unknown kind {kind}"),
            },
        }
    }
}

/// Why bytes are not a network that this runtime can execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes do not start at an address that is a multiple of 64.
    Misaligned,
    /// The magic is missing.
    NotStrand,
    /// Another version of the format.
    Version {
        /// What the file says.
        found: Version,
    },
    /// Fewer bytes than there must be.
    Truncated {
        /// Bytes that there must be.
        needed: u32,
        /// Bytes that there are.
        found: usize,
    },
    /// More bytes than the header declares.
    TooLong {
        /// Bytes that the header declares.
        declared: u32,
        /// Bytes that there are.
        found: usize,
    },
    /// A checksum is wrong.
    Checksum {
        /// Of what.
        region: Region,
    },
    /// A reserved byte of the header is set.
    Reserved {
        /// Where.
        offset: usize,
    },
    /// A part of the arena is no multiple of 64 bytes.
    ArenaUnaligned,
    /// The section table does not fit the file.
    TableTooLong {
        /// Entries that the header declares.
        sections: u32,
    },
    /// An entry of the section table is wrong.
    Section {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        fault: SectionFault,
    },
    /// There are bytes behind the last section.
    UnlistedBytes {
        /// First such byte.
        offset: u32,
    },
    /// A section that every file has is missing.
    MissingSection {
        /// Which.
        kind: SectionKind,
    },
    /// The weights are no whole number of f32.
    WeightsLength,
    /// The weights are stored sparsely and need memory to be expanded into.
    Sparse {
        /// Bytes of memory.
        needed: u32,
    },
    /// The memory for the weights is too small.
    MemoryTooSmall {
        /// Bytes that it must have.
        needed: u32,
        /// Bytes that it has.
        found: usize,
    },
    /// The memory for the weights does not start at a multiple of 64.
    MemoryMisaligned,
    /// A tensor of the sparse weights is wrong.
    SparseTensor {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        fault: SparseFault,
    },
    /// The sparse weights expand into another number of bytes than the header declares.
    ExpandedLength {
        /// What the header declares.
        declared: u32,
        /// Where the last tensor ends.
        found: usize,
    },
    /// Weights of the kind that the header does not announce.
    UnusedWeights {
        /// Their kind.
        kind: SectionKind,
    },
    /// A step is wrong.
    Step {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        fault: StepFault,
    },
    /// The plan holds another number of steps than the header declares.
    StepCount {
        /// Steps that the header declares.
        declared: u32,
        /// Steps that the plan holds; one more than declared where bytes are left over.
        found: usize,
    },
    /// The steps need another number of multiply-accumulates than the header declares.
    Macs {
        /// What the header declares.
        declared: u64,
        /// What the steps need.
        computed: u64,
    },
    /// A port is wrong.
    Port {
        /// Which, from 0, inputs first.
        index: usize,
        /// What is wrong.
        fault: PortFault,
    },
    /// No input, or no output.
    NoPorts,
    /// The step names cannot be decoded, or are not as many as the steps.
    Names,
    /// The names of the classes cannot be decoded, or are not as many as a detector's classes.
    Labels,
    /// The description of the detector's outputs is wrong.
    Head {
        /// What is wrong.
        fault: HeadFault,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Misaligned => f.write_str(
                "the bytes must start at a multiple of 64: use include_strand!, or map the file",
            ),
            Self::NotStrand => {
                f.write_str("not a .strand file; `unbraid convert` makes one from ONNX")
            }
            Self::Version { found } => write!(
                f,
                "format version {}.{}, this runtime reads {}.{}: convert again, or use the runtime of that version",
                found.major, found.minor, VERSION.major, VERSION.minor
            ),
            Self::Truncated { needed, found } => {
                write!(f, "cut off: {found} of {needed} bytes; copy the file again")
            }
            Self::TooLong { declared, found } => {
                write!(f, "{found} bytes where the header declares {declared}; copy the file again")
            }
            Self::Checksum { region } => {
                write!(f, "the checksum of {region} is wrong: damaged; copy the file again")
            }
            Self::Reserved { offset } => write!(f, "reserved byte {offset} is set"),
            Self::ArenaUnaligned => f.write_str("a part of the arena is no multiple of 64 bytes"),
            Self::TableTooLong { sections } => {
                write!(f, "no room for {sections} section table entries")
            }
            Self::Section { index, fault } => write!(f, "section table entry {index}: {fault}"),
            Self::UnlistedBytes { offset } => {
                write!(f, "bytes behind the last section, at {offset}")
            }
            Self::MissingSection { kind } => write!(f, "section {kind:?} is missing"),
            Self::WeightsLength => f.write_str("the weights are no whole number of f32"),
            Self::Sparse { needed } => write!(
                f,
                "the weights are stored sparsely: use Model::expand, with {needed} bytes of memory"
            ),
            Self::MemoryTooSmall { needed, found } => {
                write!(f, "the memory for the weights has {found} bytes and must have {needed}")
            }
            Self::MemoryMisaligned => f.write_str(
                "the memory for the weights must start at a multiple of 64: a static Arena does",
            ),
            Self::SparseTensor { index, fault } => write!(f, "sparse tensor {index}: {fault}"),
            Self::ExpandedLength { declared, found } => {
                write!(
                    f,
                    "the header declares {declared} bytes of weights, they expand into {found}"
                )
            }
            Self::UnusedWeights { kind } => {
                write!(f, "section {kind:?} beside the weights that the header announces")
            }
            Self::Step { index, fault } => write!(f, "step {index}: {fault}"),
            Self::StepCount { declared, found } => {
                write!(f, "the header declares {declared} steps, the plan holds {found}")
            }
            Self::Macs { declared, computed } => {
                write!(
                    f,
                    "the header declares {declared} multiply-accumulates, the steps need {computed}"
                )
            }
            Self::Port { index, fault } => write!(f, "port {index}: {fault}"),
            Self::NoPorts => f.write_str("a network needs an input and an output"),
            Self::Names => f.write_str("the step names cannot be decoded or are not one a step"),
            Self::Labels => {
                f.write_str("the names of the classes cannot be decoded or are not one a class")
            }
            Self::Head { fault } => write!(f, "detector head: {fault}"),
        }
    }
}

impl core::error::Error for FormatError {}

/// Why a session cannot be made or fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The arena does not start at an address that is a multiple of 64.
    Misaligned,
    /// The arena is too small.
    ArenaTooSmall {
        /// Bytes that it must have.
        needed: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// A number of workers that cannot be.
    WorkerCount {
        /// The number asked for.
        found: usize,
    },
    /// A step whose kernel the feature `full` compiles in, in a program without it.
    NotCompiled {
        /// Which, from 0.
        index: usize,
        /// Its operation.
        op: &'static str,
    },
    /// The kernels refuse a step that the model's checks let pass: a defect of this crate.
    Step {
        /// Which, from 0.
        index: usize,
    },
    /// The input has another number of values.
    InputLength {
        /// Values of the input.
        needed: usize,
        /// Values that were given.
        found: usize,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Misaligned => {
                f.write_str("the arena must start at a multiple of 64: a static Arena does")
            }
            Self::ArenaTooSmall { needed, found } => {
                write!(f, "the arena has {found} bytes and must have {needed}")
            }
            Self::WorkerCount { found } => {
                write!(f, "{found} workers asked for, must be 1 to {MAX_WORKERS}")
            }
            Self::NotCompiled { index, op } => write!(
                f,
                "step {index} ({op}) has no kernel here: build unbraid-runtime with its feature full"
            ),
            Self::Step { index } => write!(f, "no kernel accepts step {index}; please report this"),
            Self::InputLength { needed, found } => {
                write!(f, "{found} values given, the input has {needed}")
            }
        }
    }
}

impl core::error::Error for SessionError {}

impl fmt::Display for SectionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Reserved => f.write_str("a reserved bit is set"),
            Self::Misplaced { expected } => write!(f, "must start at byte {expected}"),
            Self::OutOfFile => f.write_str("ends behind the end of the file"),
            Self::Padding => f.write_str("the bytes before it are not zero"),
            Self::Duplicate => f.write_str("a second section of its kind"),
            Self::Unknown { kind } => {
                write!(f, "required section of unknown kind {kind}: a newer runtime is needed")
            }
            Self::WrongFlag => f.write_str("marked required or optional against its kind"),
        }
    }
}

impl fmt::Display for SparseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated => f.write_str("ends behind the end of its section"),
            Self::Place => f.write_str("is not aligned, or overlaps the one before or the end"),
            Self::Count { stored, len } => write!(f, "stores {stored} of {len} values"),
            Self::Bits { stored, found } => {
                write!(f, "stores {stored} values, its bitmap has {found} bits: damaged")
            }
        }
    }
}

impl fmt::Display for PortFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Undecodable => "cannot be decoded",
            Self::Name => "the name is empty or has control characters",
            Self::Order => "an input behind an output",
            Self::Operand => {
                "its bytes are not aligned, not in the arena, or not as many as its dims demand"
            }
            Self::Shape => "rank, shape and dims do not agree",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Other => "second operand",
            Self::Weights => "weights",
            Self::Bias => "bias",
            Self::Slopes => "slopes",
            Self::Sums => "sums of weights",
            Self::Scale => "scale",
            Self::Negative => "scale of negative sums",
            Self::Shift => "shift",
            Self::Table => "table",
        })
    }
}

impl fmt::Display for StepFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Undecodable => f.write_str("cannot be decoded"),
            Self::Unaligned { role } => write!(f, "{role} does not start at a multiple of 64"),
            Self::OutOfBounds { role } => write!(f, "{role} ends outside its part of memory"),
            Self::Length { role, expected } => write!(f, "{role} must have {expected} bytes"),
            Self::Empty { role } => {
                write!(f, "{role} has no elements, or more than can be addressed")
            }
            Self::Overlap { role } => write!(f, "output overlaps {role}"),
            Self::Shape { expected } => {
                write!(
                    f,
                    "output must be {} x {} x {} (h, w, c)",
                    expected.h, expected.w, expected.c
                )
            }
            Self::Broadcast => {
                f.write_str("an axis of the second operand has neither the input's length nor 1")
            }
            Self::Count => {
                f.write_str("no channels to be chosen, more than there are, or of more than 2^24")
            }
            Self::Factors => f.write_str("the factors of the product do not fit each other"),
            Self::Box => f.write_str("the box to copy into ends outside the output"),
            Self::View => f.write_str(
                "the view reads outside its input, or has not as many values as the output",
            ),
            Self::Pad => {
                f.write_str("more padding than its mode can fill, or a value that is no number")
            }
            Self::Function => f.write_str("a parameter of the function is no finite number"),
            Self::Window => f.write_str("the window has a zero field or does not fit the input"),
            Self::Groups => {
                f.write_str("the groups do not divide the channels, or not as the layout demands")
            }
            Self::Border => f.write_str("more border classes than output rows or columns"),
            Self::Activation => f.write_str(
                "the activation has a bound or slope that is no number, or bounds beyond s8",
            ),
            Self::Scratch { needed } => {
                write!(f, "scratch must be at least {needed} bytes and at most the header's")
            }
            Self::Taps => f.write_str("runs have no rows or columns, or more than the input has"),
            Self::Macs => f.write_str("the number of multiply-accumulates overflows"),
            Self::Products { most } => {
                write!(
                    f,
                    "a sum of 8-bit products has more than {most}, which 32 bits may not hold"
                )
            }
            Self::Element { role } => {
                write!(f, "the operation takes no {role} values of this type (f32, s8) here")
            }
            Self::Integers => f.write_str(
                "the multipliers are 0, the shift is above 31, the bounds are in the wrong order, or sums \
                 may leave 32 bits",
            ),
            Self::Quantization { role } => {
                write!(f, "the scale of the {role} values is not a positive, normal number")
            }
        }
    }
}
