//! [`Layers`]: a network held against the exact one, layer by layer, for people (a page) and programs.

use super::html::{escaped, page};
use super::text::grouped;
use serde::Serialize;

/// What a file computes beside what its model computes in f64.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Layers {
    /// Name of the model file.
    pub model: String,
    /// Name of the `.strand`.
    pub file: String,
    /// Samples that both ran on.
    pub samples: usize,
    /// Signal to noise of all outputs in dB; none where nothing differs.
    pub sqnr_db: Option<f64>,
    /// In order of execution, those that both compute.
    pub layers: Vec<LayerFacts>,
    /// What would help most, the greatest gain first.
    pub advice: Vec<String>,
}

/// A layer, by the value that it computes. Ratios are in dB, none where nothing differs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LayerFacts {
    /// Name of the value.
    pub name: String,
    /// Operation of the step.
    pub op: &'static str,
    /// Kernel that computed it.
    pub kernel: &'static str,
    /// `f32` or `s8`.
    pub stored: &'static str,
    /// Largest difference from the model.
    pub max_abs: f64,
    /// The same beside the largest value of the sample.
    pub max_rel: f64,
    /// The kernel's values against the model's.
    pub sqnr_db: Option<f64>,
    /// Cosine of the angle between both.
    pub cosine: f64,
    /// The model's own values rounded to the integers of this layer, against themselves: what no kernel
    /// and no weights could better. Of s8 layers.
    pub grid_db: Option<f64>,
    /// Share of the model's values beyond the smallest and the largest integer. Of s8 layers.
    pub cut_off: Option<f64>,
    /// Values that the portable kernels give otherwise, on all samples; of s8 layers that is an error.
    pub unlike_portable: u64,
    /// Channels have other scales than in the model, which the layers behind take back: they are
    /// compared after that.
    pub rescaled: bool,
    /// Share of the noise at the outputs' side that is not there before this layer: noise-to-signal ratio
    /// minus the largest one among the layers that it reads.
    pub own_noise: f64,
    /// The sample with the smallest ratio, and that.
    pub worst: Option<(String, f64)>,
    /// Where most of the noise comes from, and what to do about it.
    pub cause: String,
}

impl Layers {
    /// The comparison as an HTML page that needs nothing else.
    pub fn to_html(&self) -> String {
        let (model, file) = (escaped(&self.model), escaped(&self.file));
        let advice: String =
            self.advice.iter().map(|line| format!("<li>{}</li>\n", escaped(line))).collect();
        let advice = match self.advice.is_empty() {
            true => "<p>Nothing stands out.</p>\n".to_owned(),
            false => format!("<ol class=\"refused\">\n{advice}</ol>\n"),
        };
        let rows: String = self.layers.iter().map(row).collect();
        let body = format!(
            "<h1>{file} beside {model}, layer by layer</h1>\n<p>{} samples. Signal to noise of the \
             outputs: {} dB.</p>\n<h2>What would help</h2>\n{advice}<h2>Signal to noise</h2>\n\
             <p>In dB, up to {TOP}: dark what the kernels computed, light what rounding the exact \
             values to the layer's integers would leave. A pointer on a bar shows its layer.</p>\n\
             <div class=\"wide\">\n{}</div>\n<h2>Layers</h2>\n<div class=\"wide\">\n<table>\n<thead><tr>\
             <th>layer</th><th>operation</th><th>kernel</th><th>stored</th><th>SQNR<br/>dB</th>\
             <th>integers<br/>alone, dB</th><th>cosine</th><th>max |d|<br/>/ max |y|</th>\
             <th>cut off</th><th>unlike<br/>portable</th><th>worst<br/>sample</th><th>dB</th></tr>\
             </thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n",
            grouped(self.samples as u64),
            decibels(self.sqnr_db),
            bars(&self.layers),
        );
        page(&format!("{file}: layer by layer"), &body)
    }
}

/// Of no noise at all.
fn decibels(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "\u{221e}".to_owned(), |ratio| format!("{ratio:.1}"))
}

