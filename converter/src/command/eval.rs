//! `unbraid eval`: how right a network is on pictures, by the runtime's own kernels.
//!
//! With classes: how often the best score, and one of the five best, is the right one. With reference
//! pictures: how like them the first output is. A model goes through the same stages as `convert`, in
//! memory.

mod classes;
mod execute;
mod likeness;
mod report;

use super::failure::{During, Failure};
use super::strand::Strand;
use super::{data, labels, network};
use execute::{Reference, Task};
use report::Answer;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use unbraid_converter::data::{Classes, Dataset, Labels, Options, Port, Preprocess};
use unbraid_converter::graph::Graph;
use unbraid_converter::picture::Resize;
use unbraid_converter::{import, plan, write};
use unbraid_runtime::Model;

/// What `unbraid eval` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The network: a .strand file, or an ONNX model, which is converted in memory.
    #[arg(value_name = "FILE.onnx|FILE.strand")]
    file: PathBuf,
    /// What it is measured on: a folder of PNG or JPEG pictures, sorted into a folder for each class
    /// or beside a labels.csv of `file,label`; an IDX file, perhaps with .gz, its labels beside it; an
    /// .npz with one array for each input and perhaps `labels`; or an .npy.
    #[arg(value_name = "DIR|IDX|NPZ")]
    data: PathBuf,
    #[command(flatten)]
    input: data::Args,
    /// At most so many samples: the first ones, or with --seed drawn by lot.
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Draw the samples of --limit by lot: same seed, same samples.
    #[arg(long, value_name = "S", requires = "limit")]
    seed: Option<u64>,
    /// The right classes, in place of those that belong to the data: lines of `file,label` for a
    /// folder; else one class a line, an .npy, or an IDX file.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Names of the classes, one a line [default: those in the file, if it keeps any].
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Measure how like these pictures the first output is, in place of classes: a folder with a
    /// picture of the same name for each, or an .npz or .npy with as many, of 0 to 255.
    #[arg(long, value_name = "DIR|NPZ", conflicts_with = "truth")]
    reference: Option<PathBuf>,
    /// The output's value for white; the references are scaled to it.
    #[arg(long, value_name = "P", default_value_t = 255.0, requires = "reference")]
    peak: f64,
    /// A second network on the same samples: how right it is, how often its best class is another, and
    /// how far its outputs are from those of the first. With --int8, which is such a second network
    /// itself, not needed.
    #[arg(long, value_name = "OTHER.strand", conflicts_with = "int8")]
    against: Option<PathBuf>,
    /// Samples at once; the results do not depend on it.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    #[command(flatten)]
    network: network::Args,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the network on every sample and says how right it was.
pub(crate) fn eval(args: &Args) -> Result<String, Failure> {
    if !(args.peak.is_finite() && args.peak > 0.0) {
        return Err(Failure::usage(format!("--peak {}: expected more than 0", args.peak)));
    }
    let mut networks = networks(args)?;
    let names: Vec<String> = networks.iter().map(|(name, _)| name.clone()).collect();
    let models = networks.iter_mut().map(|(_, file)| file.model());
    let models: Vec<Model<'_>> = models.collect::<Result<_, _>>()?;
    alike(&models, &names)?;
    let names_of_classes = labels::of(args.labels.as_deref(), &models[0])?;
    let outputs = data::ports(models[0].outputs());
    let classes = Classes { names: names_of_classes, count: class_count(&outputs[0]) };
    let samples = samples(args, &models, &classes)?;
    let reference = args.reference.as_deref();
    let reference =
        reference.map(|path| references(args, path, &outputs[0], &samples)).transpose()?;
    let task = Task { models: &models, samples: &samples, reference: reference.as_ref() };
    let (seen, survey) = execute::all(&task, args.threads, &args.data)?;
    data::warn(&survey, &args.data);
    let sample_name = |index: usize| samples.name(index);
    let answer =
        Answer { names: &names, classes: &classes, seen: &seen, sample_name: &sample_name };
    Ok(if args.json { format!("{:#}\n", answer.json()) } else { answer.text() })
}

