//! [`Strand`]: a `.strand` file as every command opens it, and the memory and threads to run it.

use super::failure::{During, Failure};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use unbraid_linux::{MappedFile, Pool};
use unbraid_runtime::{Cpu, Kernels, Model, Session};

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Strand {
    path: PathBuf,
    file: MappedFile,
}

impl Strand {
    /// Maps the file and looks at nothing.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = MappedFile::open(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The file's network, every checksum proved.
    pub(crate) fn model(&self) -> Result<Model<'_>, Failure> {
        let model = Model::new(&self.file).during("load", &self.path)?;
        model.verify().during("verify", &self.path)?;
        Ok(model)
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> usize {
        self.file.len()
    }
}

/// What a session borrows beside the network.
#[derive(Debug)]
pub(crate) struct Machine {
    pool: Pool,
    cpu: Cpu,
    memory: Vec<u8>,
}

impl Machine {
    /// `threads` threads of this machine, and of its CPU features those in `cpu`.
    pub(crate) fn new(threads: NonZeroUsize, cpu: Cpu) -> Result<Self, Failure> {
        let pool = Pool::new(threads)
            .map_err(|error| Failure::new(format!("cannot start {threads} threads: {error}")))?;
        Ok(Self { pool, cpu, memory: Vec::new() })
    }

    /// `model`, ready to run.
    pub(crate) fn session<'s>(&'s mut self, model: &Model<'s>) -> Result<Session<'s>, Failure> {
        let threads = self.pool.threads();
        let fail = |what: String| Failure::new(what).help("use fewer threads, or a smaller model");
        let needed = model.arena_len(threads);
        let padded = needed.and_then(|len| len.checked_add(ALIGN));
        let reserved = padded.is_some_and(|len| self.memory.try_reserve_exact(len).is_ok());
        let Some(len) = needed.filter(|_| reserved) else {
            return Err(fail(format!("not enough memory for an arena of {threads} threads")));
        };
        self.memory.resize(len + ALIGN, 0);
        let start = self.memory.as_ptr().align_offset(ALIGN);
        let arena = &mut self.memory[start..start + len];
        Session::new(model, arena, Kernels::new(self.cpu))
            .and_then(|session| session.with_workers(&self.pool, threads))
            .map_err(|error| fail(format!("cannot prepare the network: {error}")))
    }
}

/// Where an arena starts: at a multiple of this many bytes.
const ALIGN: usize = unbraid_runtime::model::ALIGN as usize;
