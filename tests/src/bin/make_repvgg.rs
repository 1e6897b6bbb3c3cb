//! Writes a training-time RepVGG as ONNX: `make-repvgg --variant A0 --size 224 OUT.onnx`.
#![forbid(unsafe_code)]

use clap::Parser;
use clap::builder::PossibleValuesParser;
use prost::Message;
use std::path::PathBuf;
use unbraid_tests::network::Settings;
use unbraid_tests::repvgg::{VARIANTS, Variant, training_model};

/// Writes a training-time RepVGG with random weights and calibrated statistics as ONNX.
#[derive(Debug, Parser)]
struct Arguments {
    /// Member of the family.
    #[arg(long, value_parser = PossibleValuesParser::new(VARIANTS.iter().map(|v| v.name)))]
    variant: String,
    /// Rows and columns of the input picture.
    #[arg(long, default_value_t = 224)]
    size: usize,
    /// Number of classes.
    #[arg(long, default_value_t = 1000)]
    classes: usize,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// File to write.
    output: PathBuf,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let Arguments { size, classes, seed, .. } = arguments;
    let variant = Variant::named(&arguments.variant).expect("checked by the parser");
    let model = training_model(variant, Settings { size, classes, seed });
    std::fs::write(&arguments.output, model.encode_to_vec())?;
    println!("RepVGG-{}: {} training-time parameters", variant.name, variant.train_params);
    Ok(())
}
