//! [`Plan`] -> the bytes of a `.strand` file, and bytes -> a file that is whole or absent.
//!
//! Everything is written with the runtime's own types, and the result is read by the runtime
//! before anybody else gets it.

mod sparse;

use crate::plan::{Plan, PlannedPort};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use thiserror::Error;
use unbraid_runtime::model::header::{HEADER_LEN, Header};
use unbraid_runtime::model::meta::Meta;
use unbraid_runtime::model::port::MAX_RANK;
use unbraid_runtime::model::section::{ENTRY_LEN, SectionEntry, SectionKind};
use unbraid_runtime::model::{ALIGN, crc32};
use unbraid_runtime::{FormatError, Model, Port};

/// What every file says about who made it.
const PRODUCER: &str = concat!("unbraid ", env!("CARGO_PKG_VERSION"));

/// Why a plan could not become a file.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Offsets in a file have 32 bits.
    #[error("the file would exceed 4 GiB; convert without --tunable, or split the model")]
    TooLarge,
    /// A port has more axes than a file can say.
    #[error(
        "port {name:?} has {rank} axes, a file holds at most {MAX_RANK}; reshape it in the model"
    )]
    Rank {
        /// Name of the input or output.
        name: String,
        /// Its axes.
        rank: usize,
    },
    /// A record could not be encoded.
    #[error("a record could not be encoded")]
    Encode(#[from] postcard::Error),
    /// The runtime refuses what was written.
    #[error("the runtime refuses the plan: {0}; this is a bug of the converter, please report it")]
    Refused(FormatError),
    /// The file could not be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// A whole `.strand` file in memory, at a multiple of 64 as the runtime demands.
#[derive(Debug)]
pub struct Strand {
    // Never grows after the start is chosen, so the bytes stay where they are.
    buffer: Vec<u8>,
    start: usize,
}

impl Strand {
    /// Bytes of a file from anywhere.
    pub fn copied(bytes: &[u8]) -> Self {
        let mut strand = Self::with_capacity(bytes.len());
        strand.buffer.extend_from_slice(bytes);
        strand
    }

    fn with_capacity(len: usize) -> Self {
        let mut buffer: Vec<u8> = Vec::with_capacity(len + ALIGN as usize);
        let start = buffer.as_ptr().align_offset(ALIGN as usize);
        buffer.resize(start, 0);
        Self { buffer, start }
    }
}

impl Deref for Strand {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// The file of a plan: the same plan gives the same bytes.
///
/// # Errors
/// Beyond 4 GiB, with a port of too many axes, or if the runtime refuses the result (a bug).
pub fn strand(plan: &Plan) -> Result<Strand, WriteError> {
    let strand = written(plan, SectionKind::Weights, &plan.weights)?;
    Model::new(&strand).and_then(|model| model.verify()).map_err(WriteError::Refused)?;
    Ok(strand)
}

/// The file of a plan with each tensor of weights as a bitmap and its non-zero values, where that is
/// smaller. Where it is smaller nowhere, [`strand()`].
///
/// # Errors
/// As [`strand()`].
pub fn sparse_strand(plan: &Plan) -> Result<Strand, WriteError> {
    let sparse = sparse::section(&plan.weights, &plan.tensors);
    if sparse.len() >= plan.weights.len() {
        return strand(plan);
    }
    let strand = written(plan, SectionKind::SparseWeights, &sparse)?;
    let mut memory = Strand::with_capacity(plan.weights.len());
    memory.buffer.resize(memory.start + plan.weights.len(), 0);
    let start = memory.start;
    let model = Model::expand(&strand, &mut memory.buffer[start..]).map_err(WriteError::Refused)?;
    model.verify().map_err(WriteError::Refused)?;
    Ok(strand)
}

fn written(plan: &Plan, kind: SectionKind, weights: &[u8]) -> Result<Strand, WriteError> {
    let meta = Meta { producer: PRODUCER, fused_regions: plan.fused_regions };
    let plain = plan.plain.as_deref().map(bytemuck::cast_slice);
    let (steps, names) = (records(&plan.steps)?, records(&plan.names)?);
    let (ports, meta) = (ports(plan)?, records(&[meta])?);
    let head = plan.head.map(|head| records(&[head])).transpose()?;
    let labels = records(&plan.labels)?;
    let mut sections: Vec<(SectionKind, &[u8])> = vec![
        (SectionKind::Plan, &steps),
        (kind, weights),
        (SectionKind::Ports, &ports),
        (SectionKind::Names, &names),
    ];
    sections.extend(plain.map(|plain| (SectionKind::PlainWeights, plain)));
    sections.push((SectionKind::Meta, &meta));
    sections.extend(head.as_deref().map(|head| (SectionKind::Head, head)));
    if !plan.labels.is_empty() {
        sections.push((SectionKind::Labels, &labels));
    }
    assemble(plan, &sections)
}

/// Consecutive postcard records.
fn records<T: Serialize>(items: &[T]) -> Result<Vec<u8>, WriteError> {
    let mut bytes = Vec::new();
    for item in items {
        bytes = postcard::to_extend(item, bytes)?;
    }
    Ok(bytes)
}

fn ports(plan: &Plan) -> Result<Vec<u8>, WriteError> {
    let inputs = plan.inputs.iter().map(|port| (port, false));
    let all = inputs.chain(plan.outputs.iter().map(|port| (port, true)));
    let ports = all.map(|(planned, is_output)| port(planned, is_output));
    records(&ports.collect::<Result<Vec<_>, _>>()?)
}

/// The record of an input or output.
pub(crate) fn port(planned: &PlannedPort, is_output: bool) -> Result<Port<'_>, WriteError> {
    let PlannedPort { name, operand, shape: axes } = planned;
    let rank = axes.len();
    let mut shape = [0; MAX_RANK];
    let Some(head) = shape.get_mut(..rank) else {
        return Err(WriteError::Rank { name: name.clone(), rank });
    };
    head.copy_from_slice(axes);
    Ok(Port { name, is_output, operand: *operand, rank: rank as u8, shape })
}

/// Header, section table, sections with zeros up to their alignment.
fn assemble(plan: &Plan, sections: &[(SectionKind, &[u8])]) -> Result<Strand, WriteError> {
    let narrow = |n: usize| u32::try_from(n).map_err(|_| WriteError::TooLarge);
    let mut end = narrow(HEADER_LEN + sections.len() * ENTRY_LEN)?;
    let mut entries = Vec::with_capacity(sections.len());
    for (kind, bytes) in sections {
        let entry = SectionEntry::after(end, *kind, bytes).ok_or(WriteError::TooLarge)?;
        end = entry.end();
        entries.push(entry);
    }
    let table: Vec<u8> = entries.iter().flat_map(SectionEntry::to_bytes).collect();
    let is_sparse = sections.iter().any(|(kind, _)| *kind == SectionKind::SparseWeights);
    let header = Header {
        target: plan.target.number,
        arena_base: plan.arena_base,
        scratch_per_worker: plan.scratch_per_worker,
        macs: plan.macs,
        file_len: end,
        section_count: narrow(sections.len())?,
        step_count: narrow(plan.steps.len())?,
        table_crc: crc32(&table),
        expanded: if is_sparse { narrow(plan.weights.len())? } else { 0 },
    };
    let mut strand = Strand::with_capacity(end as usize);
    let start = strand.start;
    strand.buffer.extend_from_slice(&header.to_bytes());
    strand.buffer.extend_from_slice(&table);
    for (entry, (_, bytes)) in entries.iter().zip(sections) {
        strand.buffer.resize(start + entry.offset as usize, 0);
        strand.buffer.extend_from_slice(bytes);
    }
    Ok(strand)
}

/// Writes a file that is whole or absent: under a temporary name in the same folder, flushed to
/// the disk, then renamed over `path`.
///
/// # Errors
/// What the operating system says; then nothing is left behind and `path` is as it was.
pub fn save(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let temporary = beside(path);
    let written = write_and_rename(&temporary, path, bytes);
    if written.is_err() {
        // The first error is the one to report; that there may be no file to remove is expected.
        fs::remove_file(&temporary).ok();
    }
    written.map_err(|source| WriteError::Io { path: path.to_path_buf(), source })
}

fn write_and_rename(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(temporary, path)
}

/// A name in the folder of `path` that no other process uses.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::{WriteError, save};
    use std::fs;
    use std::path::{Path, PathBuf};

    /// A folder of its own for each test, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let name = format!("unbraid-write-{test}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let name = |e: fs::DirEntry| e.file_name().to_string_lossy().into_owned();
            fs::read_dir(&self.0).unwrap().map(|entry| name(entry.unwrap())).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn a_saved_file_replaces_the_old_one_and_leaves_nothing_else() {
        let folder = Folder::new("replace");
        let path = folder.0.join("model.strand");
        for bytes in [&b"old"[..], b"new bytes"] {
            save(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(folder.names(), ["model.strand"]);
    }

    #[test]
    fn a_failed_save_leaves_the_target_and_no_other_file() {
        let folder = Folder::new("fail");
        let taken = folder.0.join("taken");
        fs::create_dir_all(taken.join("by a folder")).unwrap();
        let error = save(&taken, b"bytes").unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert!(matches!(error, WriteError::Io { .. }));
        assert_eq!(folder.names(), ["taken"]);
        assert!(save(Path::new("/no such folder/model.strand"), b"bytes").is_err());
    }
}
