//! [`Pipelines`]: each shader variant compiled once, however many steps use it.

use crate::shader::{Binding, Shader, Variant};
use wgpu::{
    BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType,
    BufferBindingType, ComputePipeline, ComputePipelineDescriptor, Device,
    PipelineCompilationOptions, PipelineLayoutDescriptor, ShaderModuleDescriptor, ShaderSource,
    ShaderStages,
};

/// A compiled variant and what it binds.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: ComputePipeline,
    pub(crate) layout: BindGroupLayout,
}

/// The variants compiled so far.
#[derive(Debug)]
pub(crate) struct Pipelines<'d> {
    device: &'d Device,
    made: Vec<(&'static Shader, &'static Variant, Pipeline)>,
}

impl<'d> Pipelines<'d> {
    /// None yet.
    pub(crate) fn new(device: &'d Device) -> Self {
        Self { device, made: Vec::new() }
    }

    /// The pipeline of a variant, compiled at its first use.
    pub(crate) fn pipeline(
        &mut self,
        shader: &'static Shader,
        variant: &'static Variant,
    ) -> Pipeline {
        let same = |(s, v, _): &&(&Shader, &Variant, _)| s.name == shader.name && *v == variant;
        if let Some((_, _, pipeline)) = self.made.iter().find(same) {
            return pipeline.clone();
        }
        let pipeline = compile(self.device, shader, variant);
        self.made.push((shader, variant, pipeline.clone()));
        pipeline
    }
}

fn compile(device: &Device, shader: &Shader, variant: &Variant) -> Pipeline {
    let label = Some(shader.name);
    let module = device.create_shader_module(ShaderModuleDescriptor {
        label,
        source: ShaderSource::Wgsl(shader.source.into()),
    });
    let entries: Vec<_> = shader.bindings.iter().copied().map(entry).collect();
    let layout =
        device.create_bind_group_layout(&BindGroupLayoutDescriptor { label, entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(shader.name),
        compilation_options: PipelineCompilationOptions {
            constants: variant.overrides,
            // Every kernel writes what it reads of workgroup memory.
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    Pipeline { pipeline, layout }
}

fn entry(binding: Binding) -> BindGroupLayoutEntry {
    let ty = match binding {
        Binding::Params => BufferBindingType::Uniform,
        Binding::Input | Binding::Output | Binding::Other => {
            BufferBindingType::Storage { read_only: false }
        }
        Binding::Weights | Binding::Bias | Binding::Slopes => {
            BufferBindingType::Storage { read_only: true }
        }
    };
    BindGroupLayoutEntry {
        binding: binding.number(),
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}
