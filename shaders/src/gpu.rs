//! [`Gpu`]: a network on a GPU, ready to run.

use crate::activations::{Activations, Range};
use crate::adapter::Device;
use crate::bind::{BoundStep, bind};
use crate::dispatch::Dispatch;
use crate::error::{GpuError, Place};
use crate::weights::Weights;
use unbraid_runtime::model::Model;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::Step;
use wgpu::{Buffer, BufferUsages, CommandEncoder, MapMode, PollType};

/// A network on a GPU: weights uploaded, pipelines compiled, everything bound.
#[derive(Debug)]
pub struct Gpu {
    device: Device,
    steps: Vec<BoundStep>,
    activations: Buffer,
    inputs: Vec<Range>,
    /// Where each output lies, and where its copy in `readback`.
    outputs: Vec<(Range, Range)>,
    readback: Buffer,
    results: Vec<Vec<f32>>,
}

impl Gpu {
    /// Prepares a network on the first adapter, or on the first whose name contains `adapter`.
    ///
    /// The device is opened with the limits of the smallest drivers, whatever the adapter has,
    /// except for the sizes of buffers.
    ///
    /// # Errors
    ///
    /// No such adapter, a network that does not fit it, or a driver that refuses. Having no adapter
    /// ([`GpuError::NoAdapter`]) is a normal case: the CPU runs every network.
    pub fn new(model: &Model<'_>, adapter: Option<&str>) -> Result<Self, GpuError> {
        let device = Device::open(adapter)?;
        let dispatches = dispatches(model, device.limits.max_compute_workgroups_per_dimension)?;
        let plan = Activations::new(model, dispatches.iter().map(|d| &d.operands))?;
        check_activations(&device, &plan, &dispatches)?;
        let (outputs, readback_len) = copies(&plan.outputs);
        let made = device.guarded(|| {
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
            let activations = device.buffer("activations", plan.len, usage);
            let weights = Weights::upload(&device, model, weight_spans(&dispatches))?;
            let steps = bind(&device, &dispatches, &plan.steps, &activations, &weights);
            let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
            Ok((steps, activations, device.buffer("readback", readback_len, usage)))
        });
        let (steps, activations, readback) = made?;
        let results = outputs.iter().map(|(range, _)| vec![0.0; values(*range)]).collect();
        Ok(Self { device, steps, activations, inputs: plan.inputs, outputs, readback, results })
    }

    /// Name of the adapter, as the driver gives it.
    pub fn adapter(&self) -> &str {
        &self.device.name
    }

    /// Runs a network that has one input, and returns its first output. Both in NHWC order.
    ///
    /// # Errors
    ///
    /// As [`run_all`](Self::run_all).
    pub fn run(&mut self, input: &[f32]) -> Result<&[f32], GpuError> {
        let outputs = self.run_all(&[input])?;
        // A model has at least one output: `Model::new` proved it.
        Ok(outputs.first().map_or(&[], Vec::as_slice))
    }

    /// Runs one frame: writes the inputs, submits all steps at once, and waits for the outputs.
    /// Inputs and outputs are in ONNX order, the values of each in NHWC order.
    ///
    /// # Errors
    ///
    /// Inputs of the wrong number or length, and a GPU that was lost or is out of memory.
    pub fn run_all(&mut self, inputs: &[&[f32]]) -> Result<&[Vec<f32>], GpuError> {
        self.check_inputs(inputs)?;
        let mut results = std::mem::take(&mut self.results);
        let done = self.device.guarded(|| {
            self.submit(inputs);
            self.read(&mut results)
        });
        self.results = results;
        done?;
        Ok(&self.results)
    }

