//! PNG and JPEG pictures → what a model's input takes: NHWC, f32, 0 to 255.
//!
//! Nothing is normalised here: mean and std are part of the model (`convert --mean --std`), so
//! that a camera can send the bytes it has.

use image::imageops::FilterType;
use image::{DynamicImage, ImageError, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;
use unbraid_runtime::detect::{ChannelOrder, Head, Letterbox};
use unbraid_runtime::dims::{Dims, Hw};

/// How a picture of another size is brought to the size of the input.
///
/// Both scale with a triangle filter (bilinear; when it shrinks, its support grows with the
/// factor, as Pillow's `BILINEAR` does). A picture of the right size passes unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Each axis by its own factor: the whole picture, perhaps out of proportion.
    Stretch,
    /// Both axes by the factor that covers the input, then the centre of the longer axis.
    Crop,
    /// Not at all: another size is an error.
    Never,
}

/// Why a picture cannot go into a model.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// Not a PNG or JPEG, cut off, or damaged.
    #[error("not a readable PNG or JPEG picture")]
    Decode(#[source] ImageError),
    /// Cannot be written as PNG.
    #[error("the picture cannot be written as PNG")]
    Encode(#[source] ImageError),
    /// No pixels.
    #[error("the picture has no pixels")]
    Empty,
    /// Of another size, where [`Resize::Never`] holds.
    #[error(
        "the picture is {} x {} pixels (width x height), expected {} x {}", found[0], found[1], expected[0], expected[1]
    )]
    Size {
        /// Its columns and rows.
        found: [u32; 2],
        /// Those it must have.
        expected: [u32; 2],
    },
    /// The model takes neither grey nor colour.
    #[error("the model's input has {0} channels, a picture has 1 (grey) or 3 (RGB); use a .npy")]
    Channels(u32),
}

/// The picture in `bytes` as `dims.h x dims.w x dims.c` values of 0 to 255, NHWC.
///
/// One channel: luma (0.2126 R + 0.7152 G + 0.0722 B) of a colour picture. Three: RGB. Alpha is
/// dropped, 16 bits become 8.
///
/// # Errors
/// The bytes are no picture, or `dims.c` is neither 1 nor 3, or the size is another and must not be.
pub fn decode(bytes: &[u8], dims: Dims, resize: Resize) -> Result<Vec<f32>, PictureError> {
    if !matches!(dims.c, 1 | 3) {
        return Err(PictureError::Channels(dims.c));
    }
    let picture = of_channels(open(bytes)?, dims.c);
    let (found, expected) = ([picture.width(), picture.height()], [dims.w, dims.h]);
    if resize == Resize::Never && found != expected {
        return Err(PictureError::Size { found, expected });
    }
    let sized = fit(picture, dims.w, dims.h, resize);
    Ok(sized.as_bytes().iter().map(|&v| f32::from(v)).collect())
}

/// The picture in the bytes of a PNG or JPEG.
///
/// # Errors
/// The bytes are no picture.
pub fn open(bytes: &[u8]) -> Result<DynamicImage, PictureError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let picture = reader.map_err(ImageError::IoError).and_then(ImageReader::decode);
    picture.map_err(PictureError::Decode)
}

fn of_channels(picture: DynamicImage, channels: u32) -> DynamicImage {
    if channels == 1 {
        DynamicImage::ImageLuma8(picture.into_luma8())
    } else {
        DynamicImage::ImageRgb8(picture.into_rgb8())
    }
}

/// The picture as a detector takes it, with `channels` channels (1: luma, 3: colour), and where it
/// lies there.
///
/// Scaled with a triangle filter, like [`decode`]; what is left over has the head's fill value.
///
/// # Errors
/// `channels` is neither 1 nor 3, or the picture has no pixels.
pub fn letterbox(
    picture: &DynamicImage,
    head: &Head,
    channels: u32,
) -> Result<(Vec<f32>, Letterbox), PictureError> {
    if !matches!(channels, 1 | 3) {
        return Err(PictureError::Channels(channels));
    }
    let source = Hw { h: picture.height(), w: picture.width() };
    let place = Letterbox::new(head.picture.fit, source, head.input).ok_or(PictureError::Empty)?;
    let Hw { h, w } = place.placed;
    let sized = fit(of_channels(picture.clone(), channels), w, h, Resize::Stretch);
    let mut values = vec![f32::from(head.picture.fill); pixels(head.input) * channels as usize];
    let (row, input_row) = ((w * channels) as usize, (head.input.w * channels) as usize);
    let first = (place.left * channels) as usize;
    let rows = values.chunks_mut(input_row).skip(place.top as usize);
    for (to, from) in rows.zip(sized.as_bytes().chunks(row)) {
        let to = &mut to[first..][..row];
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = f32::from(from));
        if (channels, head.picture.order) == (3, ChannelOrder::Bgr) {
            to.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.reverse());
        }
    }
    Ok((values, place))
}

fn pixels(size: Hw) -> usize {
    size.h as usize * size.w as usize
}

/// The bytes of a PNG of the picture.
///
/// # Errors
/// What the encoder says, which for a picture in memory is that it has no pixels.
pub fn to_png(picture: &RgbImage) -> Result<Vec<u8>, PictureError> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(PictureError::Encode)?;
    Ok(bytes.into_inner())
}

