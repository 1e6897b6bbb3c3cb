//! `unbraid verify`: structure and checksums of a file.

use super::failure::Failure;
use super::strand::Strand;
use serde_json::json;
use std::path::PathBuf;

/// What `unbraid verify` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to check.
    #[arg(value_name = "FILE.strand")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Proves the file as every command does before it uses one.
pub(crate) fn verify(args: &Args) -> Result<String, Failure> {
    let mut strand = Strand::open(&args.file)?;
    let bytes = strand.len();
    let steps = strand.model()?.header().step_count;
    Ok(if args.json {
        format!("{:#}\n", json!({ "ok": true, "steps": steps, "file_bytes": bytes }))
    } else {
        format!(
            "{}: sound, {steps} steps, {bytes} bytes, all checksums match\n",
            args.file.display()
        )
    })
}
