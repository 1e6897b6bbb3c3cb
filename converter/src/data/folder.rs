//! A folder of pictures, and the classes that its folders or its table of labels name.

use super::labels::{self, LabelError};
use super::pixels::Pixels;
use super::{Classes, DataError};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Extensions of files that are taken for pictures.
const PICTURES: [&str; 3] = ["png", "jpg", "jpeg"];
/// A table with the classes, directly in the folder.
const TABLE: &str = "labels.csv";
/// The same, or a list of the names of classes, which other programs keep under this name.
const TABLE_OR_NAMES: &str = "labels.txt";

/// Pictures below one folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Paths below the root with `/` between folders, sorted.
    files: Vec<String>,
    pixels: Pixels,
}

impl Folder {
    /// All pictures below `root`.
    pub(super) fn open(root: &Path, pixels: Pixels) -> Result<Self, DataError> {
        let mut walk = Walk::default();
        walk.enter(root, "")?;
        if walk.pictures.is_empty() {
            let (path, others, example) = (root.to_owned(), walk.others, walk.example);
            return Err(DataError::NoPictures { path, others, example });
        }
        walk.pictures.sort_unstable();
        Ok(Self { root: root.to_owned(), files: walk.pictures, pixels })
    }

    /// One picture.
    pub(super) fn of_one(path: &Path, pixels: Pixels) -> Self {
        let root = path.parent().unwrap_or(Path::new("")).to_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { root, files: vec![name], pixels }
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn name(&self, index: usize) -> &str {
        &self.files[index]
    }

    pub(super) fn read(&self, index: usize) -> Result<Vec<f32>, DataError> {
        let path = self.root.join(&self.files[index]);
        let bytes =
            fs::read(&path).map_err(|source| DataError::Read { path: path.clone(), source })?;
        self.pixels.values(&bytes).map_err(|source| DataError::Picture { path, source })
    }

    /// Classes by `truth` or a table in the folder; else by the names of the folders, if all pictures
    /// lie in some. With the table or folder that says so.
    pub(super) fn labels(
        &self,
        truth: Option<&Path>,
        classes: &Classes,
    ) -> Result<Option<(Vec<usize>, PathBuf)>, DataError> {
        match truth.map(Path::to_owned).or_else(|| self.table()) {
            Some(table) => Ok(Some((self.by_table(&table, classes)?, table))),
            None => Ok(self.by_folder(classes)?.map(|labels| (labels, self.root.clone()))),
        }
    }

    fn table(&self) -> Option<PathBuf> {
        let [table, perhaps] = [TABLE, TABLE_OR_NAMES].map(|name| self.root.join(name));
        match table.is_file() {
            true => Some(table),
            false => labels::names_a_file(&perhaps, |file| self.has(file)).then_some(perhaps),
        }
    }

    /// Whether a path below the root is that of a file.
    fn has(&self, file: &str) -> bool {
        self.root.join(file).is_file()
    }

    /// Each picture's class in the table, which may name further files that exist.
    fn by_table(&self, table: &Path, classes: &Classes) -> Result<Vec<usize>, DataError> {
        let labels: HashMap<String, usize> = labels::table(table, classes, |file| self.has(file))?;
        let label = |file: &String| {
            labels.get(file).copied().ok_or_else(|| {
                let (labelled, files) = (labels.len(), self.files.len());
                LabelError::NoLabel { file: file.clone(), labelled, files }.at(table)
            })
        };
        self.files.iter().map(label).collect()
    }

    fn by_folder(&self, classes: &Classes) -> Result<Option<Vec<usize>>, DataError> {
        let names: Vec<Option<&str>> =
            self.files.iter().map(|file| Some(file.split_once('/')?.0)).collect();
        if names.iter().all(Option::is_none) {
            return Ok(None);
        }
        if let Some(at) = names.iter().position(Option::is_none) {
            let error = LabelError::OutsideFolders { file: self.files[at].clone() };
            return Err(error.at(&self.root));
        }
        let names: Vec<&str> = names.into_iter().flatten().collect();
        let distinct: Vec<&str> =
            names.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let numbers = labels::of_folders(&distinct, classes).map_err(|e| e.at(&self.root))?;
        let by_name: HashMap<&str, usize> = distinct.into_iter().zip(numbers).collect();
        Ok(Some(names.iter().map(|name| by_name[name]).collect()))
    }
}

/// Whether the extension is that of a picture.
pub(super) fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| PICTURES.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

/// What was found on the way through a folder.
#[derive(Default)]
struct Walk {
    pictures: Vec<String>,
    /// Files that are no pictures, and one of them.
    others: usize,
    example: Option<String>,
    /// Folders that were entered: links may lead in circles.
    entered: HashSet<PathBuf>,
}

impl Walk {
    /// `below`: the folder's path under the root, with a `/` at its end.
    fn enter(&mut self, folder: &Path, below: &str) -> Result<(), DataError> {
        let failed = |source| DataError::Read { path: folder.to_owned(), source };
        if !self.entered.insert(folder.canonicalize().map_err(failed)?) {
            return Ok(());
        }
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(DataError::FileName { path });
            };
            // Not meant: thumbnails and what file managers leave.
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                self.enter(&path, &format!("{below}{name}/"))?;
            } else if is_picture(&path) {
                self.pictures.push(format!("{below}{name}"));
            } else {
                self.others += 1;
                self.example.get_or_insert_with(|| format!("{below}{name}"));
            }
        }
        Ok(())
    }
}
