//! [`MappedFile`]: a model file used in place, without reading it into memory.

use crate::sys::map::Mapping;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::{error, fmt, io};

/// A file's bytes, mapped read-only and shared with every process that maps the same file.
///
/// The first byte is page-aligned, so a `.strand`'s 64-byte aligned sections stay aligned.
/// Whoever replaces the file must rename a new one over it: truncating a mapped file ends the
/// process with SIGBUS when a lost page is read, and rewriting it changes the bytes seen here.
#[derive(Debug)]
pub struct MappedFile {
    /// `None` for an empty file: the kernel maps no empty ranges.
    mapping: Option<Mapping>,
}

/// Why a file could not be mapped.
#[derive(Debug)]
pub struct MapError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl MappedFile {
    /// Maps the whole file at `path`.
    ///
    /// # Errors
    /// The file cannot be opened, is not a regular file, or does not fit the address space.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MapError> {
        let path = path.as_ref();
        map(path).map_err(|source| MapError { path: path.to_owned(), source })
    }
}

fn map(path: &Path) -> io::Result<MappedFile> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let len = usize::try_from(metadata.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mapping = NonZeroUsize::new(len).map(|len| Mapping::new(&file, len)).transpose()?;
    Ok(MappedFile { mapping })
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.mapping.as_ref().map_or(&[], Mapping::bytes)
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot map {}", self.path.display())
    }
}

impl error::Error for MapError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, process};

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let path = env::temp_dir().join(format!("unbraid-{}-{name}", process::id()));
            fs::write(&path, bytes).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn mapped_bytes_are_those_of_the_file_and_aligned() {
        let bytes: Vec<u8> = (0..10_007_u32).map(|i| (i * 31 % 251) as u8).collect();
        let file = Scratch::new("bytes", &bytes);
        let mapped = MappedFile::open(&file.0).unwrap();
        assert_eq!(*mapped, bytes[..]);
        assert_eq!(mapped.as_ptr() as usize % 64, 0);
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        let file = Scratch::new("empty", &[]);
        assert!(MappedFile::open(&file.0).unwrap().is_empty());
    }

    #[test]
    fn a_replaced_file_leaves_the_mapping_as_it_was() {
        let file = Scratch::new("replaced", b"before");
        let next = Scratch::new("replacing", b"after");
        let mapped = MappedFile::open(&file.0).unwrap();
        fs::rename(&next.0, &file.0).unwrap();
        assert_eq!(*mapped, *b"before");
        fs::write(&next.0, []).unwrap();
    }

    #[test]
    fn what_is_no_file_is_refused_with_its_path() {
        for (path, kind) in [
            (env::temp_dir().join("unbraid-no-such-file"), io::ErrorKind::NotFound),
            (env::temp_dir(), io::ErrorKind::IsADirectory),
            (PathBuf::from("/dev/null"), io::ErrorKind::InvalidInput),
        ] {
            let error = MappedFile::open(&path).unwrap_err();
            assert_eq!(error.source.kind(), kind, "{}", path.display());
            assert!(error.to_string().contains(path.to_str().unwrap()));
        }
    }
}
