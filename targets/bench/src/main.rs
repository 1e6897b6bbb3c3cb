//! Times the f32 convolution kernels on the layers of `RepVGG`-A0 at 224 x 224, one thread.
//!
//! Each kernel is checked against the portable one first, on the very operands that are then
//! timed. A time is the least of many runs: what the machine can do when nothing disturbs it.
#![deny(unsafe_code)]

mod peak;

use clap::Parser;
use std::time::Instant;
use unbraid_runtime::cpu::Cpu;
use unbraid_runtime::kernels::conv_f32::{Kernel, LIST, scratch_len, select};
use unbraid_tests::conv_cases::{A0_LAYERS, ConvCase, ConvOperands};

/// Times the f32 convolution kernels on the layers of RepVGG-A0, one thread.
#[derive(Parser)]
struct Options {
    /// Runs of each kernel on each layer.
    #[arg(long, default_value_t = 30)]
    runs: u32,
    /// Scratch of a kernel in KiB; at least one row is always staged.
    #[arg(long, default_value_t = 256)]
    scratch_kib: usize,
    /// Only kernels whose name contains this.
    #[arg(long, default_value = "")]
    kernel: String,
    /// Only layers whose name (`28x28 96->96 s1`) contains this.
    #[arg(long, default_value = "")]
    layer: String,
    /// One JSON object on standard output instead of a table.
    #[arg(long)]
    json: bool,
}

/// One kernel on one layer.
struct Timing {
    kernel: &'static str,
    case: ConvCase,
    uses: u32,
    ms: f64,
}

impl Timing {
    fn gflops(&self) -> f64 {
        2e-6 * self.case.macs() as f64 / self.ms
    }
}

fn main() {
    let options = Options::parse();
    let cpu = Cpu::detect();
    let kernels = LIST.iter().filter(|k| cpu.has(k.needs) && k.name.contains(&options.kernel));
    let timings: Vec<Timing> = kernels
        .flat_map(|kernel| A0_LAYERS.iter().map(move |layer| (kernel, layer)))
        .filter(|(_, (case, _))| layer_name(case).contains(&options.layer))
        .map(|(kernel, &(case, uses))| Timing {
            kernel: kernel.name,
            case,
            uses,
            ms: time(kernel, cpu, case, &options),
        })
        .collect();
    let peak = peak::gflops();
    if options.json { print_json(&timings, peak) } else { print_table(&timings, peak) }
}

/// Checks, then times; milliseconds of the fastest run.
fn time(kernel: &Kernel, cpu: Cpu, case: ConvCase, options: &Options) -> f64 {
    let operands = ConvOperands::random(case, 1).expect("layers are valid cases");
    let (args, output) = (operands.args(), operands.output);
    let rows = (1..=output.h).rev().find(|&rows| {
        scratch_len(&case.window, case.input, output, rows)
            .is_some_and(|n| n <= options.scratch_kib * 256)
    });
    let len = scratch_len(&case.window, case.input, output, rows.unwrap_or(1));
    let mut scratch = vec![f32::NAN; len.expect("layers are valid cases")];
    let mut y = vec![f32::NAN; args.output_row() * output.h as usize];
    let mut run = |kernel: &Kernel, cpu, y: &mut [f32]| {
        kernel.run(cpu, &args, 0..output.h, y, &mut scratch).expect("the operands fit");
    };
    let mut expected = y.clone();
    run(select(Cpu::PORTABLE), Cpu::PORTABLE, &mut expected);
    run(kernel, cpu, &mut y);
    let same = y.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-4);
    assert!(same, "{} is wrong on {case:?}", kernel.name);
    let runs = (0..options.runs).map(|_| {
        let start = Instant::now();
        run(kernel, cpu, &mut y);
        start.elapsed().as_secs_f64() * 1e3
    });
    runs.fold(f64::INFINITY, f64::min)
}

/// `224x224 3->48 s2`.
fn layer_name(case: &ConvCase) -> String {
    let (input, stride) = (case.input, case.window.stride.w);
    format!("{}x{} {}->{} s{stride}", input.h, input.w, input.c, case.out_c)
}

fn print_table(timings: &[Timing], peak: Option<f64>) {
    println!(
        "{:<24} {:<20} {:>4} {:>9} {:>8} {:>6}",
        "kernel", "layer", "uses", "ms", "GFLOP/s", "peak"
    );
    for of_kernel in timings.chunk_by(|a, b| a.kernel == b.kernel) {
        for t in of_kernel {
            let (layer, gflops) = (layer_name(&t.case), t.gflops());
            print_line(t.kernel, &layer, t.uses, t.ms, gflops, peak);
        }
        let ms: f64 = of_kernel.iter().map(|t| t.ms * f64::from(t.uses)).sum();
        let macs: f64 = of_kernel.iter().map(|t| t.case.macs() as f64 * f64::from(t.uses)).sum();
        let uses = of_kernel.iter().map(|t| t.uses).sum();
        print_line(of_kernel[0].kernel, "all of A0", uses, ms, 2e-6 * macs / ms, peak);
    }
    if let Some(peak) = peak {
        println!("peak of one core, multiply-adds in registers: {peak:.1} GFLOP/s");
    }
}

fn print_line(kernel: &str, layer: &str, uses: u32, ms: f64, gflops: f64, peak: Option<f64>) {
    let share = peak.map_or(String::new(), |peak| format!("{:.1}%", 100.0 * gflops / peak));
    println!("{kernel:<24} {layer:<20} {uses:>4} {ms:>9.4} {gflops:>8.1} {share:>6}");
}

fn print_json(timings: &[Timing], peak: Option<f64>) {
    let layers: Vec<_> = timings
        .iter()
        .map(|t| {
            serde_json::json!({
                "kernel": t.kernel, "layer": layer_name(&t.case), "uses": t.uses, "ms": t.ms,
                "gflops": t.gflops(), "share_of_peak": peak.map(|peak| t.gflops() / peak),
            })
        })
        .collect();
    println!("{:#}", serde_json::json!({ "peak_gflops": peak, "layers": layers }));
}
