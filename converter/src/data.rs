//! Data for calibration and evaluation: pictures and arrays of a user as inputs of a network, one sample
//! at a time, with the classes they are known to show.
//!
//! [`Dataset::open`] takes a folder of pictures, one picture, an IDX file, an `.npz` or an `.npy`, and
//! checks everything that can be known without decoding pixels: names, shapes, counts, labels. A
//! sample is read when it is asked for. What is legal but hardly meant (one picture, all the same,
//! noise) is what a [`Survey`] finds.

mod arrays;
mod error;
mod folder;
mod idx;
mod labels;
mod pixels;
mod survey;

pub use error::DataError;
pub use labels::LabelError;
pub use pixels::{ChannelOrder, Preprocess};
pub use survey::{Survey, Warning};

use crate::graph::Graph;
use crate::npy;
use arrays::Arrays;
use folder::Folder;
use idx::Idx;
use pixels::Pixels;
use std::fs;
use std::path::{Path, PathBuf};

/// An input of a network, or an output that data are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// ONNX name.
    pub name: String,
    /// Axis lengths in ONNX's order.
    pub shape: Vec<usize>,
}

impl Port {
    /// The inputs of a graph.
    pub fn inputs(graph: &Graph) -> Vec<Self> {
        let port = |&id| {
            let value = graph.get(id);
            Self { name: value.name.clone(), shape: value.shape.clone() }
        };
        graph.inputs.iter().map(port).collect()
    }
}

/// What is known about the classes that a network tells apart.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// Their names, best known ones; may be empty.
    pub names: Vec<String>,
    /// How many there are.
    pub count: Option<usize>,
}

/// Whether samples need a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labels {
    /// No: what there is is not even looked at.
    #[default]
    Ignored,
    /// No, but what there is must be right.
    Welcome,
    /// Yes.
    Required,
}

/// Which samples are taken, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// From pixels to values.
    pub preprocess: Preprocess,
    /// At most so many; the first ones, unless there is a `seed`.
    pub limit: Option<usize>,
    /// Draws the samples by lot: same seed, same samples. They stay in their order.
    pub seed: Option<u64>,
    /// Whether classes are needed.
    pub labels: Labels,
    /// A file with the classes, in place of those that belong to the data: a table of `file,label` for
    /// a folder, else one class a line, or an `.npy`, or an IDX file.
    pub truth: Option<PathBuf>,
    /// For classes by name.
    pub classes: Classes,
}

/// What goes into a network once.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// For each input its values, row-major in ONNX's order.
    pub inputs: Vec<Vec<f32>>,
    /// The class, counted from 0.
    pub label: Option<usize>,
}

/// The samples of one source, read as they are asked for.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    source: Source,
    ports: Vec<Port>,
    /// Positions in the source, ascending.
    chosen: Vec<usize>,
    /// For every position of the source.
    labels: Option<Vec<usize>>,
}

/// Where samples come from.
#[derive(Debug)]
enum Source {
    Folder(Folder),
    Idx(Idx),
    Arrays(Arrays),
}

impl Dataset {
    /// The samples at `path` for a network with these inputs: a folder with pictures (of all its folders,
    /// sorted by path), a picture, an IDX file (plain or gzipped), an `.npz` or an `.npy`.
    ///
    /// # Errors
    /// See [`DataError`]: nothing there, another format, damaged, of another shape than the inputs,
    /// or with labels that do not fit.
    pub fn open(path: &Path, ports: Vec<Port>, options: &Options) -> Result<Self, DataError> {
        let source = Source::open(path, &ports, &options.preprocess)?;
        let labels = match options.labels {
            Labels::Ignored => None,
            Labels::Welcome => source.labels(path, options)?,
            Labels::Required => match source.labels(path, options)? {
                None => return Err(DataError::NoLabels { path: path.to_owned() }),
                labels => labels,
            },
        };
        let chosen = chosen(source.len(), options.limit, options.seed);
        Ok(Self { path: path.to_owned(), source, ports, chosen, labels })
    }

    /// How many there are; at least one.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// How many the source has, taken or not.
    pub fn total(&self) -> usize {
        self.source.len()
    }

    /// The inputs that the samples are for.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// Whether there is none, which [`Dataset::open`] refuses.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Whether samples have a class.
    pub fn labelled(&self) -> bool {
        self.labels.is_some()
    }

    /// What a sample is called: the path of a picture below its folder, or a number.
    pub fn name(&self, index: usize) -> String {
        self.source.name(self.chosen[index])
    }

    /// One sample; `index` is less than [`Dataset::len`].
    ///
    /// # Errors
    /// A picture cannot be read, or a value is no number.
    pub fn get(&self, index: usize) -> Result<Sample, DataError> {
        let at = self.chosen[index];
        let inputs = match &self.source {
            Source::Folder(folder) => vec![folder.read(at)?],
            Source::Idx(idx) => vec![idx.read(at)],
            Source::Arrays(arrays) => arrays.read(at),
        };
        for (values, port) in inputs.iter().zip(&self.ports) {
            if let Some(position) = values.iter().position(|value| !value.is_finite()) {
                return Err(DataError::NotFinite {
                    path: self.path.clone(),
                    sample: self.name(index),
                    input: port.name.clone(),
                    position,
                    value: values[position],
                });
            }
        }
        Ok(Sample { inputs, label: self.labels.as_ref().map(|labels| labels[at]) })
    }

