//! What quantization did, as a part of the text and of the page. Both are empty where there was none.

use super::html::escaped;
use super::text::{NAME, grouped, shortened, wrapped};
use crate::quantize::Sensitivity;
use crate::quantize::account::{Account, ActivationFacts, FloatLayer, LayerFacts, PassFacts};
use std::fmt;

impl ActivationFacts {
    /// Range seen, range that has integers, scale, zero point, method, saturated share.
    fn cells(&self) -> [String; 6] {
        let range = |[lo, hi]: [f32; 2]| format!("{} to {}", short(lo), short(hi));
        [
            range(self.seen),
            range(self.range),
            format!("{:.3e}", self.scale),
            self.zero_point.to_string(),
            self.method.to_owned(),
            percent(self.saturated),
        ]
    }

    /// The first value's name, and how many others share the quantization.
    fn name(&self) -> String {
        let first = self.values.first().map_or("", String::as_str);
        match self.values.len() {
            0 | 1 => first.to_owned(),
            count => format!("{first} and {} more", count - 1),
        }
    }
}

impl PassFacts {
    /// What the pass gained over the one kept before it, in decibels.
    fn gain(&self, before: Option<f64>) -> String {
        match (before, self.kept) {
            (None, _) => String::new(),
            (Some(before), true) => format!("{:+.2}", self.sqnr_db - before),
            (Some(before), false) => format!("{:+.2}, not kept", self.sqnr_db - before),
        }
    }
}

/// Four significant digits, without an exponent where that is short.
fn short(x: f32) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        magnitude if (1e-3..1e5).contains(&magnitude) => {
            let decimals = (3.0 - magnitude.log10().floor()).clamp(0.0, 6.0) as usize;
            format!("{x:.decimals$}")
        }
        _ => format!("{x:.2e}"),
    }
}

fn percent(share: f64) -> String {
    if share == 0.0 { "0".to_owned() } else { format!("{:.4} %", share * 100.0) }
}

/// Each pass and its gain.
fn passes(account: &Account) -> Vec<(&PassFacts, String)> {
    let mut before = None;
    let row = |pass: &'_ PassFacts| {
        let gain = pass.gain(before);
        if pass.kept {
            before = Some(pass.sqnr_db);
        }
        gain
    };
    let gains: Vec<String> = account.passes.iter().map(row).collect();
    account.passes.iter().zip(gains).collect()
}

/// Tables of passes, values and layers, and warnings; nothing without quantization.
pub(super) fn write_text(f: &mut fmt::Formatter<'_>, account: Option<&Account>) -> fmt::Result {
    let Some(account) = account else { return Ok(()) };
    writeln!(f, "\nquantized: {} layers, on {} samples", account.layers.len(), account.samples)?;
    for warning in &account.warnings {
        wrapped(f, &format!("warning: {warning}"), "  ")?;
    }
    writeln!(f, "{:NAME$} {:>12} {:>20}", "pass", "SQNR dB", "gained dB")?;
    for (pass, gain) in passes(account) {
        writeln!(f, "{:NAME$} {:>12.2} {gain:>20}", pass.pass.name(), pass.sqnr_db)?;
    }
    writeln!(
        f,
        "\n{:NAME$} {:>17} {:>10} {:>5} {:>10} {:>12}",
        "value", "range", "scale", "zero", "method", "saturated"
    )?;
    for facts in &account.activations {
        let [_, range, scale, zero, method, saturated] = facts.cells();
        let name = shortened(&facts.name(), NAME);
        writeln!(f, "{name:NAME$} {range:>17} {scale:>10} {zero:>5} {method:>10} {saturated:>12}")?;
    }
    writeln!(f, "\n{:NAME$} {:>12} {:>20}", "layer", "weight bits", "SQNR of weights dB")?;
    for LayerFacts { name, bits, weights_db } in &account.layers {
        writeln!(f, "{:NAME$} {bits:>12} {weights_db:>20.1}", shortened(name, NAME))?;
    }
    for FloatLayer { name, reason } in &account.float_layers {
        writeln!(f, "{:NAME$} {:>12}", shortened(name, NAME), "float")?;
        wrapped(f, reason, "      ")?;
    }
    write_sensitivity(f, &account.sensitivity)
}

