//! [`DataError`]: what is wrong with data, which file, and what to do about it.

use super::idx::IdxError;
use super::labels::LabelError;
use crate::npy::NpyError;
use crate::picture::PictureError;
use std::io;
use std::path::{Path, PathBuf};
use zip::result::ZipError;

/// Why data cannot go into a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file system said no.
    #[error("cannot read {}", path.display())]
    Read {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Nothing that is read.
    #[error(
        "{} is nothing that is read; expected a folder of PNG or JPEG pictures, one of them, an \
         .npz, an .npy, or an IDX file (perhaps with .gz)", path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// A folder without pictures.
    #[error(
        "no picture is in {}{}; expected .png, .jpg or .jpeg, in folders below too",
        path.display(), others_of(*others, example.as_deref())
    )]
    NoPictures {
        /// The folder.
        path: PathBuf,
        /// Other files in it.
        others: usize,
        /// One of them.
        example: Option<String>,
    },
    /// A name that is no text.
    #[error("the name of {} is not UTF-8; rename the file", path.display())]
    FileName {
        /// The file.
        path: PathBuf,
    },
    /// A file that is no picture, or one of another size.
    #[error("cannot use the picture {}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PictureError,
    },
    /// An input that takes no pictures.
    #[error(
        "input `{input}` has shape {shape:?}, a picture goes into [1, 1, height, width] (grey) or \
         [1, 3, height, width] (colour); use an .npz with the input's values"
    )]
    NoPicture {
        /// The input.
        input: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// One array or picture for several inputs.
    #[error(
        "the network has {} inputs ({}), {} holds values of one; use an .npz with one array for \
         each, of its name", inputs.len(), inputs.join(", "), path.display()
    )]
    SeveralInputs {
        /// The file.
        path: PathBuf,
        /// The inputs.
        inputs: Vec<String>,
    },
    /// Mean or deviation of another number of channels.
    #[error(
        "{found} values of --input-{what}, input `{input}` has {channels} channels: give one, or one a channel"
    )]
    Channels {
        /// `mean` or `std`.
        what: &'static str,
        /// Values given.
        found: usize,
        /// The input.
        input: String,
        /// Its channels.
        channels: usize,
    },
    /// A deviation to divide by that is zero or no number.
    #[error("--input-std {value} cannot be divided by")]
    Deviation {
        /// The value.
        value: f64,
    },
    /// An array that is not readable.
    #[error("cannot read {place}")]
    Npy {
        /// The file, and the array in it.
        place: String,
        /// Why.
        source: NpyError,
    },
    /// An archive that is not readable.
    #[error("cannot unpack {}: cut off or damaged; write it with numpy.savez or numpy.savez_compressed", path.display())]
    Zip {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ZipError,
    },
    /// An IDX file that is not readable.
    #[error("cannot use {}", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IdxError,
    },
    /// Values of another shape than the input's.
    #[error(
        "{place} has shape {found:?}, input `{input}` takes {expected:?}, or several along axis 0; the \
         axis order is that of the ONNX input"
    )]
    Shape {
        /// The file, and the array in it.
        place: String,
        /// Its shape.
        found: Vec<usize>,
        /// The input.
        input: String,
        /// What it takes.
        expected: Vec<usize>,
    },
    /// An `.npz` without the array of an input.
    #[error(
        "{} has no array for input `{input}`; it has {}: give each the name of its input",
        path.display(), listed(found)
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The input.
        input: String,
        /// The arrays.
        found: Vec<String>,
    },
    /// Arrays of several inputs with different numbers of items.
    #[error(
        "the arrays of {} have different numbers of samples along axis 0: {}",
        path.display(), counted(counts)
    )]
    Counts {
        /// The file.
        path: PathBuf,
        /// Items for each input.
        counts: Vec<(String, usize)>,
    },
    /// A value that is no number.
    #[error(
        "sample {sample} of {} has the value {value} for input `{input}` (value {position} of it); \
         leave the sample out, or find out what made it", path.display()
    )]
    NotFinite {
        /// The data.
        path: PathBuf,
        /// The sample.
        sample: String,
        /// The input.
        input: String,
        /// Of the value in the input.
        position: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// No classes where they are needed.
    #[error(
        "nothing says which classes the samples of {} show; sort pictures into a folder for each \
         class, or write labels.csv beside them with lines of file,label, or name a file with the \
         labels (--truth)", path.display()
    )]
    NoLabels {
        /// The data.
        path: PathBuf,
    },
    /// Classes that are not readable or do not fit.
    #[error("the labels of {} do not fit", path.display())]
    Labels {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: LabelError,
    },
}

fn others_of(others: usize, example: Option<&str>) -> String {
    match example {
        None => ", which is empty".to_owned(),
        Some(example) => format!(" (of its {others} files one is {example})"),
    }
}

/// A file, or an array in it.
pub(super) fn place(path: &Path, array: Option<&str>) -> String {
    let path = path.display();
    array.map_or_else(|| path.to_string(), |name| format!("array `{name}` of {path}"))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn counted(counts: &[(String, usize)]) -> String {
    let one = |(name, count): &(String, usize)| format!("`{name}` has {count}");
    counts.iter().map(one).collect::<Vec<_>>().join(", ")
}