    /// All samples, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Result<Sample, DataError>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl Source {
    /// A folder is one; what a file is, its first bytes say.
    fn open(path: &Path, ports: &[Port], preprocess: &Preprocess) -> Result<Self, DataError> {
        let read = |source| DataError::Read { path: path.to_owned(), source };
        let pixels = || Pixels::of(path, ports, preprocess);
        if fs::metadata(path).map_err(read)?.is_dir() {
            return Ok(Self::Folder(Folder::open(path, pixels()?)?));
        }
        let start = idx::start(path).map_err(read)?;
        if start.starts_with(npy::MAGIC) || start.starts_with(b"PK") {
            return Ok(Self::Arrays(Arrays::open(path, ports, preprocess)?));
        }
        if folder::is_picture(path) {
            return Ok(Self::Folder(Folder::of_one(path, pixels()?)));
        }
        if start.starts_with(idx::MAGIC) || start.starts_with(idx::GZIP) {
            return Ok(Self::Idx(Idx::open(path, ports, preprocess)?));
        }
        Err(DataError::Unknown { path: path.to_owned() })
    }

    fn len(&self) -> usize {
        match self {
            Self::Folder(folder) => folder.len(),
            Self::Idx(idx) => idx.len(),
            Self::Arrays(arrays) => arrays.len(),
        }
    }

    fn name(&self, at: usize) -> String {
        match self {
            Self::Folder(folder) => folder.name(at).to_owned(),
            Self::Idx(_) | Self::Arrays(_) => format!("#{at}"),
        }
    }

    /// The class of every sample, if it is known.
    fn labels(&self, path: &Path, options: &Options) -> Result<Option<Vec<usize>>, DataError> {
        let (truth, classes) = (options.truth.as_deref(), &options.classes);
        let beside = match self {
            Self::Idx(_) => idx::labels_beside(path),
            Self::Folder(_) | Self::Arrays(_) => None,
        };
        let (labels, of) = match (self, truth.or(beside.as_deref())) {
            (Self::Folder(folder), truth) => match folder.labels(truth, classes)? {
                Some((labels, of)) => (Some(labels), of),
                None => return Ok(None),
            },
            (_, Some(list)) => (Some(labels::read(list, classes)?), list.to_owned()),
            (Self::Idx(_), None) => return Ok(None),
            (Self::Arrays(arrays), None) => (arrays.labels()?, path.to_owned()),
        };
        let checked = labels.map(|labels| self.fitting(labels, classes)).transpose();
        checked.map_err(|error| error.at(&of))
    }

    /// One class a sample, each of which the network tells apart.
    fn fitting(&self, labels: Vec<usize>, classes: &Classes) -> Result<Vec<usize>, LabelError> {
        if labels.len() != self.len() {
            let (found, expected) = (labels.len(), self.len());
            return Err(LabelError::Count { found, expected });
        }
        let count = classes.count.unwrap_or(usize::MAX);
        match labels.iter().position(|&class| class >= count) {
            None => Ok(labels),
            Some(at) => {
                let (sample, class) = (self.name(at), labels[at]);
                Err(LabelError::Range { sample, class, classes: count })
            }
        }
    }
}

/// Positions of the samples that are taken of `len`, ascending.
fn chosen(len: usize, limit: Option<usize>, seed: Option<u64>) -> Vec<usize> {
    let count = limit.map_or(len, |limit| limit.min(len));
    let mut all: Vec<usize> = (0..len).collect();
    if let Some(seed) = seed {
        // The first steps of a shuffle (Fisher, Yates; Durstenfeld 1964).
        let mut state = seed;
        for at in 0..count {
            let drawn = at + (split_mix(&mut state) % (len - at) as u64) as usize;
            all.swap(at, drawn);
        }
    }
    all.truncate(count);
    all.sort_unstable();
    all
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How many items of the shape `one` lie along axis 0 of an array of the shape `found`.
///
/// The array has exactly that shape, or has it behind one more axis, or in place of a first axis of 1.
pub fn items_of(found: &[usize], one: &[usize]) -> Option<usize> {
    let (&items, item) = found.split_first()?;
    let batched = one.len() > 1 && one.first() == Some(&1) && item == &one[1..];
    match found == one {
        true => Some(1),
        false => (items > 0 && (batched || item == one)).then_some(items),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lot_is_the_same_for_the_same_seed_and_takes_no_sample_twice() {
        let drawn = chosen(1000, Some(100), Some(7));
        assert_eq!(drawn, chosen(1000, Some(100), Some(7)));
        assert_ne!(drawn, chosen(1000, Some(100), Some(8)));
        assert!(drawn.is_sorted_by(|a, b| a < b) && drawn.len() == 100);
        assert!(drawn.iter().any(|&at| at < 200) && drawn.iter().any(|&at| at >= 800));
        assert_eq!(chosen(10, Some(3), None), [0, 1, 2]);
        assert_eq!(chosen(2, Some(9), Some(1)), [0, 1]);
    }

    #[test]
    fn several_items_lie_along_axis_0() {
        assert_eq!(items_of(&[1, 3, 2, 2], &[1, 3, 2, 2]), Some(1));
        assert_eq!(items_of(&[5, 3, 2, 2], &[1, 3, 2, 2]), Some(5));
        assert_eq!(items_of(&[5, 1, 3, 2, 2], &[1, 3, 2, 2]), Some(5));
        assert_eq!(items_of(&[5, 7], &[7]), Some(5));
        for wrong in [&[0, 3, 2, 2][..], &[3, 2, 2], &[5, 3, 2, 1], &[]] {
            assert_eq!(items_of(wrong, &[1, 3, 2, 2]), None, "{wrong:?}");
        }
    }
}
