//! What to make of an ONNX model: the flags that every command has which makes a network of one.

use super::failure::Failure;
use super::{int8, progress};
use unbraid_converter::data::Preprocess;
use unbraid_converter::fuse::{self, FuseMode, Fused};
use unbraid_converter::graph::Graph;
use unbraid_converter::import;
use unbraid_converter::plan::{TARGETS, Target};
use unbraid_converter::prune::{self, Pruning};
use unbraid_converter::quantize::Account;

/// Import, fusion and pruning.
#[derive(Debug, clap::Args)]
#[group(skip)] // Its name would be that of the command's own arguments.
pub(crate) struct Args {
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
    pub(crate) target: Target,
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
    #[command(flatten)]
    int8: int8::Args,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FuseFlag {
    /// Where neither multiply-accumulates nor weights grow.
    Free,
    /// Everything that is exact, whatever it costs.
    All,
}

impl Args {
    /// What import needs to know.
    pub(crate) fn import(&self) -> import::Options {
        let given = |values: &[f32]| (!values.is_empty()).then(|| values.to_vec());
        import::Options {
            input_shapes: self.input_shape.clone(),
            outputs: (!self.outputs.is_empty()).then(|| self.outputs.clone()),
            normalise: given(&self.mean).zip(given(&self.std)),
        }
    }

    /// Fuses what the flags say, and shows how far it is.
    pub(crate) fn fuse(&self, graph: Graph) -> Fused {
        let bar = progress::bar("fusing");
        fuse::fuse(graph, self.mode(), &mut |at| progress::show(&bar, at))
    }

    fn mode(&self) -> FuseMode {
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

    /// Makes it compute in integers, if a flag asks for that; `preprocess` says how calibration pictures
    /// become inputs.
    pub(crate) fn quantize(
        &self,
        graph: &mut Graph,
        preprocess: &Preprocess,
    ) -> Result<Option<Account>, Failure> {
        self.int8.quantize(graph, preprocess, !self.mean.is_empty())
    }

    /// Whether a flag says what to make of a model, which is no question for a file that is made.
    pub(crate) fn given(&self) -> bool {
        let lists = [self.outputs.len(), self.mean.len(), self.std.len(), self.input_shape.len()];
        let fusion = [self.no_fuse, self.fuse != FuseFlag::Free, self.no_prune];
        lists.iter().any(|len| *len > 0)
            || fusion.contains(&true)
            || self.target != TARGETS[0]
            || self.int8.given()
    }
}

fn target(name: &str) -> Result<Target, String> {
    Target::named(name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!("no such target; there are: {}", names.join(", "))
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
