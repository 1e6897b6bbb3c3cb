//! RepVGG-A0 at 224 x 224 on 8-bit integers: its memory and size, and that neither threads nor kernels change a byte.
#![forbid(unsafe_code)]

use std::sync::LazyLock;
use unbraid_converter::graph::{Graph, Op};
use unbraid_converter::plan::{Plan, Target};
use unbraid_converter::write::strand;
use unbraid_runtime::kernels::contract::{first, select};
use unbraid_runtime::kernels::conv_s8::{ConvolutionS8, WINOGRAD};
use unbraid_runtime::step::{self, Step};
use unbraid_runtime::{Cpu, Kernels};
use unbraid_tests::execute::cpus;
use unbraid_tests::quantized::{observe, pictures, planned, quantized_to, repvgg_a0};

/// Everything is on integers but what goes in and what comes out. Ranges are such that values neither
/// vanish nor saturate: those of random weights stay near 1.
static A0: LazyLock<Graph> = LazyLock::new(|| {
    let graph = repvgg_a0(224);
    let input = graph.inputs[0];
    quantized_to(graph, 8, &[], |id| if id == input { (-1.0, 1.0) } else { (0.0, 2.5) })
});

static PLAN: LazyLock<Plan> = LazyLock::new(|| planned(&A0, Target::default()));

#[test]
fn feature_maps_need_two_neighbours_and_the_file_a_byte_a_weight() {
    // Raw f32 pixels and their integers; as much as the largest pair of maps.
    assert_eq!(PLAN.arena_base, 752_640);
    let bytes = strand(&PLAN).expect("is written").len();
    assert!(bytes <= 8_600_000, "{bytes}");
    assert_eq!(PLAN.macs, 1_361_451_008);
}

#[test]
fn no_step_is_there_for_conversions_but_the_first() {
    let ops: Vec<&str> = PLAN.steps.iter().map(|step| step.op.name()).collect();
    let convs = vec!["conv_s8"; 22];
    assert_eq!(ops, [&["quantize"], &convs[..], &["global_average_pool", "conv_s8"]].concat());
    let nodes = A0.nodes.iter().filter(|node| !matches!(node.op, Op::Reshape)).count();
    assert_eq!(PLAN.steps.len(), nodes + 1);
}

/// Kernels of all steps on `cpu`, without repetition.
fn kernels(cpu: Cpu) -> Vec<&'static str> {
    let kernels = Kernels::new(cpu);
    let mut names: Vec<&str> = PLAN.steps.iter().map(|step| kernels.name(step)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn no_layer_is_portable_where_a_simd_kernel_exists() {
    for (name, cpu) in cpus() {
        let names = kernels(cpu);
        println!("{name}: {names:?}");
        let portable = names.iter().filter(|name| name.ends_with("portable")).count();
        let expected = if cpu == Cpu::PORTABLE { names.len() } else { 0 };
        assert_eq!(portable, expected, "{name}: {names:?}");
    }
}

#[test]
fn every_layer_of_stride_1_runs_as_winograd_where_the_cpu_can() {
    let stride = |step: &Step| match &step.op {
        step::Op::ConvS8(conv) if conv.window.kernel.w == 3 => conv.window.stride.w,
        _ => 0,
    };
    let names = |cpu: Cpu, wanted: u32| -> Vec<&str> {
        let steps = PLAN.steps.iter().filter(|step| stride(step) == wanted);
        steps.map(|step| Kernels::new(cpu).name(step)).collect()
    };
    let cpu = Cpu::detect();
    let direct = select::<ConvolutionS8>(cpu).name;
    let winograd = first(WINOGRAD, cpu).map_or(direct, |kernel| kernel.name);
    assert_eq!(names(cpu, 1), [winograd; 17]);
    assert_eq!(names(cpu, 2), [direct; 5]);
    assert_eq!(names(Cpu::PORTABLE, 1), ["conv_s8_portable"; 17]);
}

#[test]
fn neither_kernels_nor_threads_change_a_byte() {
    let inputs = pictures(&A0, 7);
    let expected = observe(&PLAN, Cpu::detect(), 1, &inputs);
    for (name, cpu) in cpus() {
        for workers in [1, 2, 3] {
            let found = observe(&PLAN, cpu, workers, &inputs);
            let same =
                found.iter().zip(&expected).all(|(found, expected)| found.same_bytes(expected));
            assert!(same, "{name}, {workers} workers");
        }
    }
    let logits = &expected.last().expect("a step").reals;
    assert!(logits.iter().any(|&v| v != logits[0]) && logits.iter().all(|v| v.is_finite()));
}
