//! [`Strand`]: a `.strand` file as every command opens it, and the memory and threads to run it.

use super::failure::{During, Failure};
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use unbraid_converter::write;
use unbraid_linux::{MappedFile, Pool};
use unbraid_runtime::model::header::MAGIC;
use unbraid_runtime::{Cpu, FormatError, Kernels, Model, Session};

/// A mapped file, or one that was made and not written.
#[derive(Debug)]
pub(crate) struct Strand {
    path: PathBuf,
    file: Bytes,
    /// For sparse weights.
    weights: Memory,
}

impl Strand {
    /// Maps the file and looks at nothing.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = MappedFile::open(path)?;
        Ok(Self { path: path.to_owned(), file: Bytes::Mapped(file), weights: Memory::default() })
    }

    /// What the model at `path` became.
    pub(crate) fn made(path: &Path, file: write::Strand) -> Self {
        Self { path: path.to_owned(), file: Bytes::Made(file), weights: Memory::default() }
    }

    /// Whether the file begins as a `.strand` does, or is called one.
    pub(crate) fn is_strand(&self) -> bool {
        let called = self.path.extension().is_some_and(|extension| extension == "strand");
        called || self.file.starts_with(&MAGIC)
    }

    /// The file's network, every checksum proved.
    pub(crate) fn model(&mut self) -> Result<Model<'_>, Failure> {
        let Self { path, file, weights } = self;
        let model = match Model::new(file) {
            Err(FormatError::Sparse { needed }) => {
                let memory = weights.reserve(usize::try_from(needed).ok());
                let memory = memory.ok_or_else(|| {
                    Failure::new(format!("not enough memory for {needed} bytes of weights"))
                        .help("convert without --sparse: then they are used where they lie")
                })?;
                Model::expand(file, memory)
            }
            model => model,
        };
        let model = model.during("load", path)?;
        model.verify().during("verify", path)?;
        Ok(model)
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> usize {
        self.file.len()
    }
}

/// Bytes at a multiple of [`ALIGN`].
#[derive(Debug)]
enum Bytes {
    Mapped(MappedFile),
    Made(write::Strand),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Made(file) => file,
        }
    }
}

/// What a session borrows beside the network.
#[derive(Debug)]
pub(crate) struct Machine {
    pool: Pool,
    cpu: Cpu,
    memory: Memory,
}

impl Machine {
    /// `threads` threads of this machine, and of its CPU features those in `cpu`.
    pub(crate) fn new(threads: NonZeroUsize, cpu: Cpu) -> Result<Self, Failure> {
        let pool = Pool::new(threads)
            .map_err(|error| Failure::new(format!("cannot start {threads} threads: {error}")))?;
        Ok(Self { pool, cpu, memory: Memory::default() })
    }

    /// `model`, ready to run.
    pub(crate) fn session<'s>(&'s mut self, model: &Model<'s>) -> Result<Session<'s>, Failure> {
        let threads = self.pool.threads();
        let fail = |what: String| Failure::new(what).help("use fewer threads, or a smaller model");
        let Some(arena) = self.memory.reserve(model.arena_len(threads)) else {
            return Err(fail(format!("not enough memory for an arena of {threads} threads")));
        };
        Session::new(model, arena, Kernels::new(self.cpu))
            .and_then(|session| session.with_workers(&self.pool, threads))
            .map_err(|error| fail(format!("cannot prepare the network: {error}")))
    }
}

/// Bytes that are reserved once it is known how many.
#[derive(Debug, Default)]
struct Memory(Vec<u8>);

impl Memory {
    /// `len` zeros at a multiple of [`ALIGN`]; `None` if there is no room for them.
    fn reserve(&mut self, len: Option<usize>) -> Option<&mut [u8]> {
        let padded = len?.checked_add(ALIGN)?;
        self.0.try_reserve_exact(padded).ok()?;
        self.0.resize(padded, 0);
        let start = self.0.as_ptr().align_offset(ALIGN);
        self.0.get_mut(start..)?.get_mut(..len?)
    }
}

/// Where memory starts: at a multiple of this many bytes.
const ALIGN: usize = unbraid_runtime::model::ALIGN as usize;
