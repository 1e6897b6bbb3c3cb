//! `unbraid compare`: a file against the ONNX model that it was made from.
//!
//! The model is imported as it is and interpreted in f64; the file runs as it would on a device.

use super::failure::{During, Failure};
use super::strand::{Machine, Strand};
use super::table::Table;
use super::tensors::{self, ResizeFlag};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use unbraid_converter::graph::Graph;
use unbraid_converter::import;
use unbraid_converter::reference::{self, ReferenceError};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{Element, Step};
use unbraid_runtime::{Cpu, Model, Observer, Port, Session, Values};

/// Random samples where no `--input` is given.
const RANDOM: u64 = 2;

/// What `unbraid compare` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model that was converted.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// What it became.
    #[arg(value_name = "FILE.strand")]
    file: PathBuf,
    /// A picture or .npy to compare on; may be given several times, with NAME= in front where the
    /// network has several inputs [default: random values].
    #[arg(long, value_name = "X.npy|IMAGE")]
    input: Vec<String>,
    /// How a picture of another size is brought to the size of the input.
    #[arg(long, value_enum, default_value_t = ResizeFlag::Stretch)]
    resize: ResizeFlag,
    /// The `--mean` of the conversion, in units of the raw picture (0 to 255): the file takes the
    /// raw picture, the model gets it normalised.
    #[arg(
        long,
        value_name = "R,G,B",
        value_delimiter = ',',
        requires = "std",
        allow_hyphen_values = true
    )]
    mean: Vec<f64>,
    /// The `--std` of the conversion, in units of the raw picture (0 to 255).
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', requires = "mean")]
    std: Vec<f64>,
    /// Compare every value that both compute, not only the outputs.
    #[arg(long)]
    layers: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs both on the same input.
pub(crate) fn compare(args: &Args) -> Result<String, Failure> {
    let mut strand = Strand::open(&args.file)?;
    let model = strand.model()?;
    let samples = samples(args, &model)?;
    let oracle = Oracle::new(args, &model)?;
    let mut machine = Machine::new(NonZeroUsize::MIN, Cpu::detect())?;
    let mut session = machine.session(&model)?;

    let progress = ProgressBar::new_spinner().with_message("interpreting the model in f64");
    progress.enable_steady_tick(Duration::from_millis(100));
    let mut answer = Answer::new(&model, samples.len());
    for sample in &samples {
        let truth = oracle.run(sample).during("interpret", &args.model)?;
        tensors::feed(&mut session, sample);
        if args.layers {
            session.run_observed(&mut Layers { truth: &truth, answer: &mut answer });
        } else {
            session.run();
        }
        answer.add_outputs(&truth, &session);
    }
    progress.finish_and_clear();
    Ok(if args.json { format!("{:#}\n", json!(answer.json())) } else { answer.text() })
}

/// For each sample the values of each input, NHWC, as the file takes them.
fn samples(args: &Args, model: &Model<'_>) -> Result<Vec<Vec<Vec<f32>>>, Failure> {
    if args.input.is_empty() {
        let raw = |v: &mut f32| *v = (*v + 1.0) * 127.5;
        let mut samples: Vec<_> = (0..RANDOM).map(|seed| tensors::random(model, seed)).collect();
        if !args.mean.is_empty() {
            // What lies as integers is raw already.
            let is_f32: Vec<bool> =
                model.inputs().map(|port| port.operand.element == Element::F32).collect();
            let inputs = samples.iter_mut().flat_map(|sample| sample.iter_mut().zip(&is_f32));
            inputs.filter(|(_, f32s)| **f32s).flat_map(|(values, _)| values).for_each(raw);
        }
        return Ok(samples);
    }
    let ports: Vec<Port<'_>> = model.inputs().collect();
    let files = tensors::files_of("--input", &args.input, &ports)?;
    let mut values = Vec::with_capacity(ports.len());
    for (files, port) in files.iter().zip(&ports) {
        let read = files.iter().map(|file| tensors::read(file, port, args.resize.into()));
        values.push(read.collect::<Result<Vec<_>, _>>()?.concat());
    }
    let count = values[0].len();
    if values.iter().any(|list| list.len() != count) {
        return Err(Failure::usage("every input of the network takes as many values by --input"));
    }
    Ok((0..count).map(|k| values.iter().map(|list| list[k].clone()).collect()).collect())
}

/// The model in f64, on inputs as the file takes them.
struct Oracle<'m> {
    graph: Graph,
    ports: Vec<Port<'m>>,
    mean: &'m [f64],
    std: &'m [f64],
}

