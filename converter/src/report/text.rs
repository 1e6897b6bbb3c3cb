//! [`Report`] as text: aligned columns, at most 100 characters a line.

use super::{Report, Saved, Total, border_note, pruning, quantization};
use crate::fuse::{Recognised, Refusal, Region};
use std::fmt;

/// Characters in the longest line.
const WIDTH: usize = 100;
/// Characters for names in the first column.
pub(super) const NAME: usize = 36;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_totals(f, &self.model, &self.totals())?;
        write_regions(f, &self.regions)?;
        write_functions(f, &self.functions)?;
        write_refusals(f, &self.refused)?;
        pruning::write_text(f, &self.pruned)?;
        quantization::write_text(f, self.quantized.as_ref())?;
        let (file, arena) = (&self.file, &self.file.arena_bytes);
        writeln!(f, "\n{} steps, {} bytes", file.steps, grouped(file.file_bytes as u64))?;
        writeln!(f, "arena: {} bytes of feature maps", grouped(arena.activations.into()))?;
        writeln!(f, "     + {} bytes a worker", grouped(arena.scratch_per_worker.into()))
    }
}

fn write_totals(f: &mut fmt::Formatter<'_>, model: &str, totals: &[Total]) -> fmt::Result {
    writeln!(f, "{:NAME$} {:>18} {:>18}", shortened(model, NAME), "before", "after")?;
    for Total { name, part, before, after } in totals {
        let name = format!("{}{name}", if *part { "  " } else { "" });
        let (before, after) = (grouped(*before), grouped(*after));
        writeln!(f, "{:NAME$} {before:>18} {after:>18}", shortened(&name, NAME))?;
    }
    Ok(())
}

/// One line a region: the largest relative differences between before and after, of the exact
/// kernel and of the one written, over all pixels inside and at the border.
fn write_regions(f: &mut fmt::Formatter<'_>, regions: &[Region]) -> fmt::Result {
    writeln!(f, "\nfused: {} regions; difference / largest output", regions.len())?;
    if regions.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "{:NAME$} {:>5} {:>7} {:>7} {:>7} {:>7} {:>12} {:>12}",
        "node", "nodes", "f64", "border", "f32", "border", "MACs saved", "params saved"
    )?;
    for region in regions {
        let (exact, rounded) = (region.certificate.exact, region.certificate.rounded);
        let saved = Saved::by(region);
        writeln!(
            f,
            "{:NAME$} {:>5} {:>7.1e} {:>7.1e} {:>7.1e} {:>7.1e} {:>12} {:>12}",
            shortened(&region.name, NAME),
            region.nodes.len(),
            exact.interior,
            exact.border,
            rounded.interior,
            rounded.border,
            signed(saved.macs),
            signed(saved.params),
        )?;
        if let Some(note) = border_note(region) {
            writeln!(f, "  {note}")?;
        }
    }
    Ok(())
}

fn write_functions(f: &mut fmt::Formatter<'_>, functions: &[Recognised]) -> fmt::Result {
    if functions.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nelement-wise nodes that are one function: {}", functions.len())?;
    for Recognised { name, function, nodes, error } in functions {
        let name = shortened(name, NAME);
        writeln!(f, "{name:NAME$} {:>5} {error:>7.1e} {function}", nodes.len())?;
    }
    Ok(())
}

fn write_refusals(f: &mut fmt::Formatter<'_>, refused: &[Refusal]) -> fmt::Result {
    if refused.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nnot fused: {}", refused.len())?;
    for refusal in refused {
        wrapped(f, &refusal.nodes.join(", "), "  ")?;
        wrapped(f, &refusal.reason.to_string(), "      ")?;
    }
    Ok(())
}

/// Words in lines of at most [`WIDTH`] characters; longer words are shortened.
pub(super) fn wrapped(f: &mut fmt::Formatter<'_>, text: &str, indent: &str) -> fmt::Result {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let word = shortened(word, WIDTH - indent.len());
        let length = indent.len() + line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && length > WIDTH {
            writeln!(f, "{indent}{line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    writeln!(f, "{indent}{line}")
}

/// Long names lose their beginning: their end tells nodes apart.
pub(super) fn shortened(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(length - (width - 2)).collect();
    format!("..{tail}")
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let (first, rest) = digits.split_at((digits.len() - 1) % 3 + 1);
    let rest: String = (0..rest.len()).step_by(3).flat_map(|k| [",", &rest[k..k + 3]]).collect();
    format!("{first}{rest}")
}

/// The same with a minus sign where it belongs.
pub(super) fn signed(n: i128) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(u64::try_from(n.unsigned_abs()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::{grouped, shortened, signed};

    #[test]
    fn digits_are_grouped_by_three() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_361_451_008, "1,361,451,008")]
        {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(signed(-12_345), "-12,345");
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shortened("/stage1/block2/Add_1", 20), "/stage1/block2/Add_1");
        assert_eq!(shortened("/stage1/block2/Add_1", 10), "..k2/Add_1");
    }
}
