//! Graph + calibration samples -> the same graph with quantization.
//!
//! ```text
//! float Graph ─equalise→ float Graph ─ranges→ grids of activations ─clip weights→ scales, integers
//!             ─rounding, correct bias→ Graph with quantization
//! ```
//!
//! Every stage has the same value and node numbers as the one before, so that each value of the
//! quantized graph can be held against that of the float graph. What a pass gained is measured on the
//! network's outputs ([`account::PassFacts`]); what makes them worse is not kept.

pub mod account;
pub mod activations;
mod bias;
mod calibrated;
pub mod cheapest;
mod doubts;
pub mod equalise;
mod error;
mod forms;
pub mod goal;
mod grids;
mod homogeneous;
pub mod judge;
mod least_squares;
mod matrix;
mod meet;
pub mod moments;
pub mod options;
mod patches;
mod ranges;
pub mod rounding;
pub mod samples;
mod search;
pub mod sensitivity;
pub mod simulate;
mod walk;
mod warning;
mod weights;

pub use account::{Account, Pass};
pub use activations::Activations;
pub use error::QuantizeError;
pub use goal::{Goal, Labelled, LabelledError};
pub use options::{Options, RangeMethod};
pub use samples::{Samples, SamplesError};
pub use sensitivity::Sensitivity;
pub use warning::Warning;

use crate::graph::{Graph, ValueId};
use account::{ActivationFacts, FloatLayer, LayerFacts, PassFacts};
use calibrated::Calibrated;
use equalise::{BALANCES, Equaliser};
use judge::Judge;
use ranges::{Ranged, limits};
use rounding::{Fit, fit};
use search::Choice;
use weights::Rounded;

/// Multiply-accumulates that judging one candidate may take, and how many samples it has at the least and at
/// the most.
const JUDGED: (u64, usize, usize) = (200_000_000, 8, 64);
/// What is left to do to a graph with ranges and integers.
const BIAS_ONLY: Fit = Fit { rounding: false, bias: true };
/// Outputs with less signal to noise are a reason for doubt.
const POOR: f64 = 20.0;

/// What became of a graph.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The graph with quantization.
    pub graph: Graph,
    /// What was done.
    pub account: Account,
}

/// Quantizes a fused graph.
///
/// # Errors
/// See [`QuantizeError`]: names that no node has, a network that cannot be run or answers with what is no
/// number.
pub fn quantize(
    graph: &Graph,
    samples: &Samples,
    options: &Options,
) -> Result<Quantized, QuantizeError> {
    quantize_to(graph, samples, options, None)
}

/// Quantizes a fused graph; if it does not reach the goal, leaves the cheapest set of layers that is
/// enough in float.
///
/// # Errors
/// As [`quantize`].
pub fn quantize_to(
    graph: &Graph,
    samples: &Samples,
    options: &Options,
    goal: Option<&Goal>,
) -> Result<Quantized, QuantizeError> {
    let is_node =
        |name: &&String| graph.nodes.iter().any(|node| grids::is_called(graph, node, name));
    if let Some(name) = options.float_nodes.iter().find(|name| !is_node(name)) {
        return Err(QuantizeError::NoSuchNode { name: name.clone() });
    }
    let mut work = Work::new(with_own_weights(graph), samples, options)?;
    work.correct_bias()?;
    work.equalise()?;
    work.ranges()?;
    work.round()?;
    work.clip_weights()?;
    goal.map_or(Ok(()), |goal| work.meet(goal))?;
    Ok(work.finish())
}

/// The graph in which every layer has weights that nothing else reads: they get scales of their own.
fn with_own_weights(graph: &Graph) -> Graph {
    let mut own = graph.clone();
    let consumers = graph.consumers();
    for index in 0..own.nodes.len() {
        let node = &own.nodes[index];
        let Some(&id) = node.inputs.get(1) else { continue };
        let shared = consumers.get(id.index()).is_some_and(|readers| readers.len() > 1);
        if forms::Form::of(&own, node) == forms::Form::Layer && shared {
            let name = format!("{} ({})", own.get(id).name, node.name);
            let tensor = own.get(id).constant.clone().expect("weights of layers are constants");
            own.nodes[index].inputs[1] = own.constant(name, tensor);
        }
    }
    own
}

/// A graph while it is quantized pass by pass.
struct Work<'a> {
    samples: &'a Samples,
    options: &'a Options,
    judge: Judge,
    calibrated: Calibrated,
    choices: Vec<Choice>,
    /// What was kept so far, weights rounded to the nearest; biases are corrected when all else is done.
    graph: Graph,
    rounded: Vec<Rounded>,
    decibels: f64,
    passes: Vec<PassFacts>,
    sensitivity: Vec<Sensitivity>,
}