/// Everything that the model computes for one sample.
struct Truth<'g> {
    graph: &'g Graph,
    values: Vec<Option<Vec<f64>>>,
}

impl<'m> Oracle<'m> {
    /// Imports the model with the shapes and the outputs that the file has.
    fn new(args: &'m Args, model: &Model<'m>) -> Result<Self, Failure> {
        let ports: Vec<Port<'m>> = model.inputs().collect();
        let shape = |port: &Port<'_>| port.axes().iter().map(|&axis| axis as usize).collect();
        let options = import::Options {
            input_shapes: ports.iter().map(|port| (port.name.to_owned(), shape(port))).collect(),
            outputs: Some(model.outputs().map(|port| port.name.to_owned()).collect()),
            normalise: None,
        };
        let graph = import::load(&args.model, &options)?;
        let names = graph.inputs.iter().map(|&id| graph.get(id).name.as_str());
        if !names.eq(ports.iter().map(|port| port.name)) {
            return Err(not_made_from(&args.file, &args.model));
        }
        let channels = ports.iter().find(|port| port.axes().len() == 4);
        let channels = channels.map_or(0, |port| port.operand.dims.c as usize);
        for (flag, values) in [("--mean", &args.mean), ("--std", &args.std)] {
            if ![0, channels].contains(&values.len()) {
                let found = values.len();
                let what = format!("{flag} has {found} values, the picture {channels} channels");
                return Err(Failure::usage(what));
            }
        }
        Ok(Self { graph, ports, mean: &args.mean, std: &args.std })
    }

    fn run(&self, sample: &[Vec<f32>]) -> Result<Truth<'_>, ReferenceError> {
        let mut inputs: Vec<Vec<f64>> = Vec::with_capacity(sample.len());
        for (values, port) in sample.iter().zip(&self.ports) {
            let values = tensors::to_onnx(values, port);
            inputs.push(values.into_iter().map(f64::from).collect());
        }
        self.normalise(&mut inputs);
        let values = reference::run_values(&self.graph, &inputs)?;
        Ok(Truth { graph: &self.graph, values })
    }

    /// `(x - mean) / std` on the channels of the first picture, which is what conversion folded in.
    fn normalise(&self, inputs: &mut [Vec<f64>]) {
        let picture = self.ports.iter().position(|port| port.axes().len() == 4);
        let Some(index) = picture.filter(|_| !self.mean.is_empty()) else { return };
        let Dims { h, w, .. } = self.ports[index].operand.dims;
        let planes = inputs[index].chunks_exact_mut(h as usize * w as usize);
        for (channel, plane) in planes.enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            plane.iter_mut().for_each(|x| *x = (*x - mean) / std);
        }
    }
}

fn not_made_from(file: &Path, model: &Path) -> Failure {
    let what = format!("{} was not made from {}", file.display(), model.display());
    Failure::new(what).help("their inputs have different names; `unbraid inspect` lists the file's")
}

impl Truth<'_> {
    /// The value of this name, if the model computes it.
    fn find(&self, name: &str) -> Option<&[f64]> {
        let index = self.graph.values.iter().position(|value| value.name == name)?;
        self.values[index].as_deref()
    }
}

/// Differences between what was computed and what is true.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    max_abs: f64,
    max_rel: f64,
    signal: f64,
    noise: f64,
}

impl Errors {
    /// Adds one tensor. A value that is no number is infinitely wrong.
    fn add(&mut self, truth: &[f64], found: &[f32]) {
        let (mut worst, mut largest) = (0.0_f64, 0.0_f64);
        for (&y, &x) in truth.iter().zip(found) {
            let difference = (f64::from(x) - y).abs();
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            (worst, largest) = (worst.max(difference), largest.max(y.abs()));
            self.signal += y * y;
            self.noise += difference * difference;
        }
        self.max_abs = self.max_abs.max(worst);
        self.max_rel = self.max_rel.max(if worst > 0.0 { worst / largest } else { 0.0 });
    }

    /// Signal to noise in decibels; infinite where nothing differs.
    fn sqnr_db(&self) -> f64 {
        if self.noise > 0.0 { 10.0 * (self.signal / self.noise).log10() } else { f64::INFINITY }
    }

    /// JSON has no infinity: `sqnr_db` is null where nothing differs.
    fn figures(&self) -> Figures {
        Figures { max_abs: self.max_abs, max_rel: self.max_rel, sqnr_db: self.sqnr_db() }
    }

