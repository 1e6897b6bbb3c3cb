//! Arrays of NumPy: an `.npy`, or an `.npz` with one array an input.

use super::error::place;
use super::pixels::{Normalise, only};
use super::{DataError, Port, Preprocess, items_of, labels};
use crate::npy::{self, Layout};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use unbraid_linux::MappedFile;
use zip::ZipArchive;

/// Names of an array of an `.npz` that holds the classes, unless it is an input's.
const LABELS: [&str; 2] = ["labels", "label"];

/// For every input an array with as many items.
#[derive(Debug)]
pub(super) struct Arrays {
    path: PathBuf,
    items: Vec<Items>,
    count: usize,
    /// The array of classes.
    labels: Option<Array>,
}

/// An array, in the bytes of its `.npy`.
#[derive(Debug)]
struct Array {
    /// In the archive, without `.npy`.
    name: Option<String>,
    bytes: Memory,
    layout: Layout,
}

/// An `.npy` is mapped, not read; what an `.npz` holds is unpacked.
#[derive(Debug)]
enum Memory {
    Mapped(MappedFile),
    Unpacked(Vec<u8>),
}

/// The array of one input.
#[derive(Debug)]
struct Items {
    array: Array,
    /// Values of an item.
    size: usize,
    normalise: Normalise,
}

impl Array {
    fn new(path: &Path, name: Option<String>, bytes: Memory) -> Result<Self, DataError> {
        let layout = Layout::of(bytes.as_slice())
            .map_err(|source| DataError::Npy { place: place(path, name.as_deref()), source })?;
        Ok(Self { name, bytes, layout })
    }
}

impl Memory {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Unpacked(bytes) => bytes,
        }
    }
}

impl Items {
    /// How many items of `port`'s shape the array holds, and the items.
    fn new(
        path: &Path,
        array: Array,
        port: &Port,
        preprocess: &Preprocess,
    ) -> Result<(usize, Self), DataError> {
        let found = array.layout.shape();
        let Some(count) = items_of(found, &port.shape) else {
            return Err(DataError::Shape {
                place: place(path, array.name.as_deref()),
                found: array.layout.shape().to_vec(),
                input: port.name.clone(),
                expected: port.shape.clone(),
            });
        };
        let size = port.shape.iter().product();
        Ok((count, Self { array, size, normalise: Normalise::of(port, preprocess)? }))
    }

    fn read(&self, index: usize) -> Vec<f32> {
        let (range, bytes) = (index * self.size..(index + 1) * self.size, &self.array.bytes);
        // There: the layout was held against the bytes when the file was opened.
        let mut values = self.array.layout.values(bytes.as_slice(), range).unwrap_or_default();
        self.normalise.apply(&mut values);
        values
    }
}

impl Arrays {
    /// The arrays of `path` for the inputs of a network.
    pub(super) fn open(
        path: &Path,
        ports: &[Port],
        preprocess: &Preprocess,
    ) -> Result<Self, DataError> {
        let (arrays, labels) = match super::idx::start(path) {
            Ok(start) if start.starts_with(npy::MAGIC) => {
                only(path, ports)?;
                (vec![mapped(path)?], None)
            }
            _ => of_inputs(path, unpacked(path)?, ports)?,
        };
        let mut items = Vec::with_capacity(ports.len());
        let mut counts = Vec::with_capacity(ports.len());
        for (array, port) in arrays.into_iter().zip(ports) {
            let (count, item) = Items::new(path, array, port, preprocess)?;
            counts.push((port.name.clone(), count));
            items.push(item);
        }
        let count = counts.first().map_or(0, |(_, count)| *count);
        if counts.iter().any(|(_, other)| *other != count) {
            return Err(DataError::Counts { path: path.to_owned(), counts });
        }
        Ok(Self { path: path.to_owned(), items, count, labels })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn read(&self, index: usize) -> Vec<Vec<f32>> {
        self.items.iter().map(|items| items.read(index)).collect()
    }

    /// The classes in the array of that name, if there is one.
    pub(super) fn labels(&self) -> Result<Option<Vec<usize>>, DataError> {
        let Some(array) = &self.labels else { return Ok(None) };
        let count = array.layout.shape().iter().product();
        let values = array.layout.values(array.bytes.as_slice(), 0..count).unwrap_or_default();
        labels::of_numbers(&values).map(Some).map_err(|error| error.at(&self.path))
    }
}

fn mapped(path: &Path) -> Result<Array, DataError> {
    let read = |source| DataError::Read { path: path.to_owned(), source };
    let file = MappedFile::open(path).map_err(|error| read(error.source))?;
    Array::new(path, None, Memory::Mapped(file))
}

/// Every array of an archive.
fn unpacked(path: &Path) -> Result<Vec<(String, Vec<u8>)>, DataError> {
    let read = |source| DataError::Read { path: path.to_owned(), source };
    let damaged = |source| DataError::Zip { path: path.to_owned(), source };
    let mut archive = ZipArchive::new(File::open(path).map_err(read)?).map_err(damaged)?;
    let mut arrays = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        let Some(name) = name.strip_suffix(".npy") else { continue };
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| damaged(error.into()))?;
        arrays.push((name.to_owned(), bytes));
    }
    Ok(arrays)
}

/// The arrays of the inputs in their order, and that of the classes.
///
/// An input takes the array of its name; the only input takes the only other array, whatever its name.
fn of_inputs(
    path: &Path,
    mut arrays: Vec<(String, Vec<u8>)>,
    ports: &[Port],
) -> Result<(Vec<Array>, Option<Array>), DataError> {
    let is_input = |name: &str| ports.iter().any(|port| port.name == name);
    let labels = arrays.iter().position(|(name, _)| LABELS.contains(&&**name) && !is_input(name));
    let array = |(name, bytes)| Array::new(path, Some(name), Memory::Unpacked(bytes));
    let labels = labels.map(|at| array(arrays.remove(at))).transpose()?;
    if let ([_], [(name, _)]) = (ports, &mut *arrays) {
        let name = std::mem::take(name);
        let bytes = arrays.swap_remove(0).1;
        return Ok((vec![array((name, bytes))?], labels));
    }
    let found: Vec<String> = arrays.iter().map(|(name, _)| name.clone()).collect();
    let mut taken = Vec::with_capacity(ports.len());
    for port in ports {
        let Some(at) = arrays.iter().position(|(name, _)| *name == port.name) else {
            let (path, input) = (path.to_owned(), port.name.clone());
            return Err(DataError::Missing { path, input, found });
        };
        taken.push(array(arrays.swap_remove(at))?);
    }
    Ok((taken, labels))
}

/// The classes in an `.npy`.
pub(super) fn classes(path: &Path) -> Result<Vec<usize>, DataError> {
    let bytes =
        fs::read(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let tensor =
        npy::read(&bytes).map_err(|source| DataError::Npy { place: place(path, None), source })?;
    let values = tensor.as_f32().unwrap_or_default();
    labels::of_numbers(values).map_err(|error| error.at(path))
}
