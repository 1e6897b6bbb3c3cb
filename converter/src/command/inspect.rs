//! `unbraid inspect`: what a file holds and what it needs.

use super::failure::Failure;
use super::strand::Strand;
use super::table::{Table, thousands};
use serde_json::{Value, json};
use std::path::PathBuf;
use unbraid_runtime::detect::Head;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::model::meta::Meta;
use unbraid_runtime::model::section::SectionKind;
use unbraid_runtime::model::{Model, Port, macs};
use unbraid_runtime::step::{Element, Op, Quantization, Step};

/// What `unbraid inspect` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to look into.
    #[arg(value_name = "FILE.strand")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Describes the file.
pub(crate) fn inspect(args: &Args) -> Result<String, Failure> {
    let mut strand = Strand::open(&args.file)?;
    let bytes = strand.len();
    let model = strand.model()?;
    let facts = Facts::new(&model, bytes);
    Ok(if args.json { format!("{:#}\n", facts.json(&model)) } else { facts.text(&model) })
}

/// The numbers of a file.
struct Facts {
    steps: usize,
    convs: usize,
    params: u64,
    macs: u64,
    /// Those of 8-bit integers.
    macs_s8: u64,
    activations: u32,
    scratch_per_worker: u32,
    file_bytes: usize,
    /// 0: the weights are used where they lie.
    expanded_weights: u32,
    fused_regions: u32,
}

impl Facts {
    fn new(model: &Model<'_>, file_bytes: usize) -> Self {
        let header = model.header();
        let meta = model.section(SectionKind::Meta).ok().flatten().and_then(Meta::decode);
        Self {
            steps: model.steps().count(),
            convs: model.steps().filter(is_conv).count(),
            params: model.params(),
            macs: header.macs,
            macs_s8: model.steps().filter(of_integers).filter_map(|step| macs(&step)).sum(),
            activations: header.arena_base,
            scratch_per_worker: header.scratch_per_worker,
            file_bytes,
            expanded_weights: header.expanded,
            fused_regions: meta.map_or(0, |meta| meta.fused_regions),
        }
    }

    fn json(&self, model: &Model<'_>) -> Value {
        json!({
            "steps": self.steps,
            "convs": self.convs,
            "params": self.params,
            "macs": self.macs,
            "macs_s8": self.macs_s8,
            "arena_bytes": {
                "activations": self.activations,
                "scratch_per_worker": self.scratch_per_worker,
            },
            "file_bytes": self.file_bytes,
            "expanded_weights": self.expanded_weights,
            "fused_regions": self.fused_regions,
            "head": model.head(),
            "inputs": model.inputs().map(|port| port_json(&port)).collect::<Vec<_>>(),
            "outputs": model.outputs().map(|port| port_json(&port)).collect::<Vec<_>>(),
            "plan": named(model).map(|(name, step)| step_json(name, &step)).collect::<Vec<_>>(),
        })
    }

    /// What a detector's outputs mean, as a line.
    fn head_line(model: &Model<'_>) -> String {
        let Some(head) = model.head() else { return String::new() };
        let Head { classes, boxes, arrangement, score_threshold, iou_threshold, .. } = head;
        format!(
            "detector       {classes} classes, boxes {boxes:?} in {arrangement:?}; \
             score at least {score_threshold}, overlap at most {iou_threshold}\n"
        )
    }

    fn sparse_note(&self) -> String {
        match self.expanded_weights {
            0 => String::new(),
            bytes => format!(", sparse; {} bytes of weights in memory", thousands(bytes.into())),
        }
    }

    fn integer_note(&self) -> String {
        match self.macs_s8 {
            0 => String::new(),
            all if all == self.macs => ", all of them of 8-bit integers".to_owned(),
            some => format!(", {} of them of 8-bit integers", thousands(some)),
        }
    }

    fn text(&self, model: &Model<'_>) -> String {
        let mut steps = Table::new(["step", "op", "input", "output", "values", "macs"]);
        for (name, step) in named(model) {
            let size = |d: Dims| format!("{}x{}x{}", d.h, d.w, d.c);
            let (input, output) = (size(step.input.dims), size(step.output.dims));
            let (op, values) = (step.op.name().to_owned(), values(step.output.element));
            let macs = thousands(macs(&step).unwrap_or(0));
            steps.row([name.to_owned(), op, input, output, values, macs]);
        }
        let port = |port: Port<'_>| {
            format!("{} {:?} {}", port.name, port.axes(), values(port.operand.element))
        };
        let ports = |list: Vec<String>| list.join(", ");
        format!(
            "{steps}\n\
             inputs         {}\n\
             outputs        {}\n\
             steps          {}, {} of them convolutions\n\
             fused regions  {}\n\
             parameters     {}\n\
             MACs           {}{}\n\
             arena          {} bytes of feature maps + {} bytes of scratch a worker\n\
             file           {} bytes{}\n\
             {}",
            ports(model.inputs().map(port).collect()),
            ports(model.outputs().map(port).collect()),
            self.steps,
            self.convs,
            self.fused_regions,
            thousands(self.params),
            thousands(self.macs),
            self.integer_note(),
            thousands(self.activations.into()),
            thousands(self.scratch_per_worker.into()),
            thousands(self.file_bytes as u64),
            self.sparse_note(),
            Self::head_line(model),
        )
    }
}

/// Every step with its name, or with none where the file has no names.
fn named<'m>(model: &Model<'m>) -> impl Iterator<Item = (&'m str, Step)> + use<'m> {
    model.names().chain(std::iter::repeat("")).zip(model.steps())
}

fn port_json(port: &Port<'_>) -> Value {
    json!({
        "name": port.name,
        "shape": port.axes(),
        "element": element_json(port.operand.element),
    })
}

fn is_conv(step: &Step) -> bool {
    matches!(step.op, Op::Conv(_) | Op::ConvS8(_))
}

/// Whether the products of a step are those of integers.
fn of_integers(step: &Step) -> bool {
    matches!(step.op, Op::ConvS8(_))
}

/// What the values of a map are: of integers the scale and the zero point too.
fn values(element: Element) -> String {
    match element {
        Element::F32 => "f32".to_owned(),
        Element::S8(Quantization { scale, zero_point }) => {
            format!("s8 ({zero_point:+}) {scale:.4e}")
        }
    }
}

fn element_json(element: Element) -> Value {
    match element {
        Element::F32 => json!({ "type": "f32" }),
        Element::S8(Quantization { scale, zero_point }) => {
            json!({ "type": "s8", "scale": scale, "zero_point": zero_point })
        }
    }
}

fn step_json(name: &str, step: &Step) -> Value {
    let size = |d: Dims| [d.h, d.w, d.c];
    json!({
        "name": name,
        "op": step.op.name(),
        "input": size(step.input.dims),
        "output": size(step.output.dims),
        "element": element_json(step.output.element),
        "macs": macs(step).unwrap_or(0),
    })
}