/// The networks to measure and what they are called.
fn networks(args: &Args) -> Result<Vec<(String, Strand)>, Failure> {
    let file = Strand::open(&args.file)?;
    let mut networks = match file.is_strand() {
        false => made(args)?,
        true if args.network.given() => {
            let what = format!("{} is a network already", args.file.display());
            return Err(Failure::usage(what).help(
                "flags that say what to make of a model go to `unbraid convert`; or give the ONNX \
                 model",
            ));
        }
        true => vec![(file_name(&args.file), file)],
    };
    if let Some(path) = &args.against {
        networks.push((file_name(path), Strand::open(path)?));
    }
    Ok(networks)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The networks take the same and give the same.
fn alike(models: &[Model<'_>], names: &[String]) -> Result<(), Failure> {
    let shapes = |model: &Model<'_>| [data::ports(model.inputs()), data::ports(model.outputs())];
    match models.iter().position(|model| shapes(model) != shapes(&models[0])) {
        None => Ok(()),
        Some(other) => Err(Failure::usage(format!(
            "{} and {} have different inputs or outputs",
            names[0], names[other]
        ))
        .help("convert both from one model; `unbraid inspect` lists them")),
    }
}

/// The ONNX model as `convert` makes it: in float, and in integers too if that is asked for.
fn made(args: &Args) -> Result<Vec<(String, Strand)>, Failure> {
    let graph = import::load(&args.file, &args.network.import())?;
    let mut fused = args.network.fuse(graph);
    args.network.prune(&mut fused.graph);
    let mut networks = vec![("float".to_owned(), strand(args, &fused.graph)?)];
    if args.network.quantize(&mut fused.graph, &args.input.preprocess())?.is_some() {
        networks.push(("int8".to_owned(), strand(args, &fused.graph)?));
    }
    Ok(networks)
}

fn strand(args: &Args, graph: &Graph) -> Result<Strand, Failure> {
    let options = plan::Options { target: args.network.target, ..plan::Options::default() };
    let plan = plan::plan(graph, &options).during("plan", &args.file)?;
    Ok(Strand::made(&args.file, write::strand(&plan)?))
}

/// How many classes a network with this first output tells apart; none if that is a picture.
fn class_count(output: &Port) -> Option<usize> {
    let mut long = output.shape.iter().copied().filter(|&length| length != 1);
    let classes = long.next().unwrap_or(1);
    long.next().is_none().then_some(classes)
}

fn samples(args: &Args, models: &[Model<'_>], classes: &Classes) -> Result<Dataset, Failure> {
    let model = &models[0];
    let likeness = args.reference.is_some();
    if !likeness && classes.count.is_none() {
        let output = model.outputs().next().map(|port| format!("{:?}", port.axes()));
        let what = format!(
            "the first output has shape {}, which is no list of classes",
            output.unwrap_or_default()
        );
        return Err(Failure::usage(what)
            .help("give --reference for a network that makes pictures, or choose --outputs"));
    }
    let options = Options {
        preprocess: args.input.preprocess(),
        limit: args.limit.map(NonZeroUsize::get),
        seed: args.seed,
        labels: match (likeness, models.len() > 1) {
            (true, _) => Labels::Ignored,
            (false, true) => Labels::Welcome,
            (false, false) => Labels::Required,
        },
        truth: args.truth.clone(),
        classes: classes.clone(),
    };
    let inputs = data::ports(model.inputs());
    Dataset::open(&args.data, inputs, &options).during("use the data in", &args.data)
}

/// The pictures that the first output is to be like, one for each sample.
fn references(
    args: &Args,
    path: &Path,
    output: &Port,
    samples: &Dataset,
) -> Result<Reference, Failure> {
    let white = args.peak / 255.0;
    let preprocess =
        Preprocess { resize: Resize::Never, std: vec![white.recip()], ..args.input.preprocess() };
    let preprocess = Preprocess { mean: Vec::new(), ..preprocess };
    let (limit, seed) = (args.limit.map(NonZeroUsize::get), args.seed);
    let options = Options { preprocess, limit, seed, ..Options::default() };
    let pictures = Dataset::open(path, vec![output.clone()], &options)
        .during("use the reference pictures in", path)?;
    let (found, expected) = (pictures.total(), samples.total());
    if found != expected {
        let what = format!(
            "{} has {found} references, {} has {expected} samples",
            path.display(),
            args.data.display()
        );
        return Err(Failure::new(what).help("give one reference for each sample"));
    }
    let stem = |name: String| Path::new(&name).with_extension("");
    let of_another = |k: &usize| stem(pictures.name(*k)) != stem(samples.name(*k));
    let unnamed = |set: &Dataset| set.name(0).starts_with('#');
    if let Some(k) = (0..samples.len()).find(of_another)
        && !unnamed(&pictures)
        && !unnamed(samples)
    {
        let (sample, other) = (samples.name(k), pictures.name(k));
        return Err(Failure::new(format!("the reference of {sample} would be {other}"))
            .help("give each reference the name of its picture"));
    }
    Ok(Reference { pictures, peak: args.peak })
}
