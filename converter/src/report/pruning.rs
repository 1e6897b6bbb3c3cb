//! What pruning removed, as a part of the text and of the page. Both are empty where it found
//! nothing.

use super::html::escaped;
use super::text::{NAME, grouped, shortened, signed, wrapped};
use crate::prune::{Certificate, NEAR_ZERO, PrunedLayer, Pruning};
use std::fmt;

impl PrunedLayer {
    /// Input and output channels before and after, near-zero rows, what is saved.
    fn cells(&self) -> [String; 5] {
        let channels = |[before, after]: [usize; 2]| format!("{before} to {after}");
        [
            channels(self.inputs),
            channels(self.outputs),
            grouped(self.near_zero as u64),
            signed(self.macs_saved),
            signed(self.params_saved),
        ]
    }
}

/// The proof in words.
fn proof(certificate: &Certificate, layers: &[PrunedLayer]) -> String {
    let rows: usize = layers.iter().map(|layer| layer.near_zero).sum();
    let Certificate { error, near_zero_effect } = certificate;
    let near_zero = format!(
        "; {rows} near-zero rows (below {NEAR_ZERO:e} of the layer's largest) count as zero, which \
         changes it by {near_zero_effect:.1e}"
    );
    let near_zero = if rows > 0 { near_zero } else { String::new() };
    format!("the network before and after differs by {error:.1e} of the largest output{near_zero}")
}

/// A line a layer, aligned; nothing where nothing was removed or refused.
pub(super) fn write_text(f: &mut fmt::Formatter<'_>, pruned: &Pruning) -> fmt::Result {
    if let Some(refused) = &pruned.refused {
        writeln!(f, "\nnot pruned:")?;
        wrapped(f, &refused.to_string(), "  ")?;
    }
    let Some(certificate) = &pruned.certificate else { return Ok(()) };
    writeln!(f, "\npruned: {} layers", pruned.layers.len())?;
    wrapped(f, &proof(certificate, &pruned.layers), "  ")?;
    writeln!(
        f,
        "{:NAME$} {:>12} {:>12} {:>9} {:>13} {:>12}",
        "node", "inputs", "outputs", "near zero", "MACs saved", "params saved"
    )?;
    for layer in &pruned.layers {
        let [inputs, outputs, near_zero, macs, params] = layer.cells();
        let name = shortened(&layer.name, NAME);
        writeln!(
            f,
            "{name:NAME$} {inputs:>12} {outputs:>12} {near_zero:>9} {macs:>13} {params:>12}"
        )?;
    }
    Ok(())
}

/// A table with a row a layer; nothing where nothing was removed or refused.
pub(super) fn html(pruned: &Pruning) -> String {
    let head = "<h2>Channels that carried nothing</h2>\n";
    if let Some(refused) = &pruned.refused {
        let reason = escaped(&refused.to_string());
        return format!("{head}<p>Not removed: <span class=\"reason\">{reason}</span></p>\n");
    }
    let Some(certificate) = &pruned.certificate else { return String::new() };
    let row = |layer: &PrunedLayer| {
        let cells: String = layer.cells().iter().map(|cell| format!("<td>{cell}</td>")).collect();
        format!("<tr><td>{}</td>{cells}</tr>\n", escaped(&layer.name))
    };
    let rows: String = pruned.layers.iter().map(row).collect();
    format!(
        "{head}<p>Removed with their weights; where they held a constant, it is in the biases of \
         their readers. Executed in f64, {}.</p>\n<div class=\"wide\">\n<table>\n<thead><tr>\
         <th>layer</th><th>input<br/>channels</th><th>output<br/>channels</th><th>near-zero<br/>\
         rows</th><th>MACs<br/>saved</th><th>parameters<br/>saved</th></tr></thead>\n<tbody>\n\
         {rows}</tbody>\n</table>\n</div>\n",
        proof(certificate, &pruned.layers)
    )
}
