//! `--int8`: the flags of quantization, for every command that makes a network of a model.

use super::failure::{During, Failure};
use indicatif::ProgressBar;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use unbraid_converter::data::{Dataset, Labels, Options as DataOptions, Port, Preprocess};
use unbraid_converter::graph::Graph;
use unbraid_converter::quantize::{
    Account, Goal, Labelled, Options, RangeMethod, Samples, quantize_to,
};

/// Seed of the lot by which calibration samples are drawn: any, but always the same.
const SEED: u64 = 0;

/// How a network becomes one of 8-bit integers.
#[derive(Debug, clap::Args)]
#[group(skip)] // Its name would be that of the command's own arguments.
pub(crate) struct Args {
    /// Compute in 8-bit integers: about a quarter of the memory, and several times as fast where the
    /// processor multiplies integers. Needs --calibrate.
    #[arg(long, requires = "calibrate")]
    int8: bool,
    /// What the network meets in use, for the ranges of its values: a folder of 100 to 1000 PNG or JPEG
    /// pictures, an IDX file, an .npy, or an .npz with one array N,C,H,W, or one for each input by name.
    #[arg(long, value_name = "DIR|FILE", requires = "int8")]
    calibrate: Option<PathBuf>,
    /// At most so many calibration samples, drawn by lot, the same each time.
    #[arg(long, value_name = "N", default_value = "500", requires = "int8")]
    calibrate_limit: NonZeroUsize,
    /// How the ranges of values are found. From the smallest to the largest value serves best on pictures
    /// that were not calibrated with, and needs no search.
    #[arg(long, value_enum, default_value_t = RangesFlag::Minmax, requires = "int8")]
    ranges: RangesFlag,
    /// Bits of a weight: 8, or 4 for files of nearly half the size.
    #[arg(long, value_name = "8|4", default_value = "8", requires = "int8", value_parser = weight_bits)]
    weights: u8,
    /// One scale for all weights of a layer in place of one an output channel: worse, for comparison.
    #[arg(long, requires = "int8")]
    per_tensor: bool,
    /// Leave the first convolution or dense layer in float.
    #[arg(long, requires = "int8")]
    float_first: bool,
    /// Leave the last convolution or dense layer in float.
    #[arg(long, requires = "int8")]
    float_last: bool,
    /// Leave this node, or the node with this result, in float; may be given for several.
    #[arg(long, value_name = "NODE", requires = "int8")]
    float: Vec<String>,
    /// Leave the cheapest layers in float with which the outputs have this signal-to-noise ratio on
    /// calibration data; the report says what the integers of each layer do.
    #[arg(long, value_name = "DB", requires = "int8", conflicts_with = "max_drop")]
    min_sqnr: Option<f64>,
    /// Leave the cheapest layers in float with which at most so many in a hundred calibration samples are
    /// no longer told right. The calibration data has to be labelled.
    #[arg(long, value_name = "POINTS", requires = "int8")]
    max_drop: Option<f64>,
    /// Do not scale channels across layers.
    #[arg(long, requires = "int8")]
    no_equalise: bool,
    /// Let the scales of weights reach to the largest one.
    #[arg(long, requires = "int8")]
    no_clip: bool,
    /// Round weights to the nearest integer.
    #[arg(long, requires = "int8")]
    no_rounding: bool,
    /// Leave the means of channels as rounding makes them.
    #[arg(long, requires = "int8")]
    no_bias_correction: bool,
}

/// [`RangeMethod`] as a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum RangesFlag {
    /// From the smallest to the largest value.
    Minmax,
    /// Without the outermost 0.01 % of the values.
    Percentile,
    /// With the smallest mean squared error.
    Mse,
    /// With the smallest Kullback-Leibler divergence.
    Kl,
    /// For each value the one of these with which the outputs are best.
    Search,
}