/// Figures in one row, the cause in a second one.
fn row(layer: &LayerFacts) -> String {
    let (worst, least) = layer.worst.clone().unwrap_or_default();
    let s8 = layer.stored == "s8";
    let only_s8 = |text: String| if s8 { text } else { String::new() };
    let cells = [
        layer.op.to_owned(),
        escaped(layer.kernel),
        layer.stored.to_owned(),
        decibels(layer.sqnr_db),
        only_s8(decibels(layer.grid_db)),
        format!("{:.6}", layer.cosine),
        format!("{:.1e}", layer.max_rel),
        only_s8(format!("{:.3} %", 100.0 * layer.cut_off.unwrap_or(0.0))),
        grouped(layer.unlike_portable),
        escaped(&worst),
        if worst.is_empty() { String::new() } else { format!("{least:.1}") },
    ];
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    let note = if layer.rescaled { " (channels rescaled)" } else { "" };
    let cause = match layer.cause.is_empty() {
        true => String::new(),
        false => {
            format!("<tr class=\"more\"><td colspan=\"12\">{}</td></tr>\n", escaped(&layer.cause))
        }
    };
    format!("<tr><td>{}{note}</td>{cells}</tr>\n{cause}", escaped(&layer.name))
}

/// dB at the top of the chart.
const TOP: f64 = 60.0;
/// Pixels from 0 dB to there.
const CHART: f64 = 180.0;
/// Pixels left of the first bar.
const AXIS: f64 = 40.0;

/// One bar a layer, and behind it that of its integers alone.
fn bars(layers: &[LayerFacts]) -> String {
    let width = (1000.0 / layers.len().max(1) as f64).floor().clamp(10.0, 40.0);
    let height = |ratio: Option<f64>| (ratio.unwrap_or(TOP).clamp(0.0, TOP) * CHART / TOP).round();
    let bar = |class: &str, at: usize, height: f64, part: f64, hint: &str| {
        let (x, y) = (AXIS + at as f64 * width, CHART + 10.0 - height);
        let width = (width - 2.0) * part;
        format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\">\
             <title>{hint}</title></rect>\n"
        )
    };
    let both = |(at, layer): (usize, &LayerFacts)| {
        let hint = format!("{at} {}: {} dB", escaped(&layer.name), decibels(layer.sqnr_db));
        let grid = match layer.stored {
            "s8" => bar("grid", at, height(layer.grid_db), 1.0, &hint),
            _ => String::new(),
        };
        grid + &bar("bar", at, height(layer.sqnr_db), 0.6, &hint)
    };
    let bars: String = layers.iter().enumerate().map(both).collect();
    let line = |ratio: f64| {
        let y = CHART + 10.0 - height(Some(ratio));
        let right = AXIS + layers.len() as f64 * width + 8.0;
        format!(
            "<path class=\"axis\" d=\"M{AXIS} {y}H{right}\"/>\n<text class=\"mark\" x=\"{}\" \
             y=\"{}\">{ratio}</text>\n",
            AXIS - 6.0,
            y + 4.0
        )
    };
    let lines: String = [0.0, 20.0, 40.0, 60.0].into_iter().map(line).collect();
    format!(
        "<svg class=\"memory\" width=\"{}\" height=\"{}\">\n{lines}{bars}</svg>\n",
        AXIS + layers.len() as f64 * width + 20.0,
        CHART + 24.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_layer_and_its_cause() {
        let layer = |name: &str, stored| LayerFacts {
            name: name.to_owned(),
            op: "conv_s8",
            stored,
            sqnr_db: Some(31.25),
            grid_db: Some(41.5),
            cut_off: Some(0.0125),
            worst: Some(("a<b.png".to_owned(), 12.0)),
            cause: "weights & more".to_owned(),
            ..LayerFacts::default()
        };
        let layers = Layers {
            layers: vec![layer("one", "s8"), layer("two", "f32")],
            advice: vec!["leave `one` in f32".to_owned()],
            ..Layers::default()
        };
        let html = layers.to_html();
        assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
        for text in ["one", "two", "31.2", "41.5", "1.250 %", "a&lt;b.png", "weights &amp; more"] {
            assert!(html.contains(text), "{text}");
        }
        assert_eq!(html.matches("class=\"grid\"").count(), 1, "of s8 layers only");
        assert!(html.contains("leave `one` in f32") && html.contains("\u{221e} dB"));
    }
}
