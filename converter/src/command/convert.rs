//! `unbraid convert`: the flags of a conversion, and what follows it: files, proof, report.

use super::failure::Failure;
use super::strand::Strand;
use super::{data, labels, network};
use std::iter;
use std::path::{Path, PathBuf};
use unbraid_converter::detector::{HeadError, PRESETS, Param, Preset};
use unbraid_converter::fuse::Fused;
use unbraid_converter::graph::Graph;
use unbraid_converter::plan;
use unbraid_converter::report::Report;
use unbraid_converter::{export, write};
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
    #[command(flatten)]
    pub(crate) network: network::Args,
    #[command(flatten)]
    pub(crate) input: data::Args,
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
    /// Take the bytes of the raw picture as they are in place of f32 values, a quarter of the memory: programs
    /// then write the input with `Session::write_pixels`. Needs `--int8`, `--mean` and `--std`.
    #[arg(long, requires = "int8", requires = "mean")]
    pixels: bool,
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

    /// How to plan what was fused.
    pub(crate) fn plan(&self, fused: &Fused) -> plan::Options {
        let fused_regions = u32::try_from(fused.regions.len()).unwrap_or(u32::MAX);
        plan::Options {
            target: self.network.target,
            tunable: self.tunable,
            fused_regions,
            pixels: self.pixels,
        }
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

fn preset(name: &str) -> Result<Preset, String> {
    Preset::named(name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().flat_map(|preset| preset.names).copied().collect();
        format!("no such family; there are: {}", names.join(", "))
    })
}
