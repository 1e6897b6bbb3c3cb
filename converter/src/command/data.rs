//! Data of a user for calibration and evaluation: the flags that say how pictures become inputs, and what
//! is said on standard error about doubtful ones.

use super::tensors::ResizeFlag;
use std::path::Path;
use unbraid_converter::data::{ChannelOrder, Port, Preprocess, Survey};
use unbraid_runtime as runtime;

/// How pictures become the values of an input.
#[derive(Debug, clap::Args)]
#[group(skip)] // Its name would be that of the command's own arguments.
pub(crate) struct Args {
    /// How a picture of another size is brought to the size of the input.
    #[arg(long, value_enum, default_value_t = ResizeFlag::Stretch)]
    resize: ResizeFlag,
    /// Order of the channels that the network takes.
    #[arg(long, value_enum, value_name = "ORDER", default_value_t = OrderFlag::Rgb)]
    input_order: OrderFlag,
    /// Subtract this from the data before they go in: one value, or one a channel of the input, in
    /// units of the data (of pictures 0 to 255). For networks that take normalised pictures; not if
    /// `--mean` and `--std` are part of the network.
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', allow_hyphen_values = true)]
    input_mean: Vec<f64>,
    /// Divide the data by this after `--input-mean`: one value, or one a channel, in the same units.
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    input_std: Vec<f64>,
}

/// Which colour comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OrderFlag {
    /// Red, as in files.
    Rgb,
    /// Blue.
    Bgr,
}

impl Args {
    /// What happens to a picture.
    pub(crate) fn preprocess(&self) -> Preprocess {
        Preprocess {
            resize: self.resize.into(),
            order: match self.input_order {
                OrderFlag::Rgb => ChannelOrder::Rgb,
                OrderFlag::Bgr => ChannelOrder::Bgr,
            },
            mean: self.input_mean.clone(),
            std: self.input_std.clone(),
        }
    }
}

/// The ports of a network as data are held against them.
pub(crate) fn ports<'p>(ports: impl Iterator<Item = runtime::Port<'p>>) -> Vec<Port> {
    let of = |port: runtime::Port<'p>| Port {
        name: port.name.to_owned(),
        shape: port.axes().iter().map(|&axis| axis as usize).collect(),
    };
    ports.map(of).collect()
}

/// Says what is doubtful about data that were used.
pub(crate) fn warn(survey: &Survey, path: &Path) {
    for warning in survey.warnings() {
        eprintln!("warning: {}: {warning}", path.display());
    }
}
