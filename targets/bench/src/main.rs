//! Times the f32 convolution kernels on the layers of `RepVGG`-A0 at 224 x 224, one thread.
//!
//! Each kernel is checked against the portable one first, on the very operands that are then
//! timed. A run passes through all layers in order, each with weights of its own and the output of
//! the one before as input, so that caches hold what they hold in a network. Times are the least
//! of many runs: what the machine can do when nothing disturbs it.
#![deny(unsafe_code)]

mod peak;

use clap::Parser;
use std::time::Instant;
use unbraid_runtime::cpu::Cpu;
use unbraid_runtime::kernels::contract::{Contract, Kernel, Operands, select};
use unbraid_runtime::kernels::conv_f32::{ConvF32, scratch_len};
use unbraid_tests::conv_cases::{A0_LAYERS, ConvCase, ConvOperands};

/// Times the f32 convolution kernels on the layers of RepVGG-A0, one thread.
#[derive(Parser)]
struct Options {
    /// Passes through all layers.
    #[arg(long, default_value_t = 20)]
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

/// What the layers of a network share: two feature maps and the scratch of one worker.
struct Arena {
    x: Vec<f32>,
    y: Vec<f32>,
    scratch: Vec<f32>,
}

/// One kernel on all layers: the least milliseconds of each, and of a whole pass.
struct Timing {
    kernel: &'static str,
    layers: Vec<f64>,
    pass: f64,
}

fn main() {
    let options = Options::parse();
    let cpu = Cpu::detect();
    let layers = layers(&options);
    let mut arena = Arena::new(&layers, options.scratch_kib * 256);
    let kernels =
        ConvF32::LIST.iter().filter(|k| cpu.has(k.needs) && k.name.contains(&options.kernel));
    let timings: Vec<Timing> =
        kernels.map(|kernel| time(kernel, cpu, &layers, &mut arena, options.runs)).collect();
    let cases: Vec<ConvCase> = layers.iter().map(|layer| layer.case).collect();
    let peak = peak::gflops();
    if options.json {
        print_json(&timings, &cases, peak);
    } else {
        print_table(&timings, &cases, peak);
    }
}

/// Every chosen layer of A0 in order, those used several times as often as they are used.
fn layers(options: &Options) -> Vec<ConvOperands> {
    let uses = A0_LAYERS.iter().flat_map(|&(case, uses)| (0..uses).map(move |_| case));
    let chosen = uses.filter(|case| layer_name(case).contains(&options.layer)).enumerate();
    chosen.filter_map(|(seed, case)| ConvOperands::random(case, seed as u64)).collect()
}

impl Arena {
    /// Room for the largest layer, `scratch` floats or what one row needs.
    fn new(layers: &[ConvOperands], scratch: usize) -> Self {
        let x = layers.iter().map(|layer| layer.x.len()).max().unwrap_or(0);
        let y = layers.iter().filter_map(|layer| layer.output.elements()).max().unwrap_or(0);
        let row = layers.iter().map(|layer| layer.args().min_scratch()).max().unwrap_or(0);
        let map = vec![0.0; x.max(y)];
        Self { x: map.clone(), y: map, scratch: vec![f32::NAN; row.max(scratch)] }
    }

    /// Computes `layer` on whatever `x` holds and returns its output.
    fn run(&mut self, kernel: &Kernel<ConvF32>, cpu: Cpu, layer: &ConvOperands) -> &[f32] {
        let output = layer.output;
        let y = &mut self.y[..output.elements().expect("a valid case")];
        let all = scratch_len(&layer.case.window, layer.case.input, output, output.h);
        let scratch = all.expect("a valid case").min(self.scratch.len());
        let args = layer.args_on(&self.x[..layer.x.len()]);
        let ran = kernel.run(cpu, &args, 0..output.h as usize, y, &mut self.scratch[..scratch]);
        ran.expect("the buffers fit");
        y
    }

    /// The output becomes the next layer's input.
    fn turn(&mut self) {
        std::mem::swap(&mut self.x, &mut self.y);
    }
}

/// Panics unless `kernel` computes what the portable one does.
fn check(kernel: &Kernel<ConvF32>, cpu: Cpu, layer: &ConvOperands, arena: &mut Arena) {
    arena.x[..layer.x.len()].copy_from_slice(&layer.x);
    let expected = arena.run(select(Cpu::PORTABLE), Cpu::PORTABLE, layer).to_vec();
    let y = arena.run(kernel, cpu, layer);
    let same = y.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-4);
    assert!(same, "{} is wrong on {:?}", kernel.name, layer.case);
}

/// Checks every layer, then times `runs` passes through all.
fn time(
    kernel: &Kernel<ConvF32>,
    cpu: Cpu,
    layers: &[ConvOperands],
    arena: &mut Arena,
    runs: u32,
) -> Timing {
    layers.iter().for_each(|layer| check(kernel, cpu, layer, arena));
    let mut least = vec![f64::INFINITY; layers.len()];
    let mut least_pass = f64::INFINITY;
    for _ in 0..runs {
        let mut pass = 0.0;
        for (layer, least) in layers.iter().zip(&mut least) {
            let start = Instant::now();
            arena.run(kernel, cpu, layer);
            let ms = start.elapsed().as_secs_f64() * 1e3;
            arena.turn();
            pass += ms;
            *least = least.min(ms);
        }
        least_pass = least_pass.min(pass);
    }
    Timing { kernel: kernel.name, layers: least, pass: least_pass }
}

/// `224x224 3->48 s2`.
fn layer_name(case: &ConvCase) -> String {
    let (input, stride) = (case.input, case.window.stride.w);
    format!("{}x{} {}->{} s{stride}", input.h, input.w, input.c, case.out_c)
}

fn gflops(macs: u64, ms: f64) -> f64 {
    2e-6 * macs as f64 / ms
}

fn print_table(timings: &[Timing], cases: &[ConvCase], peak: Option<f64>) {
    println!("{:<22} {:<20} {:>9} {:>8} {:>6}", "kernel", "layer", "ms", "GFLOP/s", "peak");
    for timing in timings {
        let line = |layer: &str, macs: u64, ms: f64| {
            let speed = gflops(macs, ms);
            let share = peak.map_or(String::new(), |peak| format!("{:.1}%", 100.0 * speed / peak));
            println!("{:<22} {layer:<20} {ms:>9.4} {speed:>8.1} {share:>6}", timing.kernel);
        };
        for (case, &ms) in cases.iter().zip(&timing.layers) {
            line(&layer_name(case), case.macs(), ms);
        }
        line("one pass", cases.iter().map(ConvCase::macs).sum(), timing.pass);
    }
    if let Some(peak) = peak {
        println!("peak of one core, multiply-adds in registers: {peak:.1} GFLOP/s");
    }
}

fn print_json(timings: &[Timing], cases: &[ConvCase], peak: Option<f64>) {
    let of_layer = |(case, &ms): (&ConvCase, &f64)| {
        let speed = gflops(case.macs(), ms);
        let share = peak.map(|peak| speed / peak);
        serde_json::json!({
            "layer": layer_name(case), "ms": ms, "gflops": speed, "share_of_peak": share,
        })
    };
    let of_kernel = |timing: &Timing| {
        let layers: Vec<_> = cases.iter().zip(&timing.layers).map(of_layer).collect();
        serde_json::json!({ "kernel": timing.kernel, "pass_ms": timing.pass, "layers": layers })
    };
    let kernels: Vec<_> = timings.iter().map(of_kernel).collect();
    println!("{:#}", serde_json::json!({ "peak_gflops": peak, "kernels": kernels }));
}
