//! Classes of samples: tables of `file,label`, lists, names of folders; and whether they fit.

use super::{Classes, DataError, arrays, idx};
use crate::npy;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// What is wrong with labels.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabelError {
    /// A line of another form.
    #[error("line {line} is {found:?}, expected {expected}")]
    Line {
        /// From 1.
        line: usize,
        /// The line.
        found: String,
        /// What a line holds.
        expected: &'static str,
    },
    /// A table names a file that is not there.
    #[error("line {line} names {file:?}, which is not below the folder; paths are relative to it")]
    NoFile {
        /// From 1.
        line: usize,
        /// The name.
        file: String,
    },
    /// A file has two classes.
    #[error("line {line} gives {file:?} another class than a line above")]
    Twice {
        /// From 1.
        line: usize,
        /// The file.
        file: String,
    },
    /// A table lacks a file.
    #[error(
        "{file:?} has no label; the table has {labelled} of {files} pictures: add a line, or move the picture away"
    )]
    NoLabel {
        /// The first one.
        file: String,
        /// How many have one.
        labelled: usize,
        /// How many there are.
        files: usize,
    },
    /// Some pictures lie in folders and some do not.
    #[error(
        "{file:?} lies in no class's folder, as others do; move it into one, or write labels.csv with lines of file,label"
    )]
    OutsideFolders {
        /// The first one.
        file: String,
    },
    /// A name that is none of the classes.
    #[error("class {name:?} is none of the {known} that --labels or the model file names{}", near(.similar))]
    Unknown {
        /// The name.
        name: String,
        /// How many names there are.
        known: usize,
        /// One that only differs in letters' case or spaces.
        similar: Option<String>,
    },
    /// Names, and nothing says which class they are.
    #[error(
        "class {name:?} is a name, and nothing says which number it has: give --labels NAMES.txt, one class a line, or number the classes from 0"
    )]
    Nameless {
        /// The name.
        name: String,
    },
    /// Folders by name, of which some classes may have none.
    #[error(
        "{found} folders of classes, the network tells {classes} apart: which folder is which class is unknown; give --labels NAMES.txt, one class a line, or name the folders by number, from 0"
    )]
    Folders {
        /// Folders.
        found: usize,
        /// Classes.
        classes: usize,
    },
    /// A number that is no class.
    #[error("{found} is no class: classes are counted from 0")]
    Number {
        /// As it was found.
        found: String,
    },
    /// A class that the network does not tell apart.
    #[error("{sample:?} has class {class}, the network tells {classes} apart: 0 to {}", classes - 1)]
    Range {
        /// Its name.
        sample: String,
        /// The class.
        class: usize,
        /// Classes of the network.
        classes: usize,
    },
    /// More or fewer labels than samples.
    #[error("{found} labels, the data has {expected} samples")]
    Count {
        /// Labels.
        found: usize,
        /// Samples.
        expected: usize,
    },
}

fn near(similar: &Option<String>) -> String {
    similar.as_ref().map(|name| format!("; is {name:?} meant?")).unwrap_or_default()
}

impl LabelError {
    /// With the file or folder.
    pub(super) fn at(self, path: &Path) -> DataError {
        DataError::Labels { path: path.to_owned(), source: self }
    }
}

/// The number of a class by its name or number.
fn class(text: &str, classes: &Classes) -> Result<usize, LabelError> {
    if let Some(at) = classes.names.iter().position(|name| name == text) {
        return Ok(at);
    }
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let name = text.to_owned();
    if classes.names.is_empty() {
        return Err(LabelError::Nameless { name });
    }
    let plain = |text: &str| text.to_lowercase().replace([' ', '-'], "_");
    let similar = classes.names.iter().find(|known| plain(known) == plain(text)).cloned();
    Err(LabelError::Unknown { name, known: classes.names.len(), similar })
}

/// Numbers of an array as classes.
pub(super) fn of_numbers(values: &[f32]) -> Result<Vec<usize>, LabelError> {
    let number = |&value: &f32| match value >= 0.0 && value.fract() == 0.0 {
        true => Ok(value as usize),
        false => Err(LabelError::Number { found: value.to_string() }),
    };
    values.iter().map(number).collect()
}

/// Classes of folders, whose names are sorted: numbers, or names that are known, or else all classes
/// in alphabetical order, as training frameworks number them.
pub(super) fn of_folders(names: &[&str], classes: &Classes) -> Result<Vec<usize>, LabelError> {
    let numbers = names.iter().map(|name| class(name, classes)).collect();
    match numbers {
        Err(LabelError::Nameless { .. }) => match classes.count {
            Some(classes) if classes != names.len() => {
                Err(LabelError::Folders { found: names.len(), classes })
            }
            _ => Ok((0..names.len()).collect()),
        },
        numbers => numbers,
    }
}

/// One class a sample: an IDX file, an `.npy`, or lines of text.
pub(super) fn read(path: &Path, classes: &Classes) -> Result<Vec<usize>, DataError> {
    let failed = |source| DataError::Read { path: path.to_owned(), source };
    let start = idx::start(path).map_err(failed)?;
    if start.starts_with(npy::MAGIC) {
        return arrays::classes(path);
    }
    if start.starts_with(idx::MAGIC) || start.starts_with(idx::GZIP) {
        let bytes =
            idx::read(path).map_err(|source| DataError::Idx { path: path.to_owned(), source })?;
        return Ok(bytes.values.into_iter().map(usize::from).collect());
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let lines = text.trim_end().lines();
    lines.map(|line| class(line.trim(), classes).map_err(|error| error.at(path))).collect()
}

/// Lines of `file,label`, or of `file label` where a line has no comma; a first line that names no file
/// is a title.
pub(super) fn table(
    path: &Path,
    classes: &Classes,
    exists: impl Fn(&str) -> bool,
) -> Result<HashMap<String, usize>, DataError> {
    let text = fs::read_to_string(path)
        .map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let mut labels = HashMap::new();
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    for (text, line) in lines {
        let Some((file, label)) = halves(text) else {
            let (found, expected) =
                (text.to_owned(), "file,label (names of classes go to --labels)");
            return Err(LabelError::Line { line, found, expected }.at(path));
        };
        if !exists(file) {
            if line == 1 && TITLES.iter().any(|title| file.eq_ignore_ascii_case(title)) {
                continue;
            }
            return Err(LabelError::NoFile { line, file: file.to_owned() }.at(path));
        }
        let class = class(label, classes).map_err(|error| error.at(path))?;
        if labels.insert(file.to_owned(), class).is_some_and(|other| other != class) {
            return Err(LabelError::Twice { line, file: file.to_owned() }.at(path));
        }
    }
    Ok(labels)
}

/// Whether a line of a text begins with the name of a file that exists.
pub(super) fn names_a_file(path: &Path, exists: impl Fn(&str) -> bool) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(halves).any(|(file, _)| exists(file))
}

/// What the first column of a table is called.
const TITLES: [&str; 5] = ["file", "filename", "image", "path", "name"];

/// The label is what follows the last comma, or else the last blank: names of files may have both.
fn halves(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (file, label) = line.rsplit_once(',').or_else(|| line.rsplit_once([' ', '\t']))?;
    let (file, label) = (file.trim().trim_matches('"'), label.trim().trim_matches('"'));
    let file = file.strip_prefix("./").unwrap_or(file);
    (!file.is_empty() && !label.is_empty()).then_some((file, label))
}
