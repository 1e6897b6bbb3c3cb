//! `unbraid run`: an inference on each picture or tensor.

use super::detect;
use super::failure::Failure;
use super::labels;
use super::strand::{Machine, Strand};
use super::table::Table;
use super::tensors::{self, ResizeFlag};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use unbraid_runtime::{Cpu, Port};

/// Classes that are shown where `--top` says nothing.
const TOP: usize = 5;

/// What `unbraid run` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to run.
    #[arg(value_name = "FILE.strand")]
    file: PathBuf,
    /// What goes in: a .npy in the axis order and shape of the ONNX input (several of that shape along
    /// axis 0 go in one after the other), or a PNG or JPEG; with NAME= in front where the network
    /// has several inputs.
    #[arg(long, value_name = "X.npy|IMAGE", required = true)]
    input: Vec<String>,
    /// Where a result goes, as .npy in the axis order and shape of the ONNX output (those of several
    /// inputs along axis 0); with NAME= in front where the network has several outputs.
    #[arg(long, value_name = "[NAME=]Y.npy")]
    output: Vec<String>,
    /// How a picture of another size is brought to the size of the input.
    #[arg(long, value_enum, default_value_t = ResizeFlag::Stretch)]
    resize: ResizeFlag,
    /// Threads that share each step.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// How many classes to show, best first [default: 5, if the first output has one value a class].
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    #[command(flatten)]
    detect: detect::Args,
    /// Names of the classes, one a line [default: those in the file, if it keeps any].
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the network on each of the inputs.
pub(crate) fn run(args: &Args) -> Result<String, Failure> {
    let mut strand = Strand::open(&args.file)?;
    let model = strand.model()?;
    let labels = labels::of(args.labels.as_deref(), &model)?;
    if args.detect.detect {
        let mut machine = Machine::new(args.threads, Cpu::detect())?;
        let mut found = detect::detect(&args.detect, &args.input, &model, &mut machine)?;
        found.draw(&labels)?;
        return Ok(if args.json { found.json(&labels) } else { found.text(&labels) });
    }
    let (inputs, outputs): (Vec<_>, Vec<_>) = (model.inputs().collect(), model.outputs().collect());
    let files = tensors::files_of("--input", &args.input, &inputs)?;
    let targets = tensors::files_of("--output", &args.output, &outputs)?;
    let sources = tensors::one_each("--input", &files, &inputs)?;

    let read = |(path, port): (&&Path, &Port<'_>)| tensors::read(path, port, args.resize.into());
    let values: Vec<_> = sources.iter().zip(&inputs).map(read).collect::<Result<_, _>>()?;

    let mut machine = Machine::new(args.threads, Cpu::detect())?;
    let mut session = machine.session(&model)?;
    let mut runs: Vec<Vec<Vec<f32>>> = Vec::new();
    for run in 0..runs_of(&values, &inputs)? {
        let sample: Vec<&[f32]> = values.iter().map(|v| &v[run % v.len()][..]).collect();
        tensors::feed(&mut session, &sample);
        session.run();
        let result = |index| tensors::result(&session, index);
        runs.push((0..outputs.len()).map(result).collect());
    }

    for (index, (paths, port)) in targets.iter().zip(&outputs).enumerate() {
        let results: Vec<&[f32]> = runs.iter().map(|run| &run[index][..]).collect();
        for path in paths {
            tensors::save(path, port, &results)?;
        }
    }
    let mut answers = Vec::with_capacity(runs.len());
    for results in &runs {
        let top = best(args.top, &outputs[0], &results[0])?;
        answers.push(Answer { outputs: &outputs, results, top, labels: &labels });
    }
    Ok(if args.json { format!("{:#}\n", json_of(&answers)) } else { text_of(&answers) })
}

/// How often the network runs: once for each value of its inputs, of which an input may have one.
fn runs_of(values: &[Vec<Vec<f32>>], ports: &[Port<'_>]) -> Result<usize, Failure> {
    let runs = values.iter().map(Vec::len).max().unwrap_or(1);
    match values.iter().position(|one| one.len() != 1 && one.len() != runs) {
        None => Ok(runs),
        Some(at) => {
            let (name, found) = (ports[at].name, values[at].len());
            Err(Failure::new(format!("input `{name}` has {found} values, another has {runs}"))
                .help("give each input as many values, or one for all"))
        }
    }
}

/// One answer as it is, several as a list.
fn json_of(answers: &[Answer<'_>]) -> Value {
    match answers {
        [one] => one.json(),
        several => json!({ "runs": several.iter().map(Answer::json).collect::<Vec<_>>() }),
    }
}

fn text_of(answers: &[Answer<'_>]) -> String {
    match answers {
        [one] => one.text(),
        several => {
            let numbered = several.iter().enumerate();
            numbered.map(|(k, answer)| format!("run {k}\n{}\n", answer.text())).collect()
        }
    }
}

/// The classes with the highest scores, best first; of equal ones the first.
fn best(top: Option<usize>, port: &Port<'_>, scores: &[f32]) -> Result<Vec<(usize, f32)>, Failure> {
    let dims = port.operand.dims;
    let count = match top {
        Some(count) if (dims.h, dims.w) == (1, 1) => count,
        None if (dims.h, dims.w) == (1, 1) => TOP,
        None => 0,
        Some(_) => {
            return Err(Failure::usage(format!(
                "--top ranks classes, but output `{}` is a picture of shape {:?}; use --output",
                port.name,
                port.axes()
            )));
        }
    };
    let mut ranked: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(count);
    Ok(ranked)
}

struct Answer<'a> {
    outputs: &'a [Port<'a>],
    results: &'a [Vec<f32>],
    top: Vec<(usize, f32)>,
    labels: &'a [String],
}

impl Answer<'_> {
    fn label(&self, class: usize) -> Option<&str> {
        self.labels.get(class).map(String::as_str)
    }

    fn json(&self) -> Value {
        let outputs = self.outputs.iter().zip(self.results).map(|(port, values)| {
            let Range { min, mean, max } = Range::of(values);
            json!({ "name": port.name, "shape": port.axes(), "min": min, "mean": mean, "max": max })
        });
        let top = self.top.iter().map(
            |&(class, score)| json!({ "class": class, "label": self.label(class), "score": score }),
        );
        json!({ "outputs": outputs.collect::<Vec<_>>(), "top": top.collect::<Vec<_>>() })
    }

    fn text(&self) -> String {
        let mut outputs = Table::new(["output", "shape", "min", "mean", "max"]);
        for (port, values) in self.outputs.iter().zip(self.results) {
            let Range { min, mean, max } = Range::of(values);
            let [min, mean, max] = [min, mean, max].map(|v| format!("{v:.4}"));
            outputs.row([port.name.to_owned(), format!("{:?}", port.axes()), min, mean, max]);
        }
        if self.top.is_empty() {
            return outputs.to_string();
        }
        let mut classes = Table::new(["class", "number", "score"]);
        for &(class, score) in &self.top {
            let label = self.label(class).unwrap_or("").to_owned();
            classes.row([label, class.to_string(), format!("{score:.4}")]);
        }
        format!("{outputs}\n{classes}")
    }
}

/// What one line can say about many values.
struct Range {
    min: f32,
    mean: f32,
    max: f32,
}

impl Range {
    fn of(values: &[f32]) -> Self {
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        Self {
            min: values.iter().copied().fold(f32::INFINITY, f32::min),
            mean: (sum / values.len() as f64) as f32,
            max: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbraid_runtime::dims::Dims;
    use unbraid_runtime::model::port::MAX_RANK;
    use unbraid_runtime::step::Operand;

    fn port(dims: Dims) -> Port<'static> {
        let operand = Operand { dims, ..Operand::default() };
        Port { name: "y", is_output: true, operand, rank: 0, shape: [0; MAX_RANK] }
    }

    #[test]
    fn the_best_classes_come_first_and_ties_keep_their_order() {
        let scores = [0.5, 2.0, -1.0, 2.0];
        let classes = port(Dims::vector(4));
        let order = |top| best(top, &classes, &scores).unwrap().iter().map(|c| c.0).collect();
        let all: Vec<usize> = order(None);
        assert_eq!(all, [1, 3, 0, 2]);
        let two: Vec<usize> = order(Some(2));
        assert_eq!(two, [1, 3]);
    }

    #[test]
    fn a_picture_has_no_classes_unless_asked_for_which_is_refused() {
        let picture = port(Dims { h: 2, w: 1, c: 2 });
        assert!(best(None, &picture, &[0.0; 4]).unwrap().is_empty());
        assert_eq!(best(Some(1), &picture, &[0.0; 4]).unwrap_err().exit_code(), 2);
    }
}
