//! Times the convolution kernels, f32 or s8, on the layers of `RepVGG`-A0 at 224 x 224, one thread.
//!
//! Each kernel is checked against the portable one first, on the very operands that are then
//! timed. A run passes through all layers in order, each with weights of its own and the output of
//! the one before as input, so that caches hold what they hold in a network. Times are the least
//! of many runs: what the machine can do when nothing disturbs it.
#![deny(unsafe_code)]

mod peak;
mod s8;

use clap::Parser;
use std::time::Instant;
use unbraid_runtime::cpu::Cpu;
use unbraid_runtime::kernels::contract::{Contract, Kernel, Operands, select};
use unbraid_runtime::kernels::conv_f32::{ConvF32, scratch_len};
use unbraid_tests::conv_cases::{A0_LAYERS, ConvCase, ConvOperands};

/// Times the convolution kernels on the layers of RepVGG-A0, one thread.
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
    /// The s8 kernels instead of the f32 ones.
    #[arg(long)]
    s8: bool,
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
    let cases = cases(&options);
    let (timings, unit) = if options.s8 {
        (s8::timings(&options, &cases), Unit { name: "GMAC/s", per_mac: 1.0, peak: None })
    } else {
        let unit = Unit { name: "GFLOP/s", per_mac: 2.0, peak: peak::gflops() };
        (timings(&options, &cases), unit)
    };
    if options.json {
        print_json(&timings, &cases, &unit);
    } else {
        print_table(&timings, &cases, &unit);
    }
}

/// Every chosen layer of A0 in order, those used several times as often as they are used.
fn cases(options: &Options) -> Vec<ConvCase> {
    let uses = A0_LAYERS.iter().flat_map(|&(case, uses)| (0..uses).map(move |_| case));
    uses.filter(|case| layer_name(case).contains(&options.layer)).collect()
}

/// Checks and times every chosen f32 kernel.
fn timings(options: &Options, cases: &[ConvCase]) -> Vec<Timing> {
    let cpu = Cpu::detect();
    let operands = |(seed, &case)| ConvOperands::random(case, seed as u64);
    let layers: Vec<ConvOperands> = cases.iter().enumerate().filter_map(operands).collect();
    let mut arena = Arena::new(&layers, options.scratch_kib * 256);
    let kernels =
        ConvF32::LIST.iter().filter(|k| cpu.has(k.needs) && k.name.contains(&options.kernel));
    kernels
        .map(|kernel| {
            layers.iter().for_each(|layer| check(kernel, cpu, layer, &mut arena));
            let (layers, pass) = time(&layers, options.runs, |layer| {
                arena.run(kernel, cpu, layer);
                arena.turn();
            });
            Timing { kernel: kernel.name, layers, pass }
        })
        .collect()
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

/// Runs `runs` passes through all layers: the least milliseconds of each, and of a whole pass.
fn time<L>(layers: &[L], runs: u32, mut run: impl FnMut(&L)) -> (Vec<f64>, f64) {
    let mut least = vec![f64::INFINITY; layers.len()];
    let mut least_pass = f64::INFINITY;
    for _ in 0..runs {
        let mut pass = 0.0;
        for (layer, least) in layers.iter().zip(&mut least) {
            let start = Instant::now();
            run(layer);
            let ms = start.elapsed().as_secs_f64() * 1e3;
            pass += ms;
            *least = least.min(ms);
        }
        least_pass = least_pass.min(pass);
    }
    (least, least_pass)
}

/// `224x224 3->48 s2`.
fn layer_name(case: &ConvCase) -> String {
    let (input, stride) = (case.input, case.window.stride.w);
    format!("{}x{} {}->{} s{stride}", input.h, input.w, input.c, case.out_c)
}

/// What speed is counted in.
struct Unit {
    name: &'static str,
    /// Units of 1e9 a second for a multiply-accumulate a nanosecond.
    per_mac: f64,
    /// What one core can do, if that is known.
    peak: Option<f64>,
}

impl Unit {
    fn speed(&self, macs: u64, ms: f64) -> f64 {
        self.per_mac * 1e-6 * macs as f64 / ms
    }
}

fn print_table(timings: &[Timing], cases: &[ConvCase], unit: &Unit) {
    let peak = unit.peak;
    println!("{:<22} {:<20} {:>9} {:>8} {:>6}", "kernel", "layer", "ms", unit.name, "peak");
    for timing in timings {
        let line = |layer: &str, macs: u64, ms: f64| {
            let speed = unit.speed(macs, ms);
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

fn print_json(timings: &[Timing], cases: &[ConvCase], unit: &Unit) {
    let of_layer = |(case, &ms): (&ConvCase, &f64)| {
        let speed = unit.speed(case.macs(), ms);
        let share = unit.peak.map(|peak| speed / peak);
        serde_json::json!({
            "layer": layer_name(case), "ms": ms, "speed": speed, "share_of_peak": share,
        })
    };
    let of_kernel = |timing: &Timing| {
        let layers: Vec<_> = cases.iter().zip(&timing.layers).map(of_layer).collect();
        serde_json::json!({ "kernel": timing.kernel, "pass_ms": timing.pass, "layers": layers })
    };
    let kernels: Vec<_> = timings.iter().map(of_kernel).collect();
    println!(
        "{:#}",
        serde_json::json!({ "unit": unit.name, "peak": unit.peak, "kernels": kernels })
    );
}
