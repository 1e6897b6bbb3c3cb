//! Makes the files that the firmware smoke test includes, from a committed trained model:
//! `firmware_case MODEL.onnx PICTURE MEAN STD FOLDER` writes `model.strand`, `input.f32` and the scores
//! `expected.f32` that the portable kernels give here, after checking them against the f64 oracle.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::Path;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::picture::{Resize, decode};
use unbraid_converter::plan::{self, Target, plan};
use unbraid_converter::{import, reference, write};
use unbraid_runtime::{Kernels, Model, Session};
use unbraid_tests::strand_builder::AlignedBytes;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, picture, mean, std, folder] = &arguments[..] else {
        return Err("usage: firmware_case MODEL.onnx PICTURE MEAN STD FOLDER".into());
    };
    let normalise = (mean.parse::<f32>()?, std.parse::<f32>()?);
    make(Path::new(model), Path::new(picture), normalise, Path::new(folder))
}

fn make(
    onnx: &Path,
    picture: &Path,
    (mean, std): (f32, f32),
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    let graph = import::load(onnx, &import::Options::default())?;
    let fused = fuse(graph.clone(), FuseMode::default(), &mut |_| {});
    let target = Target::named("cortex-m").ok_or("the planner knows no cortex-m")?;
    let options = plan::Options { target, ..plan::Options::default() };
    let file = write::strand(&plan(&fused.graph, &options)?)?;

    let loaded = Model::new(&file)?;
    let dims = loaded.inputs().next().ok_or("no input")?.operand.dims;
    let pixels = decode(&std::fs::read(picture)?, dims, Resize::Stretch)?;
    let x: Vec<f32> = pixels.iter().map(|pixel| (pixel - mean) / std).collect();
    let scores = portable_scores(&loaded, &x)?;
    // One channel: NHWC and the oracle's NCHW are the same order.
    assert_eq!(dims.c, 1, "the pictures of these models are grey");
    check_against_oracle(&graph, &x, &scores)?;

    std::fs::write(folder.join("model.strand"), &file[..])?;
    std::fs::write(folder.join("input.f32"), bytes_of(&x))?;
    std::fs::write(folder.join("expected.f32"), bytes_of(&scores))?;
    Ok(())
}

fn portable_scores(model: &Model<'_>, x: &[f32]) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut arena = AlignedBytes::filled(0, model.arena_len(1).ok_or("the arena is too large")?);
    let mut session = Session::new(model, &mut arena, Kernels::PORTABLE)?;
    session.write_input(x)?;
    Ok(session.run().to_vec())
}

fn check_against_oracle(
    graph: &unbraid_converter::graph::Graph,
    x: &[f32],
    scores: &[f32],
) -> Result<(), Box<dyn Error>> {
    let oracle = reference::run(graph, &[x.iter().map(|&x| x.into()).collect()])?;
    let scale = oracle[0].iter().fold(0.0, |max: f64, y| max.max(y.abs()));
    let errors = oracle[0].iter().zip(scores).map(|(y, &score)| (y - f64::from(score)).abs());
    let worst = errors.fold(0.0, f64::max) / scale;
    if worst > 1e-5 || oracle[0].len() != scores.len() {
        return Err(format!("the scores differ from the oracle's by {worst:.1e}").into());
    }
    Ok(())
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
