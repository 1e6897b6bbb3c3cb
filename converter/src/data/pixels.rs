//! From the pixels of a picture to the values of an input: size, channel order, mean and deviation.

use super::{DataError, Port};
use crate::picture::{self, PictureError, Resize};
use std::path::Path;
use unbraid_runtime::dims::Dims;

/// Which of the colours comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red.
    #[default]
    Rgb,
    /// Blue.
    Bgr,
}

/// What happens between a picture and an input.
#[derive(Clone, Debug)]
pub struct Preprocess {
    /// How a picture of another size is brought to that of the input.
    pub resize: Resize,
    /// Order of the channels of a colour picture.
    pub order: ChannelOrder,
    /// Subtracted, in units of the raw picture (0 to 255): nothing, one value, or one a channel of the
    /// input. Arrays are normalised in the same way.
    pub mean: Vec<f64>,
    /// Divided by, afterwards: nothing, one value, or one a channel.
    pub std: Vec<f64>,
}

impl Default for Preprocess {
    fn default() -> Self {
        Self {
            resize: Resize::Stretch,
            order: ChannelOrder::Rgb,
            mean: Vec::new(),
            std: Vec::new(),
        }
    }
}

/// `(x - mean) / std` in f64, rounded once; planes of one channel each take turns.
#[derive(Clone, Debug)]
pub(super) struct Normalise {
    mean: Vec<f64>,
    std: Vec<f64>,
    /// Values of a channel that follow each other.
    plane: usize,
}

impl Normalise {
    /// For values of the shape `[.., C, H, W]`, or any other if mean and deviation are of all channels.
    pub(super) fn of(port: &Port, preprocess: &Preprocess) -> Result<Self, DataError> {
        let (channels, plane) = match *port.shape {
            [_, c, h, w] => (c, h * w),
            _ => (1, 1),
        };
        for (what, values) in [("mean", &preprocess.mean), ("std", &preprocess.std)] {
            if ![0, 1, channels].contains(&values.len()) {
                let (found, input) = (values.len(), port.name.clone());
                return Err(DataError::Channels { what, found, input, channels });
            }
        }
        if let Some(&value) = preprocess.std.iter().find(|value| !value.is_normal()) {
            return Err(DataError::Deviation { value });
        }
        let or = |values: &[f64], otherwise: f64| match values {
            [] => vec![otherwise],
            values => values.to_vec(),
        };
        Ok(Self { mean: or(&preprocess.mean, 0.0), std: or(&preprocess.std, 1.0), plane })
    }

    pub(super) fn apply(&self, values: &mut [f32]) {
        let (mean, std) = (self.mean.iter().cycle(), self.std.iter().cycle());
        for (plane, (mean, std)) in values.chunks_mut(self.plane).zip(mean.zip(std)) {
            plane.iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) / std) as f32);
        }
    }
}

/// How the only input of a network takes pictures.
#[derive(Clone, Debug)]
pub(super) struct Pixels {
    dims: Dims,
    resize: Resize,
    order: ChannelOrder,
    normalise: Normalise,
}

impl Pixels {
    /// `path` holds pictures, which a network with these inputs is to take.
    pub(super) fn of(
        path: &Path,
        ports: &[Port],
        preprocess: &Preprocess,
    ) -> Result<Self, DataError> {
        let port = only(path, ports)?;
        let unfit = || DataError::NoPicture { input: port.name.clone(), shape: port.shape.clone() };
        let [1, c @ (1 | 3), h, w] = *port.shape else { return Err(unfit()) };
        let length = |n: usize| u32::try_from(n).map_err(|_| unfit());
        let dims = Dims { h: length(h)?, w: length(w)?, c: c as u32 };
        let normalise = Normalise::of(port, preprocess)?;
        Ok(Self { dims, resize: preprocess.resize, order: preprocess.order, normalise })
    }

    /// The bytes of a PNG or JPEG as values of the input.
    pub(super) fn values(&self, bytes: &[u8]) -> Result<Vec<f32>, PictureError> {
        let interleaved = picture::decode(bytes, self.dims, self.resize)?;
        let channels = self.dims.c as usize;
        let from = |channel: usize| match self.order {
            ChannelOrder::Rgb => channel,
            ChannelOrder::Bgr => channels - 1 - channel,
        };
        let plane = |channel| interleaved.iter().skip(from(channel)).step_by(channels).copied();
        let mut values: Vec<f32> = (0..channels).flat_map(plane).collect();
        self.normalise.apply(&mut values);
        Ok(values)
    }
}

/// The input that takes what has no name.
pub(super) fn only<'p>(path: &Path, ports: &'p [Port]) -> Result<&'p Port, DataError> {
    match ports {
        [port] => Ok(port),
        _ => {
            let inputs = ports.iter().map(|port| port.name.clone()).collect();
            Err(DataError::SeveralInputs { path: path.to_owned(), inputs })
        }
    }
}
