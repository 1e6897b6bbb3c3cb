//! Bars on standard error for work that takes long.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use unbraid_converter::fuse::Progress;

/// A bar on standard error, if that is a terminal; gone when dropped.
pub(crate) fn bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}");
    ProgressBar::new(0)
        .with_style(style.expect("a valid template"))
        .with_message(what)
        .with_finish(ProgressFinish::AndClear)
}

/// Moves `bar` to where fusion is.
pub(crate) fn show(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_length(progress.total as u64);
    bar.set_position(progress.done as u64);
    bar.set_message(format!("fusing {}", progress.name));
}