    fn cells(&self) -> [String; 3] {
        let sqnr = self.sqnr_db();
        [format!("{:.2e}", self.max_abs), format!("{:.2e}", self.max_rel), format!("{sqnr:.1}")]
    }
}

#[derive(Serialize)]
struct Figures {
    max_abs: f64,
    max_rel: f64,
    sqnr_db: f64,
}

#[derive(Serialize)]
struct Layer<'a> {
    name: &'a str,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Serialize)]
struct Comparison<'a> {
    #[serde(flatten)]
    outputs: Figures,
    samples: usize,
    layers: Vec<Layer<'a>>,
}

/// What all samples together showed.
struct Answer<'m> {
    ports: Vec<Port<'m>>,
    names: Vec<&'m str>,
    samples: usize,
    outputs: Errors,
    /// For each step the name of a value and its errors, where the model computes it too.
    layers: Vec<Option<Errors>>,
}

impl<'m> Answer<'m> {
    fn new(model: &Model<'m>, samples: usize) -> Self {
        let names: Vec<&str> = model.names().collect();
        Self {
            ports: model.outputs().collect(),
            layers: vec![None; names.len()],
            names,
            samples,
            outputs: Errors::default(),
        }
    }

    fn add_outputs(&mut self, truth: &Truth<'_>, session: &Session<'_>) {
        for (index, port) in self.ports.iter().enumerate() {
            let found = tensors::to_onnx(&tensors::result(session, index), port);
            if let Some(truth) = truth.find(port.name) {
                self.outputs.add(truth, &found);
            }
        }
    }

    fn layers(&self) -> impl Iterator<Item = (&str, &Errors)> {
        let layers = self.names.iter().zip(&self.layers);
        layers.filter_map(|(name, errors)| Some((*name, errors.as_ref()?)))
    }

    fn json(&self) -> Comparison<'_> {
        let layer = |(name, errors): (_, &Errors)| Layer { name, figures: errors.figures() };
        Comparison {
            outputs: self.outputs.figures(),
            samples: self.samples,
            layers: self.layers().map(layer).collect(),
        }
    }

    fn text(&self) -> String {
        let mut table = Table::new(["value", "max |d|", "max |d| / max |y|", "SQNR dB"]);
        for (name, errors) in self.layers() {
            let [abs, rel, sqnr] = errors.cells();
            table.row([name.to_owned(), abs, rel, sqnr]);
        }
        let [abs, rel, sqnr] = self.outputs.cells();
        table.row(["all outputs".to_owned(), abs, rel, sqnr]);
        let plural = if self.samples == 1 { "" } else { "s" };
        format!(
            "{table}\n{} sample{plural}; y is the model in f64, d the difference\n",
            self.samples
        )
    }
}

/// Compares each step's result while it is still there.
struct Layers<'a, 'm, 't> {
    truth: &'a Truth<'t>,
    answer: &'a mut Answer<'m>,
}

impl Observer for Layers<'_, '_, '_> {
    fn begin(&mut self, _: usize, _: &Step) {}

    fn end(&mut self, index: usize, step: &Step, _: &'static str, output: Values<'_>) {
        let Some(name) = self.answer.names.get(index) else { return };
        let Some(truth) = self.truth.find(name) else { return };
        let output: Vec<f32> = output.reals(step.output.element).collect();
        if truth.len() == output.len() {
            let found = tensors::row_major(&output, step.output.dims);
            self.answer.layers[index].get_or_insert_default().add(truth, &found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_the_formulas() {
        let mut errors = Errors::default();
        errors.add(&[2.0, -4.0], &[2.0, -4.5]);
        errors.add(&[1.0], &[1.25]);
        assert_eq!((errors.max_abs, errors.max_rel), (0.5, 0.25));
        let sqnr = 10.0 * (21.0_f64 / (0.25 + 0.0625)).log10();
        assert!((errors.sqnr_db() - sqnr).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_number_is_infinitely_wrong() {
        let mut errors = Errors::default();
        errors.add(&[1.0, 2.0], &[f32::NAN, 2.0]);
        assert_eq!((errors.max_abs, errors.max_rel), (f64::INFINITY, f64::INFINITY));
    }

    #[test]
    fn nothing_differs_is_zero_and_infinite() {
        let mut errors = Errors::default();
        errors.add(&[0.0, 2.0], &[0.0, 2.0]);
        assert_eq!((errors.max_rel, errors.sqnr_db()), (0.0, f64::INFINITY));
    }
}
