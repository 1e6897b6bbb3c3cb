//! `unbraid compare`: a file against the ONNX model that it was made from.
//!
//! The model is imported as it is and interpreted in f64; the file runs as it would on a device.
//! `--layers` looks at every value that both compute, and says where noise comes from.

mod cause;
mod findings;
mod layer;
mod oracle;
mod samples;
mod watch;

use super::data;
use super::failure::{During, Failure};
use super::progress;
use super::strand::{Machine, Strand};
use super::tensors;
use findings::Findings;
use layer::{Layer, Sums};
use oracle::Oracle;
use samples::Samples;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use unbraid_converter::data::Survey;
use unbraid_converter::write;
use unbraid_runtime::step::Element;
use unbraid_runtime::{Cpu, Model, Port, Session};
use watch::{Factors, Keep, Learn, Measure};

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
    #[arg(long, value_name = "X.npy|IMAGE", conflicts_with = "data")]
    input: Vec<String>,
    /// Pictures or arrays to compare on, as `unbraid eval` takes them.
    #[arg(long, value_name = "DIR|IDX|NPZ")]
    data: Option<PathBuf>,
    /// At most so many samples of --data, drawn by lot [default: 32].
    #[arg(long, value_name = "N", requires = "data")]
    limit: Option<NonZeroUsize>,
    /// Another lot.
    #[arg(long, value_name = "S", default_value_t = 0, requires = "data")]
    seed: u64,
    #[command(flatten)]
    pixels: data::Args,
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
    /// Compare every value that both compute, not only the outputs: how exact it is, what its
    /// integers alone would leave, where the noise comes from, and what would help.
    #[arg(long)]
    layers: bool,
    /// Write the comparison of layers as a page.
    #[arg(long, value_name = "F.html", requires = "layers")]
    report: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Samples from which factors of channels are learned.
const LEARN: usize = 4;

/// Runs both on the same input.
pub(crate) fn compare(args: &Args) -> Result<String, Failure> {
    if let Some(path) = &args.report
        && path.extension().is_none_or(|extension| extension != "html")
    {
        let what = format!("--report {}: the report is .html", path.display());
        return Err(Failure::usage(what).help("--json prints the same for a program"));
    }
    let mut strand = Strand::open(&args.file)?;
    let model = strand.model()?;
    let samples = Samples::new(args, &model)?;
    let oracle = Oracle::new(args, &model)?;
    let mut comparison = Comparison::new(args, &model, &samples, &oracle)?;
    comparison.learn()?;
    comparison.measure()?;
    let findings = comparison.findings();
    if let Some(path) = &args.report {
        write::save(path, findings.layers.to_html().as_bytes())?;
    }
    Ok(if args.json { format!("{:#}\n", findings.json()) } else { findings.text(args.layers) })
}

/// Everything that takes part, and what was measured so far.
struct Comparison<'a, 'm> {
    args: &'a Args,
    model: &'a Model<'m>,
    names: Vec<&'m str>,
    ports: [Vec<Port<'m>>; 2],
    samples: &'a Samples,
    oracle: &'a Oracle<'a>,
    factors: Factors,
    outputs: Layer,
    layers: Vec<Option<Layer>>,
    survey: Survey,
}

impl<'a, 'm> Comparison<'a, 'm> {
    fn new(
        args: &'a Args,
        model: &'a Model<'m>,
        samples: &'a Samples,
        oracle: &'a Oracle<'a>,
    ) -> Result<Self, Failure> {
        let names: Vec<&str> = model.names().collect();
        let steps = names.len().max(model.steps().count());
        Ok(Self {
            args,
            model,
            names,
            ports: [model.inputs().collect(), model.outputs().collect()],
            samples,
            oracle,
            factors: vec![None; steps],
            outputs: Layer::new("", "", Element::F32),
            layers: vec![None; steps],
            survey: Survey::default(),
        })
    }

