//! `unbraid bench`: how long an inference takes, and where the time goes.

use super::failure::Failure;
use super::sample::Sample;
use super::strand::{Machine, Strand};
use super::table::Table;
use super::tensors;
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use unbraid_runtime::cpu::{FEATURES, Feature};
use unbraid_runtime::model::macs;
use unbraid_runtime::step::Step;
use unbraid_runtime::{Cpu, Observer, Session, Values};

/// What `unbraid bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to measure.
    #[arg(value_name = "FILE.strand")]
    file: PathBuf,
    /// Threads that share each step.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// Inferences that are measured; as many again are observed for the times of the steps.
    #[arg(long, value_name = "N", default_value = "50")]
    runs: NonZeroUsize,
    /// Inferences before, not measured.
    #[arg(long, value_name = "N", default_value_t = 5)]
    warmup: usize,
    /// CPU features to do without.
    #[arg(long, value_name = "avx512,…", value_delimiter = ',', value_parser = feature)]
    mask: Vec<Feature>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn feature(name: &str) -> Result<Feature, String> {
    let found = FEATURES.iter().find(|(known, _)| *known == name);
    found.map(|&(_, feature)| feature).ok_or_else(|| {
        let names: Vec<&str> = FEATURES.iter().map(|&(name, _)| name).collect();
        format!("no such CPU feature; there are: {}", names.join(", "))
    })
}

/// Measures the file on random input, written before each inference and outside its time.
pub(crate) fn bench(args: &Args) -> Result<String, Failure> {
    let mut strand = Strand::open(&args.file)?;
    let model = strand.model()?;
    let cpu = args.mask.iter().fold(Cpu::detect(), |cpu, &feature| cpu.without(feature));
    let mut machine = Machine::new(args.threads, cpu)?;
    let mut session = machine.session(&model)?;
    let inputs = tensors::random(&model, 1);
    let measured = measure(&mut session, &inputs, args);
    let names: Vec<&str> = model.names().collect();
    Ok(if args.json {
        format!("{:#}\n", measured.json())
    } else {
        measured.text(&names, args.threads)
    })
}

fn measure(session: &mut Session<'_>, inputs: &[Vec<f32>], args: &Args) -> Measured {
    for _ in 0..args.warmup {
        tensors::feed(session, inputs);
        session.run();
    }
    let mut runs = Vec::with_capacity(args.runs.get());
    for _ in 0..args.runs.get() {
        tensors::feed(session, inputs);
        let begin = Instant::now();
        session.run();
        runs.push(begin.elapsed());
    }
    let mut watch = Watch { begin: Instant::now(), steps: Vec::new() };
    for _ in 0..args.runs.get() {
        tensors::feed(session, inputs);
        session.run_observed(&mut watch);
    }
    Measured { runs: Sample::new(runs), steps: watch.steps }
}

/// Takes the time of every step.
struct Watch {
    begin: Instant,
    steps: Vec<Observed>,
}

struct Observed {
    op: &'static str,
    kernel: &'static str,
    macs: u64,
    times: Vec<Duration>,
}

impl Observer for Watch {
    fn begin(&mut self, index: usize, step: &Step) {
        if index == self.steps.len() {
            let (op, macs) = (step.op.name(), macs(step).unwrap_or(0));
            self.steps.push(Observed { op, kernel: "", macs, times: Vec::new() });
        }
        self.begin = Instant::now();
    }

    fn end(&mut self, index: usize, _: &Step, kernel: &'static str, _: Values<'_>) {
        let time = self.begin.elapsed();
        let step = &mut self.steps[index];
        step.kernel = kernel;
        step.times.push(time);
    }
}

/// What the inferences took, and the median of each step.
struct Measured {
    runs: Sample,
    steps: Vec<Observed>,
}

impl Observed {
    fn median_ms(&self) -> f64 {
        Sample::new(self.times.clone()).median_ms()
    }

    /// Two operations a multiply-accumulate.
    fn gflops(&self) -> f64 {
        self.macs as f64 * 2e-6 / self.median_ms()
    }
}

impl Measured {
    fn json(&self) -> Value {
        let step = |step: &Observed| {
            json!({
                "op": step.op,
                "kernel": step.kernel,
                "ms": step.median_ms(),
                "macs": step.macs,
            })
        };
        json!({
            "median_ms": self.runs.median_ms(),
            "min_ms": self.runs.min_ms(),
            "p90_ms": self.runs.percentile_ms(90),
            "p99_ms": self.runs.percentile_ms(99),
            "mean_ms": self.runs.mean_ms(),
            "runs": self.runs.len(),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }

    fn text(&self, names: &[&str], threads: NonZeroUsize) -> String {
        let mut table = Table::new(["step", "op", "kernel", "ms", "share", "GFLOP/s"]);
        let total: f64 = self.steps.iter().map(Observed::median_ms).sum();
        for (index, step) in self.steps.iter().enumerate() {
            let name = names.get(index).map_or_else(|| index.to_string(), |&n| n.to_owned());
            let ms = step.median_ms();
            let speed = if step.macs > 0 { format!("{:.1}", step.gflops()) } else { String::new() };
            table.row([
                name,
                step.op.to_owned(),
                step.kernel.to_owned(),
                format!("{ms:.3}"),
                format!("{:.1} %", 100.0 * ms / total),
                speed,
            ]);
        }
        let plural = if threads.get() == 1 { "" } else { "s" };
        format!(
            "{table}\nmedian {:.3} ms  (min {:.3}, p90 {:.3}, p99 {:.3}, mean {:.3}; {} runs, {threads} thread{plural})\n",
            self.runs.median_ms(),
            self.runs.min_ms(),
            self.runs.percentile_ms(90),
            self.runs.percentile_ms(99),
            self.runs.mean_ms(),
            self.runs.len(),
        )
    }
}
