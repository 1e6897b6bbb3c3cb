//! [`Failure`]: what went wrong, which file, what to do next, and the exit code.

use miette::Diagnostic;
use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use unbraid_converter::import::ImportError;
use unbraid_converter::write::WriteError;
use unbraid_linux::MapError;

/// A command that ended without its result.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Failure {
    what: String,
    help: Option<String>,
    usage: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// The model, the data or the machine is wrong.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), help: None, usage: false, source: None }
    }

    /// The command was called with arguments that do not go together.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(what) }
    }

    /// What to do next.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// 1: the model or data is wrong; 2: wrong usage, as clap exits.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.usage { 2 } else { 1 }
    }
}

impl Diagnostic for Failure {
    fn help(&self) -> Option<Box<dyn Display + '_>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn Display>)
    }
}

/// Errors that name their file themselves.
impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let what = format!("cannot import {}", error.file);
        Self { source: Some(error.problem), ..Self::new(what) }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<MapError> for Failure {
    fn from(error: MapError) -> Self {
        let what = error.to_string();
        Self { source: Some(Box::new(error.source)), ..Self::new(what) }
    }
}

/// Says which step on which file an error belongs to.
pub(crate) trait During<T> {
    /// `doing`: a verb, as in "cannot {doing} {path}".
    fn during(self, doing: &str, path: &Path) -> Result<T, Failure>;
}

impl<T, E: Error + Send + Sync + 'static> During<T> for Result<T, E> {
    fn during(self, doing: &str, path: &Path) -> Result<T, Failure> {
        self.map_err(|source| Failure {
            source: Some(Box::new(source)),
            ..Failure::new(format!("cannot {doing} {}", path.display()))
        })
    }
}
