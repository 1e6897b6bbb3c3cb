//! [`Findings`]: what was measured, put into words, for people and programs.

use super::cause::{Cause, outlier};
use super::layer::Layer;
use crate::command::table::Table;
use serde_json::{Value, json};
use unbraid_converter::report::{LayerFacts, Layers};
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{Element, MatMul, Op, PairS8, Source, Step};

/// Layers that are advised on.
const ADVISED: usize = 3;
/// A layer that adds less noise than this part of what reaches the outputs is not advised on.
const PART: f64 = 0.05;

/// The whole result.
pub(super) struct Findings {
    outputs: Outputs,
    pub(super) layers: Layers,
}

/// Of all outputs.
struct Outputs {
    max_abs: f64,
    max_rel: f64,
    sqnr_db: f64,
    worst: Option<(String, f64)>,
}

impl Findings {
    pub(super) fn new(
        outputs: &Layer,
        layers: &[Option<Layer>],
        names: &[&str],
        steps: &[Step],
        sample_name: &dyn Fn(usize) -> String,
    ) -> Self {
        let named = |worst: Option<(usize, f64)>| worst.map(|(at, ratio)| (sample_name(at), ratio));
        let ratios: Vec<Option<f64>> = ratios(layers, steps);
        let measured = layers.iter().zip(names).enumerate();
        let facts: Vec<(LayerFacts, Cause)> = measured
            .filter_map(|(at, (layer, name))| {
                let layer = layer.as_ref()?;
                let before = before(at, steps, &ratios);
                let worst = named(layer.worst());
                let cause = Cause::of(layer, before);
                let facts = facts(layer, before);
                let cause_text = cause.to_string();
                let name = (*name).to_owned();
                Some((LayerFacts { name, worst, cause: cause_text, ..facts }, cause))
            })
            .collect();
        let outputs_ratio = outputs.sums().noise_to_signal();
        let mut advice = advice(&facts, outputs_ratio);
        if let Some(at) = outlier(outputs) {
            advice.push(format!(
                "calibrate on more pictures like {}: the network is far less exact there than on others",
                sample_name(at)
            ));
        }
        let sums = outputs.sums();
        Self {
            layers: Layers {
                samples: outputs.samples.len(),
                sqnr_db: finite(sums.decibels()),
                layers: facts.into_iter().map(|(facts, _)| facts).collect(),
                advice,
                ..Layers::default()
            },
            outputs: Outputs {
                max_abs: outputs.max_abs,
                max_rel: outputs.max_rel,
                sqnr_db: sums.decibels(),
                worst: named(outputs.worst()),
            },
        }
    }

    /// JSON has no infinity: a ratio is null where nothing differs.
    pub(super) fn json(&self) -> Value {
        json!({
            "max_abs": self.outputs.max_abs,
            "max_rel": self.outputs.max_rel,
            "sqnr_db": self.outputs.sqnr_db,
            "worst": self.outputs.worst,
            "samples": self.layers.samples,
            "layers": self.layers.layers,
            "advice": self.layers.advice,
        })
    }

    pub(super) fn text(&self, with_layers: bool) -> String {
        let Outputs { max_abs, max_rel, sqnr_db, .. } = self.outputs;
        let plural = if self.layers.samples == 1 { "" } else { "s" };
        let foot = format!(
            "{} sample{plural}; y is the model in f64, d the difference\n",
            self.layers.samples
        );
        if !with_layers {
            let mut table = Table::new(["value", "max |d|", "max |d| / max |y|", "SQNR dB"]);
            let [abs, rel] = [max_abs, max_rel].map(|error| format!("{error:.2e}"));
            table.row(["all outputs".to_owned(), abs, rel, format!("{sqnr_db:.1}")]);
            return format!("{table}\n{foot}");
        }
        let mut table = Table::new([
            "value",
            "op",
            "stored",
            "SQNR dB",
            "integers alone",
            "cosine",
            "max |d| / max |y|",
            "cut off",
        ]);
        self.layers.layers.iter().for_each(|layer| table.row(cells(layer)));
        let total = format!("{sqnr_db:.1}");
        let rel = format!("{max_rel:.2e}");
        let none = String::new;
        let name = "all outputs".to_owned();
        table.row([name, none(), none(), total, none(), none(), rel, none()]);
        let advice: String =
            self.layers.advice.iter().map(|line| format!("what would help: {line}\n")).collect();
        format!("{table}\n{}{advice}{}{foot}", self.unlike_portable(), self.rescaled())
    }

