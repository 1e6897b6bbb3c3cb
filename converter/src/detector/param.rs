//! [`Param`]: one fact about a head, as `--head-param KEY=VALUE` says it.

use std::str::FromStr;
use thiserror::Error;
use unbraid_runtime::detect::{Boxes, ChannelOrder, Fit};

/// A fact that takes the place of the preset's.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// How values make a rectangle.
    Boxes(Boxes),
    /// Whether an objectness follows them.
    Objectness(bool),
    /// Whether the logistic function is still to be applied.
    Logits(bool),
    /// Number of classes, where other values follow them.
    Classes(u32),
    /// Pixels a cell, level by level.
    Strides(Vec<u32>),
    /// Width and height of the anchors in pixels, level by level.
    Anchors(Vec<[f32; 2]>),
    /// How a picture is brought to the input's size.
    Fit(Fit),
    /// Value around the picture.
    Fill(u8),
    /// Order of a picture's channels.
    Order(ChannelOrder),
    /// Lowest score of a thing.
    Score(f32),
    /// Overlap from which on the weaker of two things goes.
    Iou(f32),
}

/// Why a parameter is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParamError {
    /// No such key.
    #[error("there is no parameter `{key}`; there are: {known}")]
    Key {
        /// What was given.
        key: String,
        /// Every key.
        known: String,
    },
    /// The key takes another value.
    #[error("`{key}` takes {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it takes.
        expected: &'static str,
    },
}

/// A key, what it takes, and how to read it.
type Row = (&'static str, &'static str, fn(&str) -> Option<Param>);

/// Every parameter.
const ROWS: &[Row] = &[
    ("boxes", "centre, corners, grid, distances[:BINS] or anchors", |v| boxes(v).map(Param::Boxes)),
    ("objectness", "yes or no", |v| yes(v).map(Param::Objectness)),
    ("logits", "yes or no", |v| yes(v).map(Param::Logits)),
    ("classes", "how many there are, 1 or more", |v| classes(v).map(Param::Classes)),
    ("strides", "pixels a cell of each level: 8,16,32", |v| list(v).map(Param::Strides)),
    ("anchors", "W,H,W,H,... in pixels, level by level", |v| pairs(v).map(Param::Anchors)),
    ("fit", "stretch, centre or corner", |v| fit(v).map(Param::Fit)),
    ("fill", "a value of 0 to 255", |v| v.parse().ok().map(Param::Fill)),
    ("order", "rgb or bgr", |v| order(v).map(Param::Order)),
    ("score", "a number of 0 to 1", |v| share(v).map(Param::Score)),
    ("iou", "a number of 0 to 1", |v| share(v).map(Param::Iou)),
];

impl FromStr for Param {
    type Err = ParamError;

    fn from_str(argument: &str) -> Result<Self, ParamError> {
        let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
        let Some((key, expected, read)) = ROWS.iter().find(|row| row.0 == key) else {
            let known = ROWS.iter().map(|row| row.0).collect::<Vec<_>>().join(", ");
            return Err(ParamError::Key { key: key.to_owned(), known });
        };
        read(value).ok_or(ParamError::Value { key, expected })
    }
}

fn boxes(value: &str) -> Option<Boxes> {
    Some(match value.split_once(':').unwrap_or((value, "1")) {
        ("distances", bins) => Boxes::Distances { bins: bins.parse().ok()? },
        _ => match value {
            "centre" => Boxes::Centre,
            "corners" => Boxes::Corners,
            "grid" => Boxes::Grid,
            "anchors" => Boxes::Anchors,
            _ => return None,
        },
    })
}

fn yes(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn classes(value: &str) -> Option<u32> {
    value.parse().ok().filter(|&classes| classes > 0)
}

fn fit(value: &str) -> Option<Fit> {
    match value {
        "stretch" => Some(Fit::Stretch),
        "centre" => Some(Fit::Centre),
        "corner" => Some(Fit::Corner),
        _ => None,
    }
}

fn order(value: &str) -> Option<ChannelOrder> {
    match value {
        "rgb" => Some(ChannelOrder::Rgb),
        "bgr" => Some(ChannelOrder::Bgr),
        _ => None,
    }
}

fn list<T: FromStr>(value: &str) -> Option<Vec<T>> {
    value.split(',').map(|item| item.trim().parse().ok()).collect()
}

fn pairs(value: &str) -> Option<Vec<[f32; 2]>> {
    match list(value)?.as_chunks() {
        (pairs, []) => Some(pairs.to_vec()),
        _ => None,
    }
}

fn share(value: &str) -> Option<f32> {
    value.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_read_and_anything_else_is_refused_with_what_there_is() {
        let read = |argument: &str| argument.parse::<Param>();
        assert_eq!(read("boxes=grid"), Ok(Param::Boxes(Boxes::Grid)));
        assert_eq!(read("boxes=distances"), Ok(Param::Boxes(Boxes::Distances { bins: 1 })));
        assert_eq!(read("boxes=distances:16"), Ok(Param::Boxes(Boxes::Distances { bins: 16 })));
        assert_eq!(read("objectness=no"), Ok(Param::Objectness(false)));
        assert_eq!(read("logits=yes"), Ok(Param::Logits(true)));
        assert_eq!(read("classes=80"), Ok(Param::Classes(80)));
        assert_eq!(read("strides=8, 16"), Ok(Param::Strides(vec![8, 16])));
        assert_eq!(read("anchors=1,2,3.5,4"), Ok(Param::Anchors(vec![[1.0, 2.0], [3.5, 4.0]])));
        assert_eq!(read("fit=corner"), Ok(Param::Fit(Fit::Corner)));
        assert_eq!(read("fill=114"), Ok(Param::Fill(114)));
        assert_eq!(read("order=bgr"), Ok(Param::Order(ChannelOrder::Bgr)));
        assert_eq!(
            (read("score=0.5"), read("iou=1")),
            (Ok(Param::Score(0.5)), Ok(Param::Iou(1.0)))
        );
        for (key, expected, _) in ROWS {
            for value in ["", "=", "=?", "=-1", "=1,2,3", "=nan", "=256"] {
                let fits =
                    matches!((*key, value), ("strides", "=1,2,3" | "=256") | ("classes", "=256"));
                let refused = Err(ParamError::Value { key, expected });
                assert!(fits || read(&format!("{key}{value}")) == refused, "{key}{value}");
            }
        }
        let error = read("stride=8").unwrap_err().to_string();
        assert!(error.contains("`stride`") && error.contains("strides, anchors"), "{error}");
    }
}