impl From<RangesFlag> for RangeMethod {
    fn from(flag: RangesFlag) -> Self {
        match flag {
            RangesFlag::Minmax => Self::MinMax,
            RangesFlag::Percentile => Self::Percentile,
            RangesFlag::Mse => Self::Mse,
            RangesFlag::Kl => Self::Kl,
            RangesFlag::Search => Self::Search,
        }
    }
}

fn weight_bits(argument: &str) -> Result<u8, &'static str> {
    match argument {
        "8" => Ok(8),
        "4" => Ok(4),
        _ => Err("weights have 8 or 4 bits"),
    }
}

impl Args {
    /// Whether integers are asked for.
    pub(crate) fn given(&self) -> bool {
        self.int8
    }

    /// Quantizes `graph`, if that is asked for. `raw_pixels`: the network takes pictures of 0 to 255.
    pub(crate) fn quantize(
        &self,
        graph: &mut Graph,
        preprocess: &Preprocess,
        raw_pixels: bool,
    ) -> Result<Option<Account>, Failure> {
        let Some(path) = self.calibrate.as_deref().filter(|_| self.int8) else { return Ok(None) };
        let bar = ProgressBar::new_spinner().with_message("quantizing");
        bar.enable_steady_tick(Duration::from_millis(100));
        let (samples, labels) = self.samples(path, graph, preprocess)?;
        let goal = self.goal(path, graph, &samples, labels)?;
        let quantized = quantize_to(graph, &samples, &self.options(raw_pixels), goal.as_ref());
        let quantized = quantized.during("quantize with the calibration data in", path)?;
        bar.finish_and_clear();
        for warning in &quantized.account.warnings {
            eprintln!("warning: {warning}");
        }
        *graph = quantized.graph;
        Ok(Some(quantized.account))
    }

    /// How good the network has to be.
    fn goal(
        &self,
        path: &Path,
        graph: &Graph,
        samples: &Samples,
        labels: Option<Vec<usize>>,
    ) -> Result<Option<Goal>, Failure> {
        let Some(points) = self.max_drop else { return Ok(self.min_sqnr.map(Goal::MinSqnr)) };
        let unlabelled = || {
            Failure::usage(format!("--max-drop: the samples in {} have no labels", path.display()))
                .help("an IDX file with labels beside it, a folder a class, or --min-sqnr DB")
        };
        let labels = labels.ok_or_else(unlabelled)?;
        let labelled = Labelled::new(graph, samples.clone(), labels);
        let labelled = labelled.during("use the labels of", path)?;
        Ok(Some(Goal::MaxDrop { points, labelled }))
    }

    /// The calibration data, and the classes if all are known.
    fn samples(
        &self,
        path: &Path,
        graph: &Graph,
        preprocess: &Preprocess,
    ) -> Result<(Samples, Option<Vec<usize>>), Failure> {
        let ports = Port::inputs(graph);
        let options = DataOptions {
            preprocess: preprocess.clone(),
            limit: Some(self.calibrate_limit.get()),
            seed: Some(SEED),
            labels: if self.max_drop.is_some() { Labels::Welcome } else { Labels::Ignored },
            ..DataOptions::default()
        };
        let dataset = Dataset::open(path, ports, &options).during("calibrate on", path)?;
        let (mut values, mut labels) = (vec![Vec::new(); graph.inputs.len()], Vec::new());
        for sample in dataset.iter() {
            let sample = sample.during("calibrate on", path)?;
            labels.push(sample.label);
            values.iter_mut().zip(sample.inputs).for_each(|(all, one)| all.extend(one));
        }
        let samples = Samples::new(graph, values).during("calibrate on", path)?;
        Ok((samples, labels.into_iter().collect()))
    }

    fn options(&self, raw_pixels: bool) -> Options {
        Options {
            equalise: !self.no_equalise,
            ranges: self.ranges.into(),
            clip_weights: !self.no_clip,
            rounding: !self.no_rounding,
            correct_bias: !self.no_bias_correction,
            per_tensor: self.per_tensor,
            weight_bits: self.weights,
            float_first: self.float_first,
            float_last: self.float_last,
            float_nodes: self.float.clone(),
            raw_pixels,
        }
    }
}
