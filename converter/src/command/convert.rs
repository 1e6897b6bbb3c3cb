//! `unbraid convert`: the flags of a conversion, and what follows it: files, proof, report.

use super::failure::Failure;
use super::labels;
use super::strand::Strand;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use std::iter;
use std::path::{Path, PathBuf};
use unbraid_converter::detector::{HeadError, PRESETS, Param, Preset};
use unbraid_converter::fuse::{FuseMode, Fused, Progress};
use unbraid_converter::graph::Graph;
use unbraid_converter::plan::{self, TARGETS, Target};
use unbraid_converter::prune::{self, Pruning};
use unbraid_converter::report::Report;
use unbraid_converter::{export, import, write};
use unbraid_runtime::detect::Head;

/// What `unbraid convert` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The trained model, an ONNX file.
    #[arg(value_name = "IN.onnx")]
    pub(crate) model: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "OUT.strand")]
    pub(crate) output: PathBuf,
    /// Leave the branches as they are. BatchNorm and activations still move into the convolution
    /// beside them, as every runtime does on loading a model.
    #[arg(long, conflicts_with = "fuse")]
    no_fuse: bool,
    /// What to fuse: where neither multiply-accumulates nor weights grow, or everything that is
    /// linear.
    #[arg(long, value_enum, default_value_t = FuseFlag::Free)]
    fuse: FuseFlag,
    /// Keep channels that carry nothing: those whose weights are all zero, or that meet only zero
    /// weights.
    #[arg(long)]
    no_prune: bool,
    /// What to optimise for; the file runs everywhere.
    #[arg(long, value_name = "NAME", value_parser = target, default_value = TARGETS[0].name)]
    target: Target,
    /// The shape of an input that the model leaves open; may be given for several inputs.
    #[arg(long, value_name = "NAME=1,3,224,224", value_parser = input_shape)]
    input_shape: Vec<(String, Vec<usize>)>,
    /// Make these values the outputs, and leave out what only others need.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    outputs: Vec<String>,
    /// Take the raw picture and subtract this from it, one value a channel, in units of the raw
    /// picture (0 to 255); becomes part of the first convolution.
    #[arg(
        long,
        value_name = "R,G,B",
        value_delimiter = ',',
        requires = "std",
        allow_hyphen_values = true
    )]
    mean: Vec<f32>,
    /// Divide by this after `--mean`, one value a channel, in units of the raw picture (0 to 255).
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', requires = "mean")]
    std: Vec<f32>,
    /// Write the fused graph as ONNX too, for other runtimes.
    #[arg(long, value_name = "F.onnx")]
    emit_onnx: Option<PathBuf>,
    /// Write what was fused, with its certificates, and what was refused and why: as JSON, or as
    /// a page with both graphs and the use of memory.
    #[arg(long, value_name = "F.html|F.json")]
    report: Option<PathBuf>,
    /// Keep the weights unpacked beside the packed ones, so that a board can choose other layouts.
    #[arg(long)]
    tunable: bool,
    /// Store each tensor of weights as a bitmap and its non-zero values, where that is smaller. The
    /// program that runs the file then needs memory for the weights beside the arena.
    #[arg(long)]
    sparse: bool,
    /// The outputs are those of a detector of this family: the file then says how to find boxes in
    /// them, for `unbraid run --detect` and for programs on the device. What the network takes is
    /// up to `--mean` and `--std`: most of them want 0 to 1, which is `--mean 0,0,0 --std 255,255,255`.
    #[arg(long, value_name = "FAMILY", value_parser = preset)]
    head: Option<Preset>,
    /// A fact about the detector that is not its family's: boxes, objectness, logits, classes,
    /// strides, anchors, fit, fill, order, score or iou; may be given for several facts.
    #[arg(long, value_name = "KEY=VALUE", requires = "head")]
    head_param: Vec<Param>,
    /// Names of the classes, one a line: the file keeps them.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FuseFlag {
    /// Where neither multiply-accumulates nor weights grow.
    Free,
    /// Everything that is exact, whatever it costs.
    All,
}

