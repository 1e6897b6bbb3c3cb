//! Puts the network, its input and its expected output where the firmware includes them from.

use std::path::PathBuf;
use std::{env, fs};

/// Folder with the three files of a case; `tests/firmware.sh` makes one.
const CASE: &str = "UNBRAID_FIRMWARE_CASE";

fn main() {
    println!("cargo:rerun-if-env-changed={CASE}");
    // On the host the crate is an empty program, so that the whole workspace builds everywhere.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let case = env::var_os(CASE).map(PathBuf::from);
    let case = case.unwrap_or_else(|| panic!("set {CASE}, or run tests/firmware.sh"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for name in ["model.strand", "input.f32", "expected.f32"] {
        let from = case.join(name);
        println!("cargo:rerun-if-changed={}", from.display());
        fs::copy(&from, out.join(name))
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", from.display()));
    }
    fs::write(out.join("memory.x"), include_str!("memory.x")).expect("OUT_DIR can be written");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg=-Tlink.x");
}
