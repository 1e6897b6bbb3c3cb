//! IDX files, as the MNIST family comes in: `0 0 8 rank`, big-endian axis lengths, bytes (Y. `LeCun`,
//! C. Cortes, C. Burges: "The MNIST database"). Plain or gzipped.

use super::error::place;
use super::pixels::{Normalise, only};
use super::{DataError, Port, Preprocess};
use crate::tensor::elements;
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What a file of bytes begins with.
pub(super) const MAGIC: &[u8] = &[0, 0, 8];
/// What a gzipped file begins with.
pub(super) const GZIP: &[u8] = &[0x1f, 0x8b];

/// Bytes and their shape.
#[derive(Debug)]
pub(super) struct Bytes {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<u8>,
}

/// Why bytes are no IDX file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdxError {
    /// It cannot be read or unpacked.
    #[error("it cannot be read or unpacked")]
    Read(#[source] io::Error),
    /// Another format, or IDX of other numbers than bytes.
    #[error("it is not an IDX file of bytes: expected the bytes 0 0 8 at its start")]
    Magic,
    /// Cut off.
    #[error("axis lengths {shape:?} need {needed} bytes of values, the file has {found}")]
    Length {
        /// Axis lengths in the header.
        shape: Vec<usize>,
        /// Bytes they need.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// Too short for its header.
    #[error("the file ends inside its header: it was cut off")]
    HeaderCut,
}

/// The first bytes of a file, at most six.
pub(super) fn start(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(6).read_to_end(&mut start)?;
    Ok(start)
}

/// The whole file.
pub(super) fn read(path: &Path) -> Result<Bytes, IdxError> {
    let mut bytes = fs::read(path).map_err(IdxError::Read)?;
    if bytes.starts_with(GZIP) {
        let mut unpacked = Vec::new();
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).map_err(IdxError::Read)?;
        bytes = unpacked;
    }
    let rest = bytes.strip_prefix(MAGIC).ok_or(IdxError::Magic)?;
    let (&rank, rest) = rest.split_first().ok_or(IdxError::HeaderCut)?;
    let header = rest.split_at_checked(4 * usize::from(rank)).ok_or(IdxError::HeaderCut)?;
    let axes = header.0.as_chunks().0.iter();
    let shape: Vec<usize> = axes.map(|axis| u32::from_be_bytes(*axis) as usize).collect();
    let (needed, found) = (elements(&shape).unwrap_or(usize::MAX), header.1.len());
    if needed != found {
        return Err(IdxError::Length { shape, needed, found });
    }
    Ok(Bytes { shape, values: header.1.to_vec() })
}

/// Pictures for the only input of a network.
#[derive(Debug)]
pub(super) struct Idx {
    pictures: Vec<u8>,
    /// Values of one.
    size: usize,
    normalise: Normalise,
}

impl Idx {
    /// Pictures `[N, H, W]` or `[N, C, H, W]` of exactly the input's shape.
    pub(super) fn open(
        path: &Path,
        ports: &[Port],
        preprocess: &Preprocess,
    ) -> Result<Self, DataError> {
        let port = only(path, ports)?;
        let Bytes { shape, values } =
            read(path).map_err(|source| DataError::Idx { path: path.to_owned(), source })?;
        let long = |axes: &[usize]| axes.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
        let flat = |axes: &[usize]| vec![axes.iter().product::<usize>()];
        let fits = |item: &[usize]| {
            let (item, one) = (long(item), long(&port.shape));
            item == one || flat(&item) == one
        };
        let size = match &*shape {
            [count, item @ ..] if *count > 0 && item.len() >= 2 && fits(item) => {
                item.iter().product()
            }
            _ => {
                let (input, expected) = (port.name.clone(), port.shape.clone());
                let place = place(path, None);
                return Err(DataError::Shape { place, found: shape, input, expected });
            }
        };
        Ok(Self { pictures: values, size, normalise: Normalise::of(port, preprocess)? })
    }

    pub(super) fn len(&self) -> usize {
        self.pictures.len() / self.size
    }

    pub(super) fn read(&self, index: usize) -> Vec<f32> {
        let bytes = &self.pictures[index * self.size..][..self.size];
        let mut values: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
        self.normalise.apply(&mut values);
        values
    }
}

/// The file of labels that belongs to one of pictures, by its name, if it is there:
/// `t10k-labels-idx1-ubyte.gz` beside `t10k-images-idx3-ubyte.gz`.
pub(super) fn labels_beside(pictures: &Path) -> Option<PathBuf> {
    let name = pictures.file_name()?.to_str()?;
    if !name.contains("images") {
        return None;
    }
    let name = name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1");
    let bare = name.strip_suffix(".gz").unwrap_or(&name);
    let beside = [name.clone(), bare.to_owned(), format!("{bare}.gz")];
    beside.iter().map(|name| pictures.with_file_name(name)).find(|path| path.is_file())
}
