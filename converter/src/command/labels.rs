//! `--labels`: the names of the classes, one a line of a text file, or those in the `.strand`.

use super::failure::{During, Failure};
use std::fs;
use std::path::Path;
use unbraid_runtime::Model;

/// The lines of the file, or what the model keeps where none is given.
pub(crate) fn of(path: Option<&Path>, model: &Model<'_>) -> Result<Vec<String>, Failure> {
    match path {
        Some(path) => read(path),
        None => Ok(model.labels().map(str::to_owned).collect()),
    }
}

/// The lines of a file that a `.strand` is to keep; with `classes`, as many.
pub(crate) fn to_keep(path: &Path, classes: Option<u32>) -> Result<Vec<String>, Failure> {
    let labels = read(path)?;
    let unfit = |label: &String| label.is_empty() || label.chars().any(char::is_control);
    if let Some(at) = labels.iter().position(unfit) {
        let (line, path) = (at + 1, path.display());
        return Err(Failure::new(format!("line {line} of {path} is no name that can be kept"))
            .help("each line names a class: not empty, no control characters"));
    }
    match classes {
        Some(classes) if classes as usize != labels.len() => {
            let (found, path) = (labels.len(), path.display());
            Err(Failure::new(format!("{path} names {found} classes, the detector has {classes}"))
                .help("one line a class, in the order of the classes"))
        }
        _ => Ok(labels),
    }
}

/// Without empty lines at the end.
fn read(path: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(path).during("read", path)?;
    Ok(text.trim_end().lines().map(str::to_owned).collect())
}
