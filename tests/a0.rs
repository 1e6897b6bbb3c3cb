//! RepVGG-A0 at 224 x 224, from its training-time graph, as it is run: its memory, the kernel each
//! step gets, and that neither threads nor kernels change the result.
#![forbid(unsafe_code)]

use prost::Message;
use std::num::NonZeroUsize;
use std::sync::LazyLock;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::import;
use unbraid_converter::plan::{Options, plan};
use unbraid_converter::write::{Strand, strand};
use unbraid_linux::Pool;
use unbraid_runtime::{Cpu, Kernels, Model, Session, cpu::Feature};
use unbraid_tests::execute::{cpus, relative_error, run, run_session};
use unbraid_tests::network::Settings;
use unbraid_tests::repvgg::{Variant, training_model};
use unbraid_tests::rng::Random;
use unbraid_tests::strand_builder::AlignedBytes;

static A0: LazyLock<Strand> = LazyLock::new(|| {
    let variant = Variant::named("A0").expect("in the table");
    let bytes = training_model(variant, Settings::default()).encode_to_vec();
    let graph = import::from_bytes(bytes, &import::Options::default()).expect("imports");
    let fused = fuse(graph, FuseMode::Free, &mut |_| {});
    let plan = plan(&fused.graph, &Options::default()).expect("plans");
    strand(&plan).expect("is written")
});

fn model() -> Model<'static> {
    Model::new(&A0).expect("is sound")
}

fn picture() -> Vec<f32> {
    Random(7).within(-1.0, 1.0, 3 * 224 * 224)
}

/// Kernels of the convolutions on `cpu`, without repetition.
fn conv_kernels(cpu: Cpu) -> Vec<&'static str> {
    let kernels = Kernels::new(cpu);
    let convs = model().steps().filter(|step| step.op.name() == "conv");
    let mut names: Vec<&str> = convs.map(|step| kernels.name(&step)).collect();
    assert_eq!(names.len(), 22);
    names.dedup();
    names
}

#[test]
fn feature_maps_need_two_neighbours_and_no_more() {
    assert_eq!(model().header().arena_base, (112 * 112 * 48 + 56 * 56 * 48) * 4);
}

#[test]
fn no_convolution_is_portable_where_a_simd_kernel_exists() {
    let cpu = Cpu::detect();
    for (feature, kernel) in
        [(Feature::Avx512, "conv_f32_14x32_avx512"), (Feature::Avx2, "conv_f32_6x16_avx2")]
    {
        // Without the features that are better still.
        let cpu = if feature == Feature::Avx2 { cpu.without(Feature::Avx512) } else { cpu };
        if cpu.has(Some(feature)) {
            assert_eq!(conv_kernels(cpu), [kernel]);
        } else {
            println!("not shown here: this CPU lacks {feature:?}");
        }
    }
    assert_eq!(conv_kernels(Cpu::PORTABLE), ["conv_f32_portable"]);
}

#[test]
fn every_mask_agrees() {
    let inputs = [picture()];
    let expected = run(&model(), Cpu::PORTABLE, &inputs).remove(0);
    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
    for (name, cpu) in cpus() {
        let found = run(&model(), cpu, &inputs).remove(0);
        let error = relative_error(&expected, &found);
        assert!(error <= 1e-5, "{name}: {error:e}");
    }
}

#[test]
fn threads_change_no_byte() {
    let inputs = [picture()];
    for (name, cpu) in cpus() {
        let alone = run(&model(), cpu, &inputs);
        for threads in [2, 3] {
            let pool = Pool::new(NonZeroUsize::new(threads).expect("not 0")).expect("starts");
            let length = model().arena_len(threads).expect("addressable");
            let mut arena = AlignedBytes::filled(0xff, length);
            let model = model();
            let session = Session::new(&model, &mut arena, Kernels::new(cpu)).expect("fits");
            let mut session = session.with_workers(&pool, threads).expect("fits");
            let shared = run_session(&mut session, &inputs);
            let bits = |outputs: &[Vec<f32>]| -> Vec<u32> {
                outputs.iter().flatten().map(|value| value.to_bits()).collect()
            };
            assert_eq!(bits(&alone), bits(&shared), "{name}, {threads} threads");
        }
    }
}
