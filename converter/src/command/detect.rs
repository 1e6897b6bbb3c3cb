//! `unbraid run --detect`: a picture in, boxes out, as text, as JSON, and drawn on the picture.

use super::failure::{During, Failure};
use super::strand::Machine;
use super::table::Table;
use super::tensors;
use image::RgbImage;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use unbraid_converter::picture::{self, Resize};
use unbraid_converter::{annotate, npy, write};
use unbraid_runtime::detect::{Candidate, Fit, Head, Letterbox};
use unbraid_runtime::{Model, Port};

/// What `unbraid run --detect` takes beside what every run takes.
#[derive(Debug, clap::Args)]
#[group(skip)] // Its name would be that of the run's own arguments.
pub(crate) struct Args {
    /// Find things in the picture, as the file's head says (`convert --head`), instead of showing
    /// outputs.
    #[arg(long, conflicts_with_all = ["output", "top", "resize"])]
    pub(crate) detect: bool,
    /// Write the picture with the boxes drawn on it.
    #[arg(long, value_name = "OUT.png", requires = "detect")]
    draw: Option<PathBuf>,
    /// Lowest score of a thing, 0 to 1 [default: what the file says].
    #[arg(long, value_name = "P", requires = "detect")]
    score: Option<f32>,
    /// Overlap (intersection over union) above which the weaker of two things of a class goes, 0 to
    /// 1 [default: what the file says].
    #[arg(long, value_name = "P", requires = "detect")]
    iou: Option<f32>,
    /// Candidates that there is memory for: the best ones.
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "detect")]
    candidates: usize,
}

/// Things in a picture.
pub(crate) struct Found {
    /// Columns and rows of the picture.
    size: [u32; 2],
    /// Best first.
    things: Vec<Candidate>,
    /// Where to draw them.
    drawing: Option<(PathBuf, RgbImage)>,
}

/// What goes into the network, and the picture that it comes from.
struct Source {
    values: Vec<f32>,
    place: Letterbox,
    picture: Option<RgbImage>,
}

/// Finds things with the network.
pub(crate) fn detect(
    args: &Args,
    inputs: &[String],
    model: &Model<'_>,
    machine: &mut Machine,
) -> Result<Found, Failure> {
    let mut head = model.head().ok_or_else(|| {
        Failure::new("the file does not say how to find boxes in its outputs")
            .help("convert the model with --head FAMILY")
    })?;
    head.score_threshold = args.score.unwrap_or(head.score_threshold);
    head.iou_threshold = args.iou.unwrap_or(head.iou_threshold);
    let ports: Vec<_> = model.inputs().collect();
    let files = tensors::files_of("--input", inputs, &ports)?;
    let paths = tensors::one_each("--input", &files, &ports)?;
    let [path] = *paths else {
        return Err(Failure::new("a detector with several inputs is not supported")
            .help("bake the others into the model as constants"));
    };
    let source = source(path, &ports[0], &head)?;
    let mut session = machine.session(model)?;
    tensors::feed(&mut session, &[&source.values]);
    session.run();
    let outputs = (0..head.outputs()).map(|index| session.output(index).unwrap_or_default());
    let outputs: Vec<&[f32]> = outputs.collect();
    let mut things = vec![Candidate::default(); args.candidates];
    let count = head.detect(&outputs, &source.place, &mut things);
    things.truncate(count.during("read the outputs for", path)?);
    let drawing = match (&args.draw, source.picture) {
        (Some(target), None) => {
            return Err(Failure::usage(format!("--draw {} needs a picture", target.display()))
                .help("give --input a PNG or JPEG, not a .npy"));
        }
        (target, picture) => target.clone().zip(picture),
    };
    let size = [source.place.source.w, source.place.source.h];
    Ok(Found { size, things, drawing })
}

/// A picture, letterboxed; or a .npy with the input's values, which is its own picture.
fn source(path: &Path, port: &Port<'_>, head: &Head) -> Result<Source, Failure> {
    let bytes = fs::read(path).during("read", path)?;
    if bytes.starts_with(npy::MAGIC) {
        let mut values = tensors::read(path, port, Resize::Stretch)?;
        let (Some(values), true) = (values.pop(), values.is_empty()) else {
            return Err(Failure::new(format!("{} holds several inputs", path.display()))
                .help("--detect takes one; split them along axis 0"));
        };
        let place = Letterbox::new(Fit::Stretch, head.input, head.input);
        let place = place.ok_or_else(|| Failure::new("the input has no pixels"))?;
        return Ok(Source { values, place, picture: None });
    }
    let picture = picture::open(&bytes).during("use the picture", path)?;
    let input = picture::letterbox(&picture, head, port.operand.dims.c);
    let (values, place) = input.during("use the picture", path)?;
    Ok(Source { values, place, picture: Some(picture.into_rgb8()) })
}

impl Found {
    /// Writes the picture with the boxes, the best on top, if that was asked for.
    pub(crate) fn draw(&mut self, labels: &[String]) -> Result<(), Failure> {
        let Some((path, picture)) = &mut self.drawing else { return Ok(()) };
        for thing in self.things.iter().rev() {
            let text = format!("{} {:.2}", label(thing, labels), thing.score);
            annotate::draw(picture, &thing.rect, thing.class, &text);
        }
        let png = picture::to_png(picture).during("write", path)?;
        Ok(write::save(path, &png)?)
    }

    /// Pixels of the picture, from its upper left corner.
    pub(crate) fn json(&self, labels: &[String]) -> String {
        let thing = |thing: &Candidate| -> Value {
            let Candidate { rect, score, class, .. } = thing;
            json!({
                "class": class,
                "label": labels.get(*class as usize),
                "score": score,
                "left": rect.left,
                "top": rect.top,
                "right": rect.right,
                "bottom": rect.bottom,
            })
        };
        let [width, height] = self.size;
        let things: Vec<Value> = self.things.iter().map(thing).collect();
        format!("{:#}\n", json!({ "width": width, "height": height, "things": things }))
    }

    /// The same as a table.
    pub(crate) fn text(&self, labels: &[String]) -> String {
        if self.things.is_empty() {
            return "nothing found\n".to_owned();
        }
        let mut table = Table::new(["thing", "class", "score", "left", "top", "right", "bottom"]);
        for thing in &self.things {
            let Candidate { rect, score, class, .. } = thing;
            let edges = [rect.left, rect.top, rect.right, rect.bottom];
            let [left, top, right, bottom] = edges.map(|edge| format!("{edge:.1}"));
            let (name, score) = (label(thing, labels), format!("{score:.4}"));
            table.row([name, class.to_string(), score, left, top, right, bottom]);
        }
        table.to_string()
    }
}

/// The class's name, or its number where it has none.
fn label(thing: &Candidate, labels: &[String]) -> String {
    let name = labels.get(thing.class as usize);
    name.cloned().unwrap_or_else(|| format!("#{}", thing.class))
}