impl Args {
    /// Refuses to write over the model, or one result over another, or a report of unknown kind.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let results = [("--emit-onnx", &self.emit_onnx), ("--report", &self.report)];
        let given = results.iter().filter_map(|(flag, path)| Some((*flag, path.as_ref()?)));
        let mut seen = vec![("the model", place(&self.model))];
        for (flag, path) in iter::once(("--output", &self.output)).chain(given) {
            let place = place(path);
            if let Some((other, _)) = seen.iter().find(|(_, known)| *known == place) {
                let what = format!("{flag} {} would overwrite {other}", path.display());
                return Err(Failure::usage(what).help("give every file a name of its own"));
            }
            seen.push((flag, place));
        }
        self.report.as_deref().map_or(Ok(()), |path| ReportKind::of(path).map(|_| ()))
    }

    /// What import needs to know.
    pub(crate) fn import(&self) -> import::Options {
        let given = |values: &[f32]| (!values.is_empty()).then(|| values.to_vec());
        import::Options {
            input_shapes: self.input_shape.clone(),
            outputs: (!self.outputs.is_empty()).then(|| self.outputs.clone()),
            normalise: given(&self.mean).zip(given(&self.std)),
        }
    }

    /// What to fuse.
    pub(crate) fn mode(&self) -> FuseMode {
        match (self.no_fuse, self.fuse) {
            (true, _) => FuseMode::Off,
            (false, FuseFlag::Free) => FuseMode::Free,
            (false, FuseFlag::All) => FuseMode::All,
        }
    }

    /// Removes channels that carry nothing, unless told not to.
    pub(crate) fn prune(&self, graph: &mut Graph) -> Pruning {
        if self.no_prune { Pruning::default() } else { prune::prune(graph) }
    }

    /// How to plan what was fused.
    pub(crate) fn plan(&self, fused: &Fused) -> plan::Options {
        let fused_regions = u32::try_from(fused.regions.len()).unwrap_or(u32::MAX);
        plan::Options { target: self.target, tunable: self.tunable, fused_regions }
    }

    /// What the outputs of the planned network mean, as `--head` says it.
    pub(crate) fn head(&self, plan: &plan::Plan) -> Result<Option<Head>, HeadError> {
        self.head.map(|preset| preset.head(plan, &self.head_param)).transpose()
    }

    /// The names of the classes to keep.
    pub(crate) fn labels(&self, plan: &plan::Plan) -> Result<Vec<String>, Failure> {
        let classes = plan.head.map(|head| head.classes);
        self.labels.as_deref().map_or(Ok(vec![]), |path| labels::to_keep(path, classes))
    }

    /// The bytes of the network.
    pub(crate) fn strand(&self, plan: &plan::Plan) -> Result<write::Strand, write::WriteError> {
        if self.sparse { write::sparse_strand(plan) } else { write::strand(plan) }
    }

    /// Writes the files, the network last, and reads it back as its user will.
    pub(crate) fn save(
        &self,
        graph: &Graph,
        report: &Report,
        strand: &[u8],
    ) -> Result<String, Failure> {
        if let Some(path) = &self.emit_onnx {
            write::save(path, &export::to_onnx(graph))?;
        }
        if let Some(path) = &self.report {
            write::save(path, ReportKind::of(path)?.text(report).as_bytes())?;
        }
        write::save(&self.output, strand)?;
        Strand::open(&self.output)?.model()?;
        Ok(if self.json { report.to_json() } else { report.to_string() })
    }
}

/// What a report is written as.
#[derive(Clone, Copy, Debug)]
enum ReportKind {
    /// For people.
    Html,
    /// For programs.
    Json,
}

impl ReportKind {
    /// The kind that the file's extension names.
    fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => Ok(Self::Html),
            Some("json") => Ok(Self::Json),
            _ => Err(Failure::usage(format!(
                "--report {}: a report is .html or .json",
                path.display()
            ))
            .help("name the file F.html for a page to read, or F.json for a program")),
        }
    }

    fn text(self, report: &Report) -> String {
        match self {
            Self::Html => report.to_html(),
            Self::Json => report.to_json(),
        }
    }
}

/// Where a path leads: the same for all ways to say it, as far as it exists.
fn place(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    path.canonicalize().or(folder.map(|folder| folder.join(name))).unwrap_or(path.to_owned())
}

/// A bar on standard error, if that is a terminal; gone when dropped.
pub(crate) fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}");
    ProgressBar::new(0)
        .with_style(style.expect("a valid template"))
        .with_finish(ProgressFinish::AndClear)
}

/// Moves `bar` to where fusion is.
pub(crate) fn show(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_length(progress.total as u64);
    bar.set_position(progress.done as u64);
    bar.set_message(format!("fusing {}", progress.name));
}

fn target(name: &str) -> Result<Target, String> {
    Target::named(name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!("no such target; there are: {}", names.join(", "))
    })
}

fn preset(name: &str) -> Result<Preset, String> {
    Preset::named(name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().flat_map(|preset| preset.names).copied().collect();
        format!("no such family; there are: {}", names.join(", "))
    })
}

fn input_shape(argument: &str) -> Result<(String, Vec<usize>), String> {
    // ONNX names may hold `=`, lengths cannot.
    let (name, axes) = argument.rsplit_once('=').ok_or("expected NAME=1,3,224,224")?;
    let lengths: Result<Vec<usize>, _> = axes.split(',').map(|axis| axis.trim().parse()).collect();
    match lengths {
        Ok(lengths) if !lengths.contains(&0) => Ok((name.to_owned(), lengths)),
        _ => Err(format!("`{axes}` is no list of axis lengths; expected NAME=1,3,224,224")),
    }
}