impl<'a> Work<'a> {
    /// Calibrates, and quantizes plainly.
    fn new(
        float: Graph,
        samples: &'a Samples,
        options: &'a Options,
    ) -> Result<Self, QuantizeError> {
        let judge = Judge::new(&float, samples.spread(judged(&float)))?;
        let calibrated = Calibrated::new(float, samples, options)?;
        let choices = search::by_method(&calibrated.ranged, RangeMethod::MinMax);
        let (graph, rounded) = calibrated.graph(&choices, &plain_weights(options));
        let decibels = judge.decibels(&graph)?;
        let passes = vec![PassFacts { pass: Pass::Plain, sqnr_db: decibels, kept: true }];
        Ok(Self {
            samples,
            options,
            judge,
            calibrated,
            choices,
            graph,
            rounded,
            decibels,
            passes,
            sensitivity: Vec::new(),
        })
    }

    /// Signal to noise of a graph of which all that is left to do is to correct biases.
    fn decibels_of(&self, graph: &Graph, float: &Graph) -> Result<f64, QuantizeError> {
        if !self.options.correct_bias {
            return self.judge.decibels(graph);
        }
        let mut corrected = graph.clone();
        fit(float, &mut corrected, self.judge.samples(), BIAS_ONLY)?;
        self.judge.decibels(&corrected)
    }

    /// Books what a pass made, and says whether it is to be kept: whether it is no worse, or was asked for
    /// by name.
    fn is_kept(&mut self, pass: Pass, sqnr_db: f64, by_name: bool) -> bool {
        let kept = by_name || sqnr_db >= self.decibels;
        self.passes.push(PassFacts { pass, sqnr_db, kept });
        if kept {
            self.decibels = sqnr_db;
        }
        kept
    }

    /// Measures what corrected biases gain; all later figures are with them.
    fn correct_bias(&mut self) -> Result<(), QuantizeError> {
        if self.options.correct_bias {
            let decibels = self.decibels_of(&self.graph, &self.calibrated.float)?;
            self.is_kept(Pass::CorrectBias, decibels, true);
        }
        Ok(())
    }

    /// Scales channels across layers, in the way that serves the outputs best.
    fn equalise(&mut self) -> Result<(), QuantizeError> {
        if !self.options.equalise {
            return Ok(());
        }
        let few = self.judge.samples();
        let equaliser = Equaliser::new(&self.calibrated.float, self.samples)?;
        if !equaliser.has_sets() {
            return Ok(());
        }
        let mut best = (f64::NEG_INFINITY, None);
        for balance in BALANCES {
            let calibrated = Calibrated::new(equaliser.equalised(balance), few, self.options)?;
            let choices = search::by_method(&calibrated.ranged, RangeMethod::MinMax);
            let (graph, _) = calibrated.graph(&choices, &plain_weights(self.options));
            let decibels = self.decibels_of(&graph, &calibrated.float)?;
            if decibels > best.0 {
                best = (decibels, Some(calibrated.float));
            }
        }
        if self.is_kept(Pass::Equalise, best.0, false)
            && let Some(float) = best.1
        {
            self.calibrated = Calibrated::new(float, self.samples, self.options)?;
            self.choices = search::by_method(&self.calibrated.ranged, RangeMethod::MinMax);
            let plain = plain_weights(self.options);
            (self.graph, self.rounded) = self.calibrated.graph(&self.choices, &plain);
        }
        Ok(())
    }

    /// Chooses the ranges of activations.
    fn ranges(&mut self) -> Result<(), QuantizeError> {
        let Calibrated { float, ranged, .. } = &self.calibrated;
        let choices = match self.options.ranges {
            RangeMethod::MinMax => return Ok(()),
            RangeMethod::Search => search::search(float, ranged, &self.judge)?,
            method => search::by_method(ranged, method),
        };
        let (graph, rounded) = self.calibrated.graph(&choices, &plain_weights(self.options));
        let decibels = self.decibels_of(&graph, float)?;
        // The search has measured the ranges alone; what weights rounded to the nearest add is chance.
        self.is_kept(Pass::Ranges, decibels, true);
        (self.choices, self.graph, self.rounded) = (choices, graph, rounded);
        Ok(())
    }

    /// Rounds weights by least squares, and corrects biases, both on all samples.
    fn round(&mut self) -> Result<(), QuantizeError> {
        let fit = Fit { rounding: self.options.rounding, bias: self.options.correct_bias };
        let (graph, decibels) = self.fitted(self.graph.clone(), fit)?;
        if !fit.rounding {
            (self.graph, self.decibels) = (graph, decibels);
        } else if self.is_kept(Pass::Rounding, decibels, false) {
            self.graph = graph;
        } else {
            let nearest = Fit { rounding: false, ..fit };
            (self.graph, self.decibels) = self.fitted(self.graph.clone(), nearest)?;
        }
        Ok(())
    }

