//! Whole networks on a GPU, and everything that [`Gpu`] refuses.
//!
//! Without a Vulkan adapter these tests say so and pass, unless `UNBRAID_REQUIRE_GPU=1`.
#![forbid(unsafe_code)]

use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::picture::{Resize, decode};
use unbraid_converter::{import, plan, write};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{Function, Op};
use unbraid_runtime::{Cpu, Model};
use unbraid_shaders::{Gpu, GpuError, adapter_names};
use unbraid_tests::conv_cases::Random;
use unbraid_tests::gpu::{assert_close, on_cpu, open_gpu};
use unbraid_tests::strand_builder::{StrandBuilder, open};

#[test]
fn an_unknown_adapter_is_named_with_those_there_are() {
    let mut strand = StrandBuilder::new();
    let input = strand.input("input", Dims::vector(4));
    let output = strand.step(input, Dims::vector(4), Op::Apply(Function::Sigmoid));
    strand.output("output", output);
    let bytes = strand.finish();
    match Gpu::new(&open(&bytes), Some("no such adapter")) {
        Err(GpuError::NoAdapter { name, found }) => {
            assert_eq!(name.as_deref(), Some("no such adapter"));
            assert_eq!(found, adapter_names());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn inputs_of_the_wrong_number_or_length_are_refused() {
    let mut strand = StrandBuilder::new();
    let input = strand.input("input", Dims::vector(4));
    let output = strand.step(input, Dims::vector(4), Op::Apply(Function::Sigmoid));
    strand.output("output", output);
    let bytes = strand.finish();
    let Some(mut gpu) = open_gpu(&open(&bytes)) else { return };
    let short = gpu.run(&[0.0; 3]);
    assert!(matches!(short, Err(GpuError::InputLength { index: 0, found: 3, needed: 4 })));
    assert!(matches!(gpu.run_all(&[]), Err(GpuError::InputCount { found: 0, needed: 1 })));
    assert_eq!(gpu.run(&[0.0; 4]).unwrap(), [0.5; 4]);
}

#[test]
fn bytes_that_no_step_wrote_as_a_whole_are_refused() {
    let mut strand = StrandBuilder::new();
    let input = strand.input("input", Dims::vector(64));
    let mut half = strand.step(input, Dims::vector(64), Op::Apply(Function::Sigmoid));
    half.span.len /= 2;
    half.dims.c /= 2;
    let output = strand.step(half, half.dims, Op::Softmax);
    strand.output("output", output);
    let bytes = strand.finish();
    match Gpu::new(&open(&bytes), None) {
        Err(GpuError::PartialRead { place, span }) => {
            assert_eq!(span, half.span);
            assert_eq!(place.to_string(), "step 1 (softmax)");
        }
        Err(GpuError::NoAdapter { .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// The committed test picture and noisy copies of it, normalised as the nets were trained.
fn pictures() -> Vec<Vec<f32>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ankle_boot.png");
    let dims = Dims { h: 28, w: 28, c: 1 };
    let picture = decode(&std::fs::read(path).unwrap(), dims, Resize::Stretch).unwrap();
    let picture: Vec<f32> = picture.iter().map(|pixel| (pixel - 72.94) / 90.02).collect();
    let mut random = Random(5);
    let noisy = |strength: i32| {
        let noise = random.vec(picture.len());
        picture.iter().zip(noise).map(|(x, n)| x + n * strength as f32 * 0.25).collect()
    };
    (0..20).map(noisy).collect()
}

#[test]
fn trained_networks_give_the_classes_of_the_cpu() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
    for net in ["repvgg_eval", "repvgg_preserve", "mobileone_preserve", "plain_preserve"] {
        let path = format!("{folder}/{net}.onnx");
        let graph = import::load(path.as_ref(), &import::Options::default()).unwrap();
        for mode in [FuseMode::Off, FuseMode::Free] {
            let fused = fuse(graph.clone(), mode, &mut |_| ());
            let plan = plan::plan(&fused.graph, &plan::Options::default()).unwrap();
            let strand = write::strand(&plan).unwrap();
            assert_same_classes(&format!("{net}, {mode:?}"), &Model::new(&strand).unwrap());
        }
    }
}

fn assert_same_classes(what: &str, model: &Model<'_>) {
    let Some(mut gpu) = open_gpu(model) else { return };
    for picture in pictures() {
        let found = gpu.run(&picture).unwrap();
        let expected = &on_cpu(model, Cpu::detect(), std::slice::from_ref(&picture))[0];
        assert_close(what, expected, found);
        assert_eq!(class(found), class(expected), "{what}");
    }
}

/// Index of the largest score.
fn class(scores: &[f32]) -> Option<usize> {
    (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
}