    fn check_inputs(&self, inputs: &[&[f32]]) -> Result<(), GpuError> {
        let (found, needed) = (inputs.len(), self.inputs.len());
        if found != needed {
            return Err(GpuError::InputCount { found, needed });
        }
        for (index, (input, range)) in inputs.iter().zip(&self.inputs).enumerate() {
            let (found, needed) = (input.len(), values(*range));
            if found != needed {
                return Err(GpuError::InputLength { index, found, needed });
            }
        }
        Ok(())
    }

    fn submit(&self, inputs: &[&[f32]]) {
        for (input, range) in inputs.iter().zip(&self.inputs) {
            let bytes = bytemuck::cast_slice(input);
            self.device.queue.write_buffer(&self.activations, range.offset, bytes);
        }
        let mut encoder = self.device.device.create_command_encoder(&Default::default());
        self.encode_steps(&mut encoder);
        for (from, to) in &self.outputs {
            let (source, target) = (&self.activations, &self.readback);
            encoder.copy_buffer_to_buffer(source, from.offset, target, to.offset, to.len);
        }
        self.device.queue.submit([encoder.finish()]);
    }

    fn encode_steps(&self, encoder: &mut CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for step in &self.steps {
            pass.set_pipeline(&step.pipeline);
            pass.set_bind_group(0, &step.bind_group, &[]);
            pass.dispatch_workgroups(step.grid.x, step.grid.y, 1);
        }
    }

    fn read(&self, results: &mut [Vec<f32>]) -> Result<(), GpuError> {
        let refused = |error: &dyn std::fmt::Display| GpuError::Refused(error.to_string());
        // A failed mapping shows when the range is asked for.
        self.readback.slice(..).map_async(MapMode::Read, |_| ());
        self.device.device.poll(PollType::wait_indefinitely()).map_err(|e| refused(&e))?;
        let mapped = self.readback.slice(..).get_mapped_range().map_err(|e| refused(&e))?;
        let mut rest = &mapped[..];
        for result in results {
            let (bytes, after) = rest.split_at(size_of_val(result.as_slice()));
            bytemuck::cast_slice_mut(result).copy_from_slice(bytes);
            rest = after;
        }
        drop(mapped);
        self.readback.unmap();
        Ok(())
    }
}

fn dispatches(model: &Model<'_>, max_workgroups: u32) -> Result<Vec<Dispatch>, GpuError> {
    let steps = model.steps().enumerate();
    let dispatch = |(index, step): (usize, Step)| {
        Dispatch::new(&step, Place::Step { index, op: step.op.name() }, max_workgroups)
    };
    steps.map(dispatch).collect()
}

/// Number of f32 in a range.
fn values(range: Range) -> usize {
    usize::try_from(range.len / 4).unwrap_or(usize::MAX)
}

/// Pairs each output with its copy, one behind the other, and tells the length of all copies.
fn copies(outputs: &[Range]) -> (Vec<(Range, Range)>, u64) {
    let mut end = 0;
    let pairs = outputs.iter().map(|&from| {
        let to = Range { offset: end, len: from.len };
        end += from.len;
        (from, to)
    });
    (pairs.collect(), end)
}

fn place(index: usize, dispatch: &Dispatch) -> Place {
    Place::Step { index, op: dispatch.shader.name }
}

/// Each span of weights with the step that needs it.
fn weight_spans(dispatches: &[Dispatch]) -> impl Iterator<Item = (Span, Place)> {
    dispatches.iter().enumerate().flat_map(|(index, dispatch)| {
        let operands = &dispatch.operands;
        [operands.weights, operands.bias, operands.slopes].map(|s| (s, place(index, dispatch)))
    })
}

fn check_activations(
    device: &Device,
    plan: &Activations,
    dispatches: &[Dispatch],
) -> Result<(), GpuError> {
    device.check_buffer(Place::Network, plan.len)?;
    for (index, (ranges, dispatch)) in plan.steps.iter().zip(dispatches).enumerate() {
        let len = ranges.input.len.max(ranges.output.len);
        device.check_binding(place(index, dispatch), len)?;
    }
    Ok(())
}