    /// For a network on integers, whose channels may be scaled: by how much.
    fn learn(&mut self) -> Result<(), Failure> {
        let integers = self.model.steps().any(|step| step.output.element != Element::F32);
        if !self.args.layers || !integers {
            return Ok(());
        }
        let mut machine = Machine::new(NonZeroUsize::MIN, Cpu::detect())?;
        let mut session = machine.session(self.model)?;
        let mut sums: Vec<Vec<Sums>> = vec![Vec::new(); self.factors.len()];
        for index in 0..self.samples.len().min(LEARN) {
            let sample = self.sample(index)?;
            let truth = self.oracle.run(&sample).during("interpret", &self.args.model)?;
            self.feed(&mut session, &sample);
            let mut learn = Learn { names: &self.names, truth: &truth, sums: &mut sums };
            session.run_observed(&mut learn);
        }
        self.factors = sums.iter().map(|channels| watch::factors(channels)).collect();
        Ok(())
    }

    fn measure(&mut self) -> Result<(), Failure> {
        let mut machines = [
            Machine::new(NonZeroUsize::MIN, Cpu::detect())?,
            Machine::new(NonZeroUsize::MIN, Cpu::PORTABLE)?,
        ];
        let [own, portable] = &mut machines;
        let (mut session, mut portable) = (own.session(self.model)?, portable.session(self.model)?);
        let bar = progress::bar("interpreting the model in f64");
        bar.set_length(self.samples.len() as u64);
        for index in 0..self.samples.len() {
            let sample = self.sample(index)?;
            if let Samples::Data(data) = self.samples {
                self.survey.add(&sample, data.ports());
            }
            let truth = self.oracle.run(&sample).during("interpret", &self.args.model)?;
            self.feed(&mut session, &sample);
            if self.args.layers {
                self.feed(&mut portable, &sample);
                let mut kept = Keep::default();
                portable.run_observed(&mut kept);
                session.run_observed(&mut Measure {
                    names: &self.names,
                    truth: &truth,
                    factors: &self.factors,
                    portable: &kept.results,
                    layers: &mut self.layers,
                });
            } else {
                session.run();
            }
            self.add_outputs(&truth, &session);
            bar.inc(1);
        }
        drop(bar);
        if let Some(path) = &self.args.data {
            data::warn(&self.survey, path);
        }
        Ok(())
    }

    fn sample(&self, index: usize) -> Result<Vec<Vec<f32>>, Failure> {
        let path = self.args.data.as_deref().unwrap_or(&self.args.file);
        self.samples.get(index).during("use the data in", path)
    }

    fn feed(&self, session: &mut Session<'_>, sample: &[Vec<f32>]) {
        let pairs = sample.iter().zip(&self.ports[0]);
        let inputs: Vec<Vec<f32>> = pairs.map(|(x, port)| tensors::to_nhwc(x, port)).collect();
        tensors::feed(session, &inputs);
    }

    fn add_outputs(&mut self, truth: &oracle::Truth<'_>, session: &Session<'_>) {
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for (index, port) in self.ports[1].iter().enumerate() {
            if let Some(truth) = truth.find(port.name) {
                expected.extend_from_slice(truth);
                found.extend(tensors::to_onnx(&tensors::result(session, index), port));
            }
        }
        self.outputs.add(&expected, &found);
    }

    fn findings(&self) -> Findings {
        let rescaled: Vec<bool> = self.factors.iter().map(Option::is_some).collect();
        let name = |path: &PathBuf| path.display().to_string();
        let sample_name = |index: usize| self.samples.name(index);
        let steps: Vec<_> = self.model.steps().collect();
        let mut findings =
            Findings::new(&self.outputs, &self.layers, &self.names, &steps, &sample_name);
        for (facts, at) in findings.layers.layers.iter_mut().zip(measured(&self.layers)) {
            facts.rescaled = rescaled[at];
        }
        (findings.layers.model, findings.layers.file) =
            (name(&self.args.model), name(&self.args.file));
        findings
    }
}

/// Positions of the steps that were held against the model.
fn measured(layers: &[Option<Layer>]) -> impl Iterator<Item = usize> {
    layers.iter().enumerate().filter(|(_, layer)| layer.is_some()).map(|(at, _)| at)
}
