//! The WGSL files against the table that names them, without a GPU.

use naga::back::pipeline_constants::process_overrides;
use naga::proc::GlobalCtx;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Handle, Module, ShaderStage, StorageAccess, TypeInner};
use std::collections::BTreeSet;
use unbraid_shaders::{Binding, SHADERS, Shader, Variant};

/// What every driver that is supported has.
const MAX_INVOCATIONS: u32 = 256;
const MAX_WORKGROUP_BYTES: u32 = 16 << 10;
const MAX_STORAGE_BUFFERS: usize = 8;

/// Parses and validates a shader with no optional capability.
fn validated(shader: &Shader) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(shader.source)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(shader.source, shader.file)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(shader.source, shader.file)));
    (module, info)
}

/// The global variables that the shader's entry point uses.
fn globals<'m>(
    module: &'m Module,
    info: &ModuleInfo,
    shader: &Shader,
) -> Vec<(Handle<GlobalVariable>, &'m GlobalVariable)> {
    let entry = module
        .entry_points
        .iter()
        .position(|entry| entry.name == shader.name && entry.stage == ShaderStage::Compute)
        .unwrap_or_else(|| panic!("{} has no entry point {}", shader.file, shader.name));
    let uses = info.get_entry_point(entry);
    module.global_variables.iter().filter(|(handle, _)| !uses[*handle].is_empty()).collect()
}

fn space(binding: Binding) -> AddressSpace {
    match binding {
        Binding::Params => AddressSpace::Uniform,
        Binding::Input | Binding::Output | Binding::Other => {
            AddressSpace::Storage { access: StorageAccess::LOAD | StorageAccess::STORE }
        }
        Binding::Weights | Binding::Bias | Binding::Slopes => {
            AddressSpace::Storage { access: StorageAccess::LOAD }
        }
    }
}

/// The module with the overrides of a variant put in.
fn specialised(module: &Module, info: &ModuleInfo, shader: &Shader, variant: &Variant) -> Module {
    let constants = variant.overrides.iter().map(|(name, value)| ((*name).to_owned(), *value));
    let entry = Some((ShaderStage::Compute, shader.name));
    let (module, _) = process_overrides(module, info, entry, &constants.collect())
        .unwrap_or_else(|e| panic!("{}: overrides {:?}: {e}", shader.file, variant.overrides));
    module.into_owned()
}

fn workgroup_bytes(module: &Module) -> u32 {
    let context: GlobalCtx<'_> = module.to_ctx();
    let shared = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    shared.map(|(_, variable)| module.types[variable.ty].inner.size(context)).sum()
}

#[test]
fn every_wgsl_file_is_in_the_table() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shaders/wgsl");
    let files: BTreeSet<_> = std::fs::read_dir(folder)
        .expect("the shaders' folder is part of the repository")
        .map(|entry| entry.expect("the folder can be read").file_name().into_string().unwrap())
        .collect();
    let named: BTreeSet<_> = SHADERS.iter().map(|shader| shader.file.to_owned()).collect();
    assert_eq!(files, named);
}

#[test]
fn every_shader_is_valid_without_any_capability() {
    for shader in SHADERS {
        validated(shader);
    }
}

#[test]
fn every_shader_binds_what_the_table_says() {
    for shader in SHADERS {
        let (module, info) = validated(shader);
        let found: Vec<_> = globals(&module, &info, shader)
            .into_iter()
            .filter_map(|(_, variable)| Some((variable.binding?, variable.space)))
            .map(|(at, space)| (at.group, at.binding, space))
            .collect();
        let listed: Vec<_> = shader.bindings.iter().map(|&b| (0, b.number(), space(b))).collect();
        assert_eq!(found, listed, "{} in {}", shader.name, shader.file);
        assert!(listed.len() <= MAX_STORAGE_BUFFERS + 1, "{}: too many buffers", shader.name);
    }
}

#[test]
fn every_params_block_has_the_words_of_the_table() {
    for shader in SHADERS {
        let (module, info) = validated(shader);
        let block = globals(&module, &info, shader)
            .into_iter()
            .find(|(_, variable)| variable.space == AddressSpace::Uniform)
            .unwrap_or_else(|| panic!("{} uses no params", shader.name));
        let TypeInner::Struct { members, span } = &module.types[block.1.ty].inner else {
            panic!("the params of {} are no struct", shader.file);
        };
        let names: Vec<_> = members.iter().filter_map(|member| member.name.as_deref()).collect();
        assert_eq!(names, shader.params.concat(), "{} in {}", shader.name, shader.file);
        assert_eq!(*span as usize, 4 * names.len(), "{}: words of 32 bits", shader.file);
    }
}

#[test]
fn every_variant_has_the_workgroup_of_the_table_within_the_floor() {
    for shader in SHADERS {
        let (module, info) = validated(shader);
        for variant in shader.variants {
            let module = specialised(&module, &info, shader, variant);
            let entry = module.entry_points.iter().find(|entry| entry.name == shader.name);
            let size = entry.map(|entry| entry.workgroup_size);
            assert_eq!(size, Some(variant.workgroup), "{} {:?}", shader.name, variant.overrides);
            let invocations: u32 = variant.workgroup.iter().product();
            assert!(invocations <= MAX_INVOCATIONS, "{}: {invocations}", shader.name);
            let bytes = workgroup_bytes(&module);
            assert!(bytes <= MAX_WORKGROUP_BYTES, "{}: {bytes} bytes", shader.name);
        }
    }
}
