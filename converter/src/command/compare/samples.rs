//! What the file and the model are compared on: data, files named one by one, or random values.

use super::Args;
use crate::command::data;
use crate::command::failure::{During, Failure};
use crate::command::tensors;
use std::path::Path;
use unbraid_converter::data::{DataError, Dataset, Options, Port};
use unbraid_runtime::Model;

/// Random samples where nothing else is given.
const RANDOM: u64 = 2;
/// Samples of `--data` where `--limit` says nothing: the interpreter is slow.
const LIMIT: usize = 32;

/// Samples in ONNX's order.
pub(super) enum Samples {
    /// In memory.
    Given(Vec<Vec<Vec<f32>>>),
    /// On disk.
    Data(Box<Dataset>),
}

impl Samples {
    pub(super) fn new(args: &Args, model: &Model<'_>) -> Result<Self, Failure> {
        if let Some(path) = &args.data {
            let limit = Some(args.limit.map_or(LIMIT, std::num::NonZeroUsize::get));
            let preprocess = args.pixels.preprocess();
            // By lot: files come sorted by class.
            let seed = Some(args.seed);
            let options = Options { preprocess, limit, seed, ..Options::default() };
            let data = Dataset::open(path, data::ports(model.inputs()), &options);
            return data.during("use the data in", path).map(|data| Self::Data(Box::new(data)));
        }
        if args.input.is_empty() {
            return Ok(Self::Given(random(args, model)));
        }
        given(args, model).map(Self::Given)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Given(samples) => samples.len(),
            Self::Data(data) => data.len(),
        }
    }

    /// For each input of the network its values.
    pub(super) fn get(&self, index: usize) -> Result<Vec<Vec<f32>>, DataError> {
        match self {
            Self::Given(samples) => Ok(samples[index].clone()),
            Self::Data(data) => Ok(data.get(index)?.inputs),
        }
    }

    pub(super) fn name(&self, index: usize) -> String {
        match self {
            Self::Given(_) => format!("#{index}"),
            Self::Data(data) => data.name(index),
        }
    }
}

/// Between -1 and 1; 0 to 255 where the file takes raw pictures.
fn random(args: &Args, model: &Model<'_>) -> Vec<Vec<Vec<f32>>> {
    let mut samples: Vec<_> = (0..RANDOM).map(|seed| tensors::random(model, seed)).collect();
    if !args.mean.is_empty() {
        let raw = |v: &mut f32| *v = (*v + 1.0) * 127.5;
        samples.iter_mut().flatten().flatten().for_each(raw);
    }
    samples
}

/// Those of `--input`.
fn given(args: &Args, model: &Model<'_>) -> Result<Vec<Vec<Vec<f32>>>, Failure> {
    let ports: Vec<_> = model.inputs().collect();
    let files = tensors::files_of("--input", &args.input, &ports)?;
    let mut values = Vec::with_capacity(ports.len());
    for (files, port) in files.iter().zip(data::ports(ports.iter().copied())) {
        let read = files.iter().map(|file| read(file, &port, args));
        values.push(read.collect::<Result<Vec<_>, _>>()?.concat());
    }
    let count = values[0].len();
    if values.iter().any(|list| list.len() != count) {
        return Err(Failure::usage("every input of the network takes as many values by --input"));
    }
    Ok((0..count).map(|k| values.iter().map(|list| list[k].clone()).collect()).collect())
}

/// A picture, or all items of an array.
fn read(path: &Path, port: &Port, args: &Args) -> Result<Vec<Vec<f32>>, Failure> {
    let options = Options { preprocess: args.pixels.preprocess(), ..Options::default() };
    let data = Dataset::open(path, vec![port.clone()], &options);
    let all = data.and_then(|data| {
        data.iter().map(|sample| sample.map(|mut sample| sample.inputs.swap_remove(0))).collect()
    });
    all.during("use the input", path)
}
