//! Networks on every sample, several samples at once.

use super::classes::Choice;
use super::likeness;
use crate::command::failure::{During, Failure};
use crate::command::strand::Machine;
use crate::command::{progress, tensors};
use indicatif::ProgressBar;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use unbraid_converter::data::{DataError, Dataset, Survey};
use unbraid_runtime::{Cpu, Model, Port, Session};

/// What is run on what.
#[derive(Clone, Copy)]
pub(super) struct Task<'t> {
    /// Networks with the same inputs and outputs.
    pub(super) models: &'t [Model<'t>],
    pub(super) samples: &'t Dataset,
    pub(super) reference: Option<&'t Reference>,
}

/// Pictures that the first output is to be like.
pub(super) struct Reference {
    pub(super) pictures: Dataset,
    /// The value of white.
    pub(super) peak: f64,
}

/// What became of one sample.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The right class.
    pub(super) label: Option<usize>,
    /// For each network.
    pub(super) verdicts: Vec<Verdict>,
    /// Squares of the first network's outputs, and of what the second one's differ from them by.
    pub(super) signal: f64,
    pub(super) noise: f64,
}

/// What one network made of one sample.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// A class.
    Class(Choice),
    /// A picture: the peak signal-to-noise ratio beside the reference, as mean square error and peak.
    Picture { mean_square: f64, peak: f64 },
}

/// What became of every sample, in their order, and what is doubtful about them.
///
/// Each thread has sessions of its own and takes the next sample there is: results do not depend on how
/// many there are.
pub(super) fn all(
    task: &Task<'_>,
    threads: NonZeroUsize,
    path: &Path,
) -> Result<(Vec<Seen>, Survey), Failure> {
    let count = task.samples.len();
    let bar = progress::bar("evaluating");
    bar.set_length(count as u64);
    let shared = Shared {
        task,
        next: AtomicUsize::new(0),
        end: AtomicUsize::new(count),
        survey: Mutex::default(),
        bar,
    };
    let workers = threads.get().min(count);
    let parts: Vec<Part> = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(|| shared.work())).collect();
        handles.into_iter().map(|handle| handle.join().expect("no panic")).collect()
    });
    let mut seen = Vec::with_capacity(count);
    for part in parts {
        seen.extend(part?);
    }
    seen.sort_by_key(|(index, _)| *index);
    // Of several bad samples the first, whoever met it.
    let seen = seen.into_iter().map(|(_, seen)| seen).collect::<Result<_, _>>();
    let survey = shared.survey.into_inner().unwrap_or_default();
    Ok((seen.during("use the data in", path)?, survey))
}

/// What one thread made of the samples that it took.
type Part = Result<Vec<(usize, Result<Seen, DataError>)>, Failure>;

/// What threads share.
struct Shared<'t> {
    task: &'t Task<'t>,
    /// The next sample.
    next: AtomicUsize,
    /// No sample from here on counts any more.
    end: AtomicUsize,
    survey: Mutex<Survey>,
    bar: ProgressBar,
}

impl Shared<'_> {
    fn work(&self) -> Part {
        let new = || Machine::new(NonZeroUsize::MIN, Cpu::detect());
        let mut machines: Vec<Machine> =
            self.task.models.iter().map(|_| new()).collect::<Result<_, _>>()?;
        let pairs = machines.iter_mut().zip(self.task.models);
        let mut sessions: Vec<Session<'_>> =
            pairs.map(|(machine, model)| machine.session(model)).collect::<Result<_, _>>()?;
        let mut part = Vec::new();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.end.load(Ordering::Relaxed) {
                return Ok(part);
            }
            let seen = self.see(&mut sessions, index);
            if seen.is_err() {
                self.end.fetch_min(index, Ordering::Relaxed);
            }
            part.push((index, seen));
            self.bar.inc(1);
        }
    }

    fn see(&self, sessions: &mut [Session<'_>], index: usize) -> Result<Seen, DataError> {
        let sample = self.task.samples.get(index)?;
        if let Ok(mut survey) = self.survey.lock() {
            survey.add(&sample.inputs, self.task.samples.ports());
        }
        let reference =
            self.task.reference.map(|reference| reference.picture(index)).transpose()?;
        let mut verdicts = Vec::with_capacity(sessions.len());
        let mut results = Vec::with_capacity(sessions.len());
        for session in sessions {
            let outputs = run(session, &sample.inputs);
            verdicts.push(match &reference {
                None => Verdict::Class(Choice::of(&outputs[0], sample.label)),
                Some((picture, peak)) => Verdict::Picture {
                    mean_square: likeness::mean_square(&outputs[0], picture, *peak),
                    peak: *peak,
                },
            });
            results.push(outputs);
        }
        let [signal, noise] = match &*results {
            [exact, other, ..] => likeness::signal_and_noise(exact, other),
            _ => [0.0; 2],
        };
        Ok(Seen { label: sample.label, verdicts, signal, noise })
    }
}

impl Reference {
    /// The picture of a sample in the order of the output, and the value of white.
    fn picture(&self, index: usize) -> Result<(Vec<f32>, f64), DataError> {
        Ok((self.pictures.get(index)?.inputs.swap_remove(0), self.peak))
    }
}

/// Every output for inputs in ONNX's order, in ONNX's order.
fn run(session: &mut Session<'_>, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let model = *session.model();
    let ports: Vec<Port<'_>> = model.inputs().collect();
    let pairs = inputs.iter().zip(&ports);
    let inputs: Vec<Vec<f32>> =
        pairs.map(|(values, port)| tensors::to_nhwc(values, port)).collect();
    tensors::feed(session, &inputs);
    session.run();
    let outputs = model.outputs().enumerate();
    outputs.map(|(k, port)| tensors::to_onnx(&tensors::result(session, k), &port)).collect()
}