    /// A word about channels of other scales than the model's.
    fn rescaled(&self) -> String {
        match self.layers.layers.iter().filter(|layer| layer.rescaled).count() {
            0 => String::new(),
            count => format!(
                "{count} of the values have channels of other scales than in the model, which the next \
                 layer takes back (equalisation): y is the model's value in those scales\n"
            ),
        }
    }

    /// A word about kernels on integers that are not the portable ones to the bit.
    fn unlike_portable(&self) -> String {
        let unlike = |layer: &&LayerFacts| layer.stored == "s8" && layer.unlike_portable > 0;
        let of = |layer: &LayerFacts| {
            format!(
                "{} values of {} differ between {} and the portable kernel: please report it\n",
                layer.unlike_portable, layer.name, layer.kernel
            )
        };
        self.layers.layers.iter().filter(unlike).map(of).collect()
    }
}

fn cells(layer: &LayerFacts) -> [String; 8] {
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "inf".to_owned(), |r| format!("{r:.1}"));
    let s8 = layer.stored == "s8";
    [
        layer.name.clone(),
        layer.op.to_owned(),
        layer.stored.to_owned(),
        ratio(layer.sqnr_db),
        if s8 { ratio(layer.grid_db) } else { String::new() },
        format!("{:.6}", layer.cosine),
        format!("{:.2e}", layer.max_rel),
        layer.cut_off.map(|share| format!("{:.3} %", 100.0 * share)).unwrap_or_default(),
    ]
}

fn finite(ratio: f64) -> Option<f64> {
    ratio.is_finite().then_some(ratio)
}

/// All but the name and the sample.
fn facts(layer: &Layer, before: f64) -> LayerFacts {
    let sums = layer.sums();
    let s8 = layer.element != Element::F32;
    LayerFacts {
        op: layer.op,
        kernel: layer.kernel,
        stored: if s8 { "s8" } else { "f32" },
        max_abs: layer.max_abs,
        max_rel: layer.max_rel,
        sqnr_db: finite(sums.decibels()),
        cosine: sums.cosine(),
        grid_db: finite(layer.grid_decibels()).filter(|_| s8),
        cut_off: s8.then(|| layer.grid.share()),
        unlike_portable: layer.unlike_portable,
        own_noise: (sums.noise_to_signal() - before).max(0.0),
        ..LayerFacts::default()
    }
}

/// For each step the noise-to-signal ratio of its result: measured, or else that of what it reads.
fn ratios(layers: &[Option<Layer>], steps: &[Step]) -> Vec<Option<f64>> {
    let mut ratios: Vec<Option<f64>> = Vec::with_capacity(steps.len());
    for (at, layer) in layers.iter().enumerate() {
        let measured = layer.as_ref().map(|layer| layer.sums().noise_to_signal());
        let inherited = (at < steps.len()).then(|| before(at, steps, &ratios));
        ratios.push(measured.or(inherited));
    }
    ratios
}

/// The largest noise-to-signal ratio among what a step reads; 0 for the network's own inputs.
fn before(at: usize, steps: &[Step], ratios: &[Option<f64>]) -> f64 {
    let Some(step) = steps.get(at) else { return 0.0 };
    let producer = |span: Span| (0..at).rev().find(|&k| steps[k].output.span.overlaps(span));
    let ratio = |span: Span| producer(span).and_then(|k| ratios.get(k).copied().flatten());
    reads(step).into_iter().filter_map(ratio).fold(0.0, f64::max)
}

/// The feature maps that a step reads.
fn reads(step: &Step) -> Vec<Span> {
    let other = match &step.op {
        Op::Binary { other, .. }
        | Op::PairS8(PairS8 { other, .. })
        | Op::MatMul(MatMul { other, .. }) => Some(other),
        _ => None,
    };
    let second = match other {
        Some(Source::Arena(map)) => Some(map.span),
        _ => None,
    };
    [Some(step.input.span), second].into_iter().flatten().collect()
}

/// The layers that add most noise themselves, with what would help them.
fn advice(layers: &[(LayerFacts, Cause)], outputs: f64) -> Vec<String> {
    let worth = |(layer, cause): &&(LayerFacts, Cause)| {
        !matches!(cause, Cause::Exact | Cause::Inherited) && layer.own_noise > PART * outputs
    };
    let mut worst: Vec<&(LayerFacts, Cause)> = layers.iter().filter(worth).collect();
    worst.sort_by(|(a, _), (b, _)| b.own_noise.total_cmp(&a.own_noise));
    let line =
        |(layer, cause): &&(LayerFacts, Cause)| format!("{} ({}): {cause}", layer.name, layer.op);
    worst.iter().take(ADVISED).map(line).collect()
}
