//! Planned graphs beside the oracle.

use crate::execute::{cpus, relative_error, row_major, run, write_inputs};
use crate::rng::Random;
use crate::strand_builder::AlignedBytes;
use std::collections::HashMap;
use unbraid_converter::graph::{Graph, ValueId};
use unbraid_converter::plan::{Options, plan};
use unbraid_converter::reference;
use unbraid_converter::tensor::elements;
use unbraid_converter::write::strand;
use unbraid_runtime::step::Step;
use unbraid_runtime::{Kernels, Model, Observer, Session, Values};

/// Largest difference to the oracle, relative to the largest output.
const BOUND: f64 = 1e-5;

/// Plans, writes, runs on random input and compares every output, on every set of CPU features.
///
/// # Panics
/// When the graph cannot be planned, or an output differs.
pub fn check(graph: &Graph) {
    let plan = plan(graph, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let strand = strand(&plan).unwrap_or_else(|error| panic!("{error}"));
    let model = Model::new(&strand).unwrap();
    let mut random = Random(elements(graph.shape(graph.inputs[0])).unwrap_or(0) as u64);
    let input = |&id: &ValueId| random.vec(elements(graph.shape(id)).expect("a small shape"));
    let inputs: Vec<Vec<f32>> = graph.inputs.iter().map(input).collect();
    let widened = |values: &Vec<f32>| values.iter().map(|&v| f64::from(v)).collect();
    let widened: Vec<Vec<f64>> = inputs.iter().map(widened).collect();
    let expected = reference::run(graph, &widened).unwrap();
    for (name, cpu) in cpus() {
        let found = run(&model, cpu, &inputs);
        assert_eq!(found.len(), expected.len());
        for (output, (y, x)) in expected.iter().zip(&found).enumerate() {
            let error = relative_error(y, x);
            let steps: Vec<_> = plan.names.iter().zip(&plan.steps).collect();
            assert!(error <= BOUND, "{name}, output {output}: {error:e}\n{steps:#?}");
        }
    }
}

/// Compares what a step wrote with the value that it is named after.
struct Layers<'a> {
    names: &'a [String],
    truth: HashMap<&'a str, Vec<f64>>,
    compared: usize,
}

impl Observer for Layers<'_> {
    fn begin(&mut self, _: usize, _: &Step) {}

    fn end(&mut self, index: usize, step: &Step, _: &'static str, output: Values<'_>) {
        let Some(y) = self.truth.get(self.names[index].as_str()) else { return };
        let output: Vec<f32> = output.reals(step.output.element).collect();
        let error = relative_error(y, &row_major(step.output.dims, &output));
        assert!(error <= BOUND, "{}: {error:e}\n{step:#?}", self.names[index]);
        self.compared += 1;
    }
}

/// Every step that is named after a value of the graph computes that value.
///
/// # Panics
/// When one does not, or none is.
pub fn check_names(graph: &Graph) {
    let plan = plan(graph, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let strand = strand(&plan).unwrap_or_else(|error| panic!("{error}"));
    let model = Model::new(&strand).unwrap();
    let input = Random(1).vec(elements(graph.shape(graph.inputs[0])).expect("a small shape"));
    let widened = input.iter().map(|&v| f64::from(v)).collect();
    let values = reference::run_values(graph, &[widened]).unwrap();
    let named = graph.values.iter().zip(values);
    let truth = named.filter_map(|(value, values)| Some((value.name.as_str(), values?))).collect();
    let mut layers = Layers { names: &plan.names, truth, compared: 0 };
    let mut arena = AlignedBytes::filled(0xff, model.arena_len(1).expect("addressable"));
    let mut session = Session::new(&model, &mut arena, Kernels::detect()).unwrap();
    write_inputs(&mut session, &[input]);
    session.run_observed(&mut layers);
    assert!(layers.compared > 0, "{:?}", plan.names);
}
