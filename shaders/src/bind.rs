//! What each step binds: its `Params` block, ranges of the activation buffer, and its weights.

use crate::activations::{Range, StepRanges};
use crate::adapter::{Device, RANGE_ALIGN};
use crate::dispatch::{Dispatch, Grid};
use crate::pipelines::Pipelines;
use crate::shader::Binding;
use crate::weights::Weights;
use unbraid_runtime::span::Span;
use wgpu::{
    BindGroup, BindGroupDescriptor, BindGroupEntry, BindGroupLayout, BindingResource, Buffer,
    BufferBinding, BufferSize, BufferUsages, ComputePipeline,
};

/// A step with everything it needs.
#[derive(Debug)]
pub(crate) struct BoundStep {
    pub(crate) pipeline: ComputePipeline,
    pub(crate) bind_group: BindGroup,
    pub(crate) grid: Grid,
}

/// Compiles each step's shader and binds what it reads and writes.
pub(crate) fn bind(
    device: &Device,
    dispatches: &[Dispatch],
    ranges: &[StepRanges],
    activations: &Buffer,
    weights: &Weights,
) -> Vec<BoundStep> {
    let params = upload_params(device, dispatches);
    let mut pipelines = Pipelines::new(&device.device);
    let steps = dispatches.iter().zip(ranges).zip(0..);
    steps
        .map(|((dispatch, ranges), index)| {
            let made = pipelines.pipeline(dispatch.shader, dispatch.variant);
            let resources =
                Resources { dispatch, ranges, index, activations, params: &params, weights };
            let bind_group = resources.bind_group(&device.device, &made.layout);
            BoundStep { pipeline: made.pipeline, bind_group, grid: dispatch.grid }
        })
        .collect()
}

/// All `Params` blocks in one buffer, one every [`RANGE_ALIGN`] bytes.
fn upload_params(device: &Device, dispatches: &[Dispatch]) -> Buffer {
    let len = RANGE_ALIGN * dispatches.len().max(1) as u64;
    let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
    let buffer = device.buffer("params", len, usage);
    for (dispatch, index) in dispatches.iter().zip(0..) {
        let block = dispatch.params_block();
        device.queue.write_buffer(&buffer, RANGE_ALIGN * index, bytemuck::cast_slice(&block));
    }
    buffer
}

/// Where the operands of one step lie.
struct Resources<'a> {
    dispatch: &'a Dispatch,
    ranges: &'a StepRanges,
    index: u64,
    activations: &'a Buffer,
    params: &'a Buffer,
    weights: &'a Weights,
}

impl<'a> Resources<'a> {
    fn bind_group(&self, device: &wgpu::Device, layout: &BindGroupLayout) -> BindGroup {
        let bindings = self.dispatch.shader.bindings.iter();
        let entries: Vec<_> = bindings
            .map(|&binding| BindGroupEntry {
                binding: binding.number(),
                resource: BindingResource::Buffer(self.resource(binding)),
            })
            .collect();
        let label = Some(self.dispatch.shader.name);
        device.create_bind_group(&BindGroupDescriptor { label, layout, entries: &entries })
    }

    fn resource(&self, binding: Binding) -> BufferBinding<'a> {
        let operands = &self.dispatch.operands;
        match binding {
            Binding::Params => {
                let len = 4 * self.dispatch.params_block().len() as u64;
                range(self.params, RANGE_ALIGN * self.index, len)
            }
            Binding::Input => self.activation(self.ranges.input),
            Binding::Output => self.activation(self.ranges.output),
            // Only steps whose second operand is computed have a shader that binds it.
            Binding::Other => self.activation(self.ranges.other.unwrap_or(self.ranges.input)),
            Binding::Weights => self.weight(operands.weights),
            Binding::Bias => self.weight(operands.bias),
            Binding::Slopes => self.weight(operands.slopes),
        }
    }

    fn activation(&self, bytes: Range) -> BufferBinding<'a> {
        range(self.activations, bytes.offset, bytes.len)
    }

    fn weight(&self, span: Span) -> BufferBinding<'a> {
        let bytes = self.weights.range(span);
        range(&self.weights.buffers[bytes.buffer], bytes.offset, bytes.len)
    }
}

fn range(buffer: &Buffer, offset: u64, len: u64) -> BufferBinding<'_> {
    BufferBinding { buffer, offset, size: BufferSize::new(len) }
}
