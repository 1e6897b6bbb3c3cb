//! What tests of the command line share: the program, a folder to work in, what a refusal is.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models");

pub(crate) fn model(name: &str) -> PathBuf {
    Path::new(MODELS).join(name)
}

/// A folder for one test, removed at its end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("unbraid-cli-{}-{count}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A converted `repvgg_preserve.onnx`.
    pub(crate) fn strand(&self) -> PathBuf {
        let path = self.path("net.strand");
        let done = convert(&model("repvgg_preserve.onnx"), &path, &[]);
        assert_code(&done, 0);
        path
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(crate) fn unbraid<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unbraid")).args(arguments).output().unwrap()
}

pub(crate) fn convert(model: &Path, output: &Path, flags: &[&str]) -> Output {
    let positional = [OsStr::new("convert"), model.as_os_str(), "-o".as_ref(), output.as_os_str()];
    unbraid(positional.into_iter().chain(flags.iter().map(OsStr::new)))
}

pub(crate) fn stderr(done: &Output) -> String {
    String::from_utf8(done.stderr.clone()).unwrap()
}

#[track_caller]
pub(crate) fn assert_code(done: &Output, code: i32) {
    assert_eq!(done.status.code(), Some(code), "{}", stderr(done));
}

/// Ended with `code`, printed no result, and the message says each of `words`.
#[track_caller]
pub(crate) fn assert_refused(done: &Output, code: i32, words: &[&str]) {
    assert_code(done, code);
    assert!(done.stdout.is_empty(), "a refusal prints no result");
    let message = stderr(done);
    for word in words {
        assert!(message.contains(word), "no {word:?} in:\n{message}");
    }
}

pub(crate) fn json(done: &Output) -> Value {
    assert_code(done, 0);
    serde_json::from_slice(&done.stdout).expect("standard output is JSON and nothing else")
}
