//! [`Activations`]: every value that a graph computes, on all samples, streamed to collectors.
//!
//! The graph is planned and run by the runtime's own kernels, which takes a hundredth of the oracle's
//! time. The values to watch are made outputs of the network: so each has a place of its own, in a
//! known order, whatever the plan does with the steps between.

use super::error::QuantizeError;
use super::samples::Samples;
use crate::graph::{Graph, Op, ValueId};
use crate::plan::{self, plan};
use crate::write::{Strand, strand};
use rayon::prelude::*;
use unbraid_runtime::model::{ALIGN, port::MAX_RANK};
use unbraid_runtime::{Kernels, Model, Port, Session};

/// Collectors that work side by side, each on its own part of the samples: a fixed number, so that sums
/// do not depend on the number of threads.
const PARTS: usize = 8;

/// A graph that is ready to show some of its values.
#[derive(Debug)]
pub struct Activations {
    strand: Strand,
}

impl Activations {
    /// Prepares to watch these values: inputs of the graph and what nodes compute, each once.
    ///
    /// # Errors
    /// When the graph cannot be planned or has more memory than the runtime can address.
    pub fn new(graph: &Graph, watched: &[ValueId]) -> Result<Self, QuantizeError> {
        let plan = plan(&with_outputs(graph, watched), &plan::Options::default())?;
        Ok(Self { strand: strand(&plan)? })
    }

    /// Runs the graph on every sample. A part of the samples is added to what `start` makes, one after
    /// the other; `add` gets the watched values of one sample, row-major in ONNX's order, in the order
    /// in which they were named. `merge` joins the parts, in order.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn each<T: Send>(
        &self,
        samples: &Samples,
        start: impl Fn() -> T + Sync,
        add: impl Fn(&mut T, &[Vec<f32>]) + Sync,
        merge: impl FnMut(T, T) -> T,
    ) -> Result<T, QuantizeError> {
        let model = Model::new(&self.strand)?;
        let part = |part: usize| {
            let mut state = start();
            let mut arena = Arena::new(&model)?;
            let mut session = Session::new(&model, arena.bytes(), Kernels::detect())?;
            for index in part * samples.len() / PARTS..(part + 1) * samples.len() / PARTS {
                run(&mut session, samples.get(index));
                add(&mut state, &watched(&session));
            }
            Ok(state)
        };
        let parts: Vec<Result<T, QuantizeError>> = (0..PARTS).into_par_iter().map(part).collect();
        let parts: Result<Vec<T>, QuantizeError> = parts.into_iter().collect();
        Ok(parts?.into_iter().reduce(merge).expect("there are parts"))
    }

    /// The watched values of every sample.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn all(&self, samples: &Samples) -> Result<Vec<Vec<Vec<f32>>>, QuantizeError> {
        let add = |all: &mut Vec<Vec<Vec<f32>>>, values: &[Vec<f32>]| all.push(values.to_vec());
        self.each(samples, Vec::new, add, |mut all, more| {
            all.extend(more);
            all
        })
    }
}

/// The graph with these values as its outputs. What has more axes than a port may have, and what the
/// caller provides, is watched through a reshape.
fn with_outputs(graph: &Graph, watched: &[ValueId]) -> Graph {
    let mut graph = graph.clone();
    graph.outputs.clear();
    for &id in watched {
        let shape = graph.shape(id).to_vec();
        let output = match graph.inputs.contains(&id) || shape.len() > MAX_RANK {
            false => id,
            true => {
                let name = format!("{} (watched)", graph.get(id).name);
                let view = graph.value(name.clone(), [shape.iter().product()]);
                graph.push(name, Op::Reshape, vec![id], view);
                view
            }
        };
        graph.outputs.push(output);
    }
    graph
}

/// One inference.
fn run<'s>(session: &mut Session<'_>, sample: impl Iterator<Item = &'s [f32]>) {
    let model = *session.model();
    for ((index, port), values) in model.inputs().enumerate().zip(sample) {
        let input = session.input_mut(index).expect("an f32 input of the model");
        let pixels = (port.operand.dims.h * port.operand.dims.w) as usize;
        let columns = if is_picture(&port) { pixels } else { 1 };
        transpose(values, columns, input);
    }
    session.run();
}

/// The outputs in ONNX's order.
fn watched(session: &Session<'_>) -> Vec<Vec<f32>> {
    let model = *session.model();
    let output = |(index, port): (usize, Port<'_>)| {
        let values = session.output(index).expect("an f32 output of the model");
        let mut ordered = vec![0.0; values.len()];
        let columns = if is_picture(&port) { port.operand.dims.c as usize } else { 1 };
        transpose(values, columns, &mut ordered);
        ordered
    };
    model.outputs().enumerate().map(output).collect()
}

/// Whether a port's values lie pixel by pixel.
fn is_picture(port: &Port<'_>) -> bool {
    matches!(port.axes(), [1, _, _, _])
}

/// A matrix with rows of `columns` values, column by column.
fn transpose(matrix: &[f32], columns: usize, to: &mut [f32]) {
    let rows = matrix.len() / columns.max(1);
    for (column, to) in to.chunks_exact_mut(rows.max(1)).enumerate() {
        let from = matrix.iter().skip(column).step_by(columns);
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
    }
}

/// Memory for a session.
struct Arena {
    memory: Vec<u8>,
    len: usize,
}

impl Arena {
    fn new(model: &Model<'_>) -> Result<Self, QuantizeError> {
        let too_large = || QuantizeError::Memory { bytes: model.arena_len(1) };
        let len = model.arena_len(1).ok_or_else(too_large)?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(len + ALIGN as usize).map_err(|_| too_large())?;
        memory.resize(len + ALIGN as usize, 0);
        Ok(Self { memory, len })
    }

    fn bytes(&mut self) -> &mut [u8] {
        let start = self.memory.as_ptr().align_offset(ALIGN as usize);
        &mut self.memory[start..][..self.len]
    }
}
