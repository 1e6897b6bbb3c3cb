//! `unbraid`: the command line.
//!
//! Results go to standard output, progress, warnings and errors to standard error. Exit codes:
//! 0 done, 1 the model or the data is wrong, 2 wrong usage. Each command is one file under
//! `command/`; conversion, which is what this program is for, is the function [`convert()`].
#![forbid(unsafe_code)]

mod command {
    pub(crate) mod bench;
    pub(crate) mod compare;
    pub(crate) mod convert;
    pub(crate) mod data;
    pub(crate) mod detect;
    pub(crate) mod eval;
    pub(crate) mod failure;
    pub(crate) mod inspect;
    pub(crate) mod int8;
    pub(crate) mod labels;
    pub(crate) mod network;
    pub(crate) mod progress;
    pub(crate) mod run;
    pub(crate) mod sample;
    pub(crate) mod strand;
    pub(crate) mod table;
    pub(crate) mod tensors;
    pub(crate) mod verify;
}

use clap::{Parser, Subcommand};
use command::failure::{During, Failure};
use command::{bench, compare, convert, eval, inspect, run, verify};
use miette::MietteHandlerOpts;
use std::io::{self, Write};
use std::process::ExitCode;
use unbraid_converter::report::{GraphFacts, Report};
use unbraid_converter::{import, plan};

/// Turns trained multi-branch vision models into plain networks, proves it, and runs them.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fuse an ONNX model and write it as a .strand file.
    Convert(convert::Args),
    /// Say what a .strand file holds and needs.
    Inspect(inspect::Args),
    /// Run a .strand file on a picture or tensor.
    Run(run::Args),
    /// Measure the latency of a .strand file and of its steps.
    Bench(bench::Args),
    /// Measure how right a network is on pictures: accuracy, or likeness to reference pictures.
    Eval(eval::Args),
    /// Hold a .strand file against the ONNX model that it was made from.
    Compare(compare::Args),
    /// Check a .strand file: structure and every checksum.
    Verify(verify::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Convert(args) => convert(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Eval(args) => eval::eval(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Verify(args) => verify::verify(&args),
    };
    match outcome {
        Ok(text) => print(&text),
        Err(failure) => report(failure),
    }
}

/// The flow: each stage removes one kind of question for good.
fn convert(args: &convert::Args) -> Result<String, Failure> {
    args.check()?;
    let graph = import::load(&args.model, &args.network.import())?;
    let before = GraphFacts::new(&graph);
    let mut fused = args.network.fuse(graph);
    let pruned = args.network.prune(&mut fused.graph);
    let quantized = args.network.quantize(&mut fused.graph, &args.input.preprocess())?;
    let mut plan = plan::plan(&fused.graph, &args.plan(&fused)).during("plan", &args.model)?;
    plan.head = args.head(&plan).during("describe the detector in", &args.model)?;
    plan.labels = args.labels(&plan)?;
    let strand = args.strand(&plan)?;
    let report = Report::new(before, &fused, &plan, strand.len()).with_pruning(pruned);
    let report = report.with_quantization(quantized);
    args.save(&fused.graph, &report, &strand)
}

/// Results on standard output. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            report(Failure::new(format!("cannot write the result to standard output: {error}")))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn report(failure: Failure) -> ExitCode {
    let code = failure.exit_code();
    // Not wrapped: names of nodes and files stay in one piece, for people who search for them.
    let style = |_: &_| Box::new(MietteHandlerOpts::new().wrap_lines(false).build()) as Box<_>;
    let _ = miette::set_hook(Box::new(style));
    eprintln!("{:?}", miette::Report::new(failure));
    ExitCode::from(code)
}