/// The outputs' SQNR with the integers of one layer, and without them.
fn write_sensitivity(f: &mut fmt::Formatter<'_>, layers: &[Sensitivity]) -> fmt::Result {
    if layers.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{:NAME$} {:>16} {:>12} {:>12}", "layer", "MACs", "alone dB", "without dB")?;
    for Sensitivity { name, macs, alone_db, without_db } in layers {
        let (name, macs) = (shortened(name, NAME), grouped(*macs));
        writeln!(f, "{name:NAME$} {macs:>16} {alone_db:>12.2} {without_db:>12.2}")?;
    }
    Ok(())
}

/// The same as tables of the page.
pub(super) fn html(account: Option<&Account>) -> String {
    let Some(account) = account else { return String::new() };
    let warning = |warning| format!("<li>{}</li>\n", escaped(&format!("{warning}")));
    let warnings: String = account.warnings.iter().map(warning).collect();
    let warnings = if warnings.is_empty() {
        warnings
    } else {
        format!("<p>Warnings:</p>\n<ol class=\"refused\">\n{warnings}</ol>\n")
    };
    format!(
        "<h2>8-bit integers</h2>\n<p>{} layers have integer weights. Calibrated on {} samples. Signal to \
         quantization noise (SQNR) is that of the network's outputs on some of them, after each \
         pass.</p>\n{warnings}{}{}{}{}",
        grouped(account.layers.len() as u64),
        grouped(account.samples as u64),
        passes_table(account),
        values_table(&account.activations),
        layers_table(account),
        sensitivity_table(&account.sensitivity),
    )
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>")
    };
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rows: String = rows.map(|row| cells("td", &row) + "\n").collect();
    format!(
        "<div class=\"wide\">\n<table>\n<thead>{}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n",
        cells("th", &head)
    )
}

fn passes_table(account: &Account) -> String {
    let row = |(pass, gain): (&PassFacts, String)| {
        vec![pass.pass.name().to_owned(), format!("{:.2}", pass.sqnr_db), gain]
    };
    table(&["pass", "SQNR<br/>dB", "gained<br/>dB"], passes(account).into_iter().map(row))
}

fn values_table(activations: &[ActivationFacts]) -> String {
    let row = |facts: &ActivationFacts| {
        let names: Vec<String> = facts.values.iter().map(|name| escaped(name)).collect();
        [&[names.join(", ")], &facts.cells()[..]].concat()
    };
    let head = ["values", "seen", "range", "scale", "zero<br/>point", "method", "saturated"];
    table(&head, activations.iter().map(row))
}

fn layers_table(account: &Account) -> String {
    let integer = |layer: &LayerFacts| {
        vec![escaped(&layer.name), layer.bits.to_string(), format!("{:.1}", layer.weights_db)]
    };
    let float =
        |layer: &FloatLayer| vec![escaped(&layer.name), "float".to_owned(), escaped(&layer.reason)];
    let rows = account.layers.iter().map(integer).chain(account.float_layers.iter().map(float));
    table(&["layer", "bits of<br/>a weight", "SQNR of<br/>weights dB"], rows)
}

/// Nothing where no goal was set.
fn sensitivity_table(layers: &[Sensitivity]) -> String {
    if layers.is_empty() {
        return String::new();
    }
    let row = |layer: &Sensitivity| {
        let decibels = [layer.alone_db, layer.without_db].map(|db| format!("{db:.2}"));
        [&[escaped(&layer.name), grouped(layer.macs)], &decibels[..]].concat()
    };
    let head =
        ["layer", "MACs", "SQNR with its<br/>integers alone", "SQNR without<br/>its integers"];
    table(&head, layers.iter().map(row))
}
