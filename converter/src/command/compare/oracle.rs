//! The model in f64, on inputs as the file takes them.

use super::Args;
use crate::command::failure::Failure;
use std::collections::HashMap;
use std::path::Path;
use unbraid_converter::graph::Graph;
use unbraid_converter::import;
use unbraid_converter::reference::{self, ReferenceError};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::{Model, Port};

/// The model as it was trained.
pub(super) struct Oracle<'m> {
    graph: Graph,
    /// Positions of values by their names.
    values: HashMap<String, usize>,
    ports: Vec<Port<'m>>,
    mean: &'m [f64],
    std: &'m [f64],
}

/// Everything that the model computes for one sample.
pub(super) struct Truth<'o> {
    by_name: &'o HashMap<String, usize>,
    values: Vec<Option<Vec<f64>>>,
}

impl<'m> Oracle<'m> {
    /// Imports the model with the shapes and the outputs that the file has.
    pub(super) fn new(args: &'m Args, model: &Model<'m>) -> Result<Self, Failure> {
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
        let names = graph.values.iter().map(|value| value.name.clone());
        let values = names.enumerate().map(|(index, name)| (name, index)).collect();
        Ok(Self { graph, values, ports, mean: &args.mean, std: &args.std })
    }

    /// For inputs in ONNX's order.
    pub(super) fn run(&self, sample: &[Vec<f32>]) -> Result<Truth<'_>, ReferenceError> {
        let exact = |values: &Vec<f32>| values.iter().map(|&value| f64::from(value)).collect();
        let mut inputs: Vec<Vec<f64>> = sample.iter().map(exact).collect();
        self.normalise(&mut inputs);
        let values = reference::run_values(&self.graph, &inputs)?;
        Ok(Truth { by_name: &self.values, values })
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
    pub(super) fn find(&self, name: &str) -> Option<&[f64]> {
        self.values[*self.by_name.get(name)?].as_deref()
    }
}