fn fit(picture: DynamicImage, w: u32, h: u32, resize: Resize) -> DynamicImage {
    if (picture.width(), picture.height()) == (w, h) {
        return picture;
    }
    match resize {
        Resize::Stretch | Resize::Never => picture.resize_exact(w, h, FilterType::Triangle),
        Resize::Crop => picture.resize_to_fill(w, h, FilterType::Triangle),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use unbraid_runtime::detect::{Arrangement, Boxes, Fit, Level, MAX_LEVELS, Picture};

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    const fn dims(h: u32, w: u32, c: u32) -> Dims {
        Dims { h, w, c }
    }

    #[test]
    fn a_picture_of_the_right_size_passes_unchanged() {
        let bytes = png(RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, 255])));
        let expected = [0, 0, 255, 1, 0, 255, 2, 0, 255, 0, 1, 255, 1, 1, 255, 2, 1, 255];
        for resize in [Resize::Stretch, Resize::Crop, Resize::Never] {
            let values = decode(&bytes, dims(2, 3, 3), resize).unwrap();
            assert_eq!(values, expected.map(|v| f32::from(v as u8)));
        }
    }

    #[test]
    fn stretch_keeps_the_whole_picture_and_crop_its_centre() {
        // Four columns: two black, two white. Stretched to one column it is grey; the centre of a
        // crop to 2 x 2 is one of each.
        let bytes = png(RgbImage::from_fn(4, 2, |x, _| Rgb([if x < 2 { 0 } else { 255 }; 3])));
        let grey = decode(&bytes, dims(2, 1, 1), Resize::Stretch).unwrap();
        assert!(grey.iter().all(|v| (100.0..156.0).contains(v)), "{grey:?}");
        let centre = decode(&bytes, dims(2, 2, 1), Resize::Crop).unwrap();
        assert_eq!(centre, [0.0, 255.0, 0.0, 255.0]);
    }

    /// A head of an input of 4 rows and 6 columns, one class and rows of centres.
    fn head(fit: Fit, order: ChannelOrder) -> Head {
        Head {
            input: Hw { h: 4, w: 6 },
            classes: 1,
            extra: 0,
            arrangement: Arrangement::Rows,
            boxes: Boxes::Centre,
            objectness: false,
            logits: false,
            level_count: 0,
            anchor_count: 1,
            levels: [Level::default(); MAX_LEVELS],
            picture: Picture { fit, fill: 114, order },
            score_threshold: 0.5,
            iou_threshold: 0.5,
        }
    }

    #[test]
    fn a_letterboxed_picture_lies_where_it_says_with_its_channels_in_order() {
        let picture = DynamicImage::ImageRgb8(RgbImage::from_fn(2, 4, |x, y| {
            Rgb([10 + x as u8, 20 + y as u8, 30])
        }));
        for (fit, left) in [(Fit::Centre, 2), (Fit::Corner, 0)] {
            for order in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
                let (values, place) = letterbox(&picture, &head(fit, order), 3).unwrap();
                assert_eq!((place.left, place.top, place.placed.w), (left, 0, 2));
                for (at, pixel) in values.as_chunks::<3>().0.iter().enumerate() {
                    let (x, y) = ((at % 6) as u32, at / 6);
                    let inside = (left..left + 2).contains(&x);
                    let mut expected = [114.0; 3];
                    if inside {
                        expected = [(10 + x - left) as f32, (20 + y) as f32, 30.0];
                    }
                    if order == ChannelOrder::Bgr {
                        expected.reverse();
                    }
                    assert_eq!(*pixel, expected, "{fit:?} {order:?} {x} {y}");
                }
            }
        }
        let (grey, _) = letterbox(&picture, &head(Fit::Centre, ChannelOrder::Bgr), 1).unwrap();
        assert_eq!((grey.len(), grey[0]), (24, 114.0));
        let none =
            letterbox(&DynamicImage::new_rgb8(0, 3), &head(Fit::Centre, ChannelOrder::Rgb), 3);
        assert!(matches!(none, Err(PictureError::Empty)));
    }

    #[test]
    fn colour_becomes_luma_for_a_grey_model() {
        let values = |rgb| {
            decode(&png(RgbImage::from_pixel(1, 1, Rgb(rgb))), dims(1, 1, 1), Resize::Stretch)
        };
        assert_eq!(values([255, 255, 255]).unwrap(), [255.0]);
        assert_eq!(values([255, 0, 0]).unwrap(), [54.0]);
        assert_eq!(values([0, 255, 0]).unwrap(), [182.0]);
        assert_eq!(values([0, 0, 255]).unwrap(), [18.0]);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let bytes = png(RgbImage::new(9, 9));
        for bad in [&bytes[..bytes.len() / 2], b"", b"GIF89a", b"\xff\xd8\xff\xe0"] {
            let error = decode(bad, dims(9, 9, 3), Resize::Stretch).unwrap_err();
            assert!(matches!(error, PictureError::Decode(_)));
        }
        let error = decode(&bytes, dims(9, 8, 3), Resize::Never).unwrap_err();
        assert!(matches!(error, PictureError::Size { found: [9, 9], expected: [8, 9] }));
        let error = decode(&bytes, dims(9, 9, 4), Resize::Stretch).unwrap_err();
        assert!(matches!(error, PictureError::Channels(4)));
    }
}
