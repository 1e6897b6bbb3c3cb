//! The pictures of Fashion-MNIST, as Debian's `dataset-fashion-mnist` installs them.

use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Where the package puts its files.
pub const FOLDER: &str = "/usr/share/datasets/fashion-mnist";
/// Rows and columns of a picture.
pub const SIZE: usize = 28;
/// Mean of the pixels, 0 to 255, that the models were trained with.
const MEAN: f64 = 72.94;
/// Standard deviation of the pixels that the models were trained with.
const STD: f64 = 90.02;

/// Grey pictures and what they show.
#[derive(Clone, Debug)]
pub struct Pictures {
    pixels: Vec<u8>,
    /// Class of each picture, 0 to 9.
    pub labels: Vec<u8>,
}

impl Pictures {
    /// The first `count` test pictures.
    ///
    /// # Errors
    /// A file is missing, damaged, or not of the IDX format with these sizes.
    pub fn test(count: usize) -> io::Result<Self> {
        Self::of("t10k", count)
    }

    /// The first `count` pictures that the models were trained on.
    ///
    /// # Errors
    /// As [`Pictures::test`].
    pub fn training(count: usize) -> io::Result<Self> {
        Self::of("train", count)
    }

    fn of(part: &str, count: usize) -> io::Result<Self> {
        let folder = Path::new(FOLDER);
        let file = |name: &str| folder.join(format!("{part}-{name}-ubyte.gz"));
        let pixels = idx(&file("images-idx3"), &[SIZE, SIZE], count)?;
        let labels = idx(&file("labels-idx1"), &[], count)?;
        Ok(Self { pixels, labels })
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// One picture, 0 to 255, `[1, 1, 28, 28]`.
    pub fn raw(&self, index: usize) -> Vec<f32> {
        self.pixels[index * SIZE * SIZE..][..SIZE * SIZE].iter().map(|&p| f32::from(p)).collect()
    }

    /// One picture, normalised as in training, `[1, 1, 28, 28]`.
    pub fn normalised(&self, index: usize) -> Vec<f32> {
        let pixels = &self.pixels[index * SIZE * SIZE..][..SIZE * SIZE];
        pixels.iter().map(|&p| ((f64::from(p) - MEAN) / STD) as f32).collect()
    }
}

/// The first `count` items of an IDX file of bytes: magic `0 0 8 rank`, big-endian axis lengths.
fn idx(path: &Path, item: &[usize], count: usize) -> io::Result<Vec<u8>> {
    let named = |error: io::Error| {
        let hint = "install the Debian package dataset-fashion-mnist";
        io::Error::new(error.kind(), format!("{}: {error}; {hint}", path.display()))
    };
    let wrong = || named(io::Error::new(io::ErrorKind::InvalidData, "not the expected IDX file"));
    let mut file = GzDecoder::new(File::open(path).map_err(named)?);
    let mut header = vec![0; 8 + 4 * item.len()];
    file.read_exact(&mut header).map_err(named)?;
    let lengths: Vec<usize> = header[4..]
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize)
        .collect();
    let rank = 1 + item.len() as u8;
    if header[..4] != [0, 0, 8, rank] || lengths[1..] != *item || lengths[0] < count {
        return Err(wrong());
    }
    let mut values = vec![0; count * item.iter().product::<usize>()];
    file.read_exact(&mut values).map_err(named)?;
    Ok(values)
}