    /// Tries smaller scales of weights, which are rounded in the same way.
    fn clip_weights(&mut self) -> Result<(), QuantizeError> {
        if !self.options.clip_weights {
            return Ok(());
        }
        let (graph, rounded) = self.calibrated.graph(&self.choices, self.options);
        let fit = Fit { rounding: self.options.rounding, bias: self.options.correct_bias };
        let (graph, decibels) = self.fitted(graph, fit)?;
        if self.is_kept(Pass::ClipWeights, decibels, false) {
            (self.graph, self.rounded) = (graph, rounded);
        }
        Ok(())
    }

    /// A graph with ranges and integers after what is left to do, and its signal to noise.
    fn fitted(&self, mut graph: Graph, todo: Fit) -> Result<(Graph, f64), QuantizeError> {
        if todo.rounding || todo.bias {
            fit(&self.calibrated.float, &mut graph, self.samples, todo)?;
        }
        let decibels = self.judge.decibels(&graph)?;
        Ok((graph, decibels))
    }

    fn finish(self) -> Quantized {
        let Calibrated { float, selection, ranged, .. } = &self.calibrated;
        let layer = |(&index, rounded): (&usize, &Rounded)| LayerFacts {
            name: float.nodes[index].name.clone(),
            bits: self.options.weight_bits,
            weights_db: rounded.noise.decibels(),
        };
        let float_layer = |&(index, reason): &(usize, &str)| FloatLayer {
            name: float.nodes[index].name.clone(),
            reason: reason.to_owned(),
        };
        let is_integer = |ranged: &Ranged| {
            ranged.grid.values.iter().any(|id| self.graph.get(*id).quantization.is_some())
        };
        let facts = ranged.iter().zip(&self.choices).filter(|(ranged, _)| is_integer(ranged));
        let account = Account {
            samples: self.samples.len(),
            activations: facts.map(|(ranged, choice)| facts_of(float, ranged, choice)).collect(),
            layers: selection.layers.iter().zip(&self.rounded).map(layer).collect(),
            float_layers: selection.float_layers.iter().map(float_layer).collect(),
            warnings: self.warnings(),
            passes: self.passes,
            sensitivity: self.sensitivity,
        };
        Quantized { graph: self.graph, account }
    }

    fn warnings(&self) -> Vec<Warning> {
        let Calibrated { float, selection, ranged, empty, .. } = &self.calibrated;
        let name = |id: ValueId| float.get(id).name.clone();
        let mut warnings = doubts::doubts(float, self.samples, self.options.raw_pixels);
        warnings.extend(empty.iter().map(|grid| Warning::Empty { value: name(grid.values[0]) }));
        let constant = |ranged: &&Ranged| ranged.extent.lo == ranged.extent.hi;
        warnings.extend(ranged.iter().filter(constant).map(|ranged| Warning::Constant {
            value: name(ranged.grid.values[0]),
            constant: ranged.extent.lo,
        }));
        let layers = selection.layers.iter().zip(&self.rounded);
        let huge = layers.filter(|(_, rounded)| rounded.huge_biases > 0);
        warnings.extend(huge.map(|(&index, rounded)| Warning::HugeBias {
            layer: float.nodes[index].name.clone(),
            channels: rounded.huge_biases,
        }));
        if selection.layers.is_empty() {
            warnings.push(Warning::NoLayers);
        }
        if self.decibels < POOR {
            warnings.push(Warning::Poor { decibels: self.decibels });
        }
        warnings
    }
}

/// The options with weights rounded to the nearest on scales that reach to the largest.
fn plain_weights(options: &Options) -> Options {
    Options { clip_weights: false, ..options.clone() }
}

/// How many samples a candidate is judged by.
fn judged(graph: &Graph) -> usize {
    let (macs, least, most) = JUDGED;
    ((macs / crate::plan::facts::macs(graph).max(1)) as usize).clamp(least, most)
}

/// What the report says about a grid.
fn facts_of(graph: &Graph, ranged: &Ranged, choice: &Choice) -> ActivationFacts {
    let names = ranged.grid.values.iter().map(|&id| graph.get(id).name.clone());
    ActivationFacts {
        values: names.collect(),
        seen: [ranged.extent.lo, ranged.extent.hi],
        range: limits(&choice.quantization),
        scale: choice.quantization.scales[0],
        zero_point: choice.quantization.zero_point,
        method: choice.method,
        saturated: ranged.saturated(&choice.quantization),
    }
}
