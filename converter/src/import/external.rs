//! Weights in a file beside the model. A model may be hostile, so the file must lie in its folder.

use super::error::TensorProblem;
use crate::onnx::StringStringEntryProto;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// Reads exactly `expected` bytes from where the entries `location`, `offset` and `length` say.
pub(super) fn read(
    entries: &[StringStringEntryProto],
    expected: usize,
    folder: Option<&Path>,
) -> Result<Vec<u8>, TensorProblem> {
    let entry = |key| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let name = entry("location").unwrap_or("");
    let folder = folder.ok_or(TensorProblem::NoFolder)?;
    let path = inside(folder, name)?;
    let unreadable = |error| TensorProblem::External { file: name.to_owned(), error };
    let mut file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let (offset, length) = (entry("offset").unwrap_or("0"), entry("length"));
    let wrong = |why: String| TensorProblem::Extent {
        file: name.to_owned(),
        found: format!("offset {offset}, length {}", length.unwrap_or("to the end")),
        expected: why,
    };
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong("no number".to_owned()));
    let start = number(offset)?;
    let length = length.map(number).transpose()?.or_else(|| size.checked_sub(start)).unwrap_or(0);
    if usize::try_from(length) != Ok(expected) {
        return Err(wrong(format!("but its shape needs {expected} bytes")));
    }
    if start.checked_add(length).is_none_or(|end| end > size) {
        return Err(wrong(format!("but the file has {size} bytes")));
    }
    let mut bytes = vec![0; expected];
    file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
    file.read_exact(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The real path of `name`, proved to lie in `folder`, links resolved.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, TensorProblem> {
    let outside = || TensorProblem::Outside(name.to_owned());
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if name.is_empty() || !Path::new(name).components().all(plain) {
        return Err(outside());
    }
    let unreadable = |error| TensorProblem::External { file: name.to_owned(), error };
    let folder = folder.canonicalize().map_err(unreadable)?;
    let path = folder.join(name).canonicalize().map_err(unreadable)?;
    if path.starts_with(&folder) { Ok(path) } else { Err(outside()) }
}
