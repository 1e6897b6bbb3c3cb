//! Data for calibration and evaluation: every source gives the same values, and what is wrong with one is
//! named.
#![forbid(unsafe_code)]

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use unbraid_converter::data::{
    ChannelOrder, Classes, DataError, Dataset, Labels, Options, Port, Preprocess,
};
use unbraid_converter::npy;
use unbraid_converter::picture::Resize;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Rows and columns of the pictures here.
const H: usize = 3;
const W: usize = 4;

/// A folder for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("unbraid-data-{}-{count}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn pixel(picture: usize, at: usize) -> u8 {
    (picture * 50 + at * 7) as u8
}

fn grey(picture: usize) -> Vec<u8> {
    let image = GrayImage::from_fn(W as u32, H as u32, |x, y| {
        Luma([pixel(picture, y as usize * W + x as usize)])
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn bytes(pictures: usize) -> Vec<u8> {
    (0..pictures).flat_map(|p| (0..H * W).map(move |at| pixel(p, at))).collect()
}

fn floats(pictures: usize) -> Vec<f32> {
    bytes(pictures).into_iter().map(f32::from).collect()
}

/// An IDX file of bytes.
fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    file.extend(shape.iter().flat_map(|axis| axis.to_be_bytes()));
    file.extend(values);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npz(method: CompressionMethod, arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn port(name: &str, shape: &[usize]) -> Port {
    Port { name: name.to_owned(), shape: shape.to_vec() }
}

fn one() -> Vec<Port> {
    vec![port("x", &[1, 1, H, W])]
}

fn labelled(count: usize) -> Options {
    let classes = Classes { count: Some(count), ..Classes::default() };
    Options { labels: Labels::Required, classes, ..Options::default() }
}

fn all(path: &Path, ports: Vec<Port>, options: &Options) -> Vec<(Vec<Vec<f32>>, Option<usize>)> {
    let samples = Dataset::open(path, ports, options).unwrap();
    samples.iter().map(Result::unwrap).map(|s| (s.inputs, s.label)).collect()
}

/// The message of an error with those of its causes.
fn message(error: &DataError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[track_caller]
fn assert_refused(path: &Path, ports: Vec<Port>, options: &Options, words: &[&str]) {
    let failed = Dataset::open(path, ports, options)
        .and_then(|samples| samples.iter().collect::<Result<Vec<_>, _>>());
    let text = message(&failed.expect_err("refused"));
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

#[test]
fn every_source_gives_the_same_values_and_classes() {
    let folder = Folder::new();
    for k in 0..3 {
        folder.file(&format!("byclass/{}/p{k}.png", [2, 0, 2][k]), grey(k));
        folder.file(&format!("table/p{k}.png"), grey(k));
    }
    folder.file("table/labels.csv", "file,label\np1.png,0\np0.png,2\np2.png,2\n");
    let shape = [3, H as u32, W as u32];
    folder.file("a-images-idx3-ubyte", idx(&shape, &bytes(3)));
    folder.file("a-labels-idx1-ubyte", idx(&[3], &[2, 0, 2]));
    folder.file("b-images-idx3-ubyte.gz", gzip(&idx(&shape, &bytes(3))));
    folder.file("b-labels-idx1-ubyte.gz", gzip(&idx(&[3], &[2, 0, 2])));
    let array = npy::write(&[3, 1, H, W], &floats(3));
    let labels = npy::write(&[3], &[2.0, 0.0, 2.0]);
    let arrays = [("anything", array.clone()), ("labels", labels.clone())];
    folder.file("stored.npz", npz(CompressionMethod::Stored, &arrays));
    folder.file("deflated.npz", npz(CompressionMethod::Deflated, &arrays));
    folder.file("x.npy", &array);
    let expected: Vec<_> =
        floats(3).chunks(H * W).zip([2, 0, 2]).map(|(v, c)| (vec![v.to_vec()], Some(c))).collect();
    for name in
        ["table", "a-images-idx3-ubyte", "b-images-idx3-ubyte.gz", "stored.npz", "deflated.npz"]
    {
        assert_eq!(all(&folder.0.join(name), one(), &labelled(3)), expected, "{name}");
    }
    let truth = Some(folder.file("truth.txt", "2\n0\n2\n"));
    let options = Options { truth, ..labelled(3) };
    assert_eq!(all(&folder.0.join("x.npy"), one(), &options), expected);
    let sorted = [1, 0, 2].map(|k| expected[k].clone());
    assert_eq!(all(&folder.0.join("byclass"), one(), &labelled(3)), sorted);
    let single = all(&folder.0.join("table/p1.png"), one(), &Options::default());
    assert_eq!(single, [(expected[1].0.clone(), None)]);
}

#[test]
fn pictures_are_brought_to_size_order_and_scale() {
    let folder = Folder::new();
    let image = RgbImage::from_fn(4, 2, |x, _| Rgb([10 * x as u8, 100, 200]));
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).unwrap();
    let path = folder.file("p.png", png.into_inner());
    let read = |preprocess: Preprocess| {
        let options = Options { preprocess, ..Options::default() };
        all(&path, vec![port("x", &[1, 3, 2, 2])], &options).remove(0).0.remove(0)
    };
    let crop = Preprocess { resize: Resize::Crop, ..Preprocess::default() };
    let plain = [10.0, 20.0, 10.0, 20.0, 100.0, 100.0, 100.0, 100.0, 200.0, 200.0, 200.0, 200.0];
    assert_eq!(read(crop.clone()), plain);
    let order = ChannelOrder::Bgr;
    let (mean, std) = (vec![200.0, 0.0, 10.0], vec![2.0, 4.0, 10.0]);
    let normalised = Preprocess { order, mean, std, ..crop };
    let expected = [0.0, 0.0, 0.0, 0.0, 25.0, 25.0, 25.0, 25.0, 0.0, 1.0, 0.0, 1.0];
    assert_eq!(read(normalised), expected);
}

#[test]
fn arrays_go_to_the_inputs_they_name() {
    let folder = Folder::new();
    let ports = || vec![port("left", &[1, 2]), port("right", &[1, 1])];
    let (left, right) =
        (npy::write(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), npy::write(&[2, 1], &[5.0, 6.0]));
    let pair = [("right", right), ("left", left.clone())];
    let path = folder.file("pair.npz", npz(CompressionMethod::Deflated, &pair));
    let found = all(&path, ports(), &Options::default());
    let expected = [vec![vec![1.0, 2.0], vec![5.0]], vec![vec![3.0, 4.0], vec![6.0]]];
    assert_eq!(found, expected.map(|inputs| (inputs, None)));

    let fewer = [("left", left.clone()), ("right", npy::write(&[1, 1], &[5.0]))];
    let path = folder.file("fewer.npz", npz(CompressionMethod::Stored, &fewer));
    let words = ["fewer.npz", "`left` has 2", "`right` has 1"];
    assert_refused(&path, ports(), &Options::default(), &words);
    let path = folder.file("lacks.npz", npz(CompressionMethod::Stored, &[("left", left.clone())]));
    assert_refused(&path, ports(), &Options::default(), &["`right`", "it has left"]);
    let path = folder.file("left.npy", &left);
    assert_refused(&path, ports(), &Options::default(), &["2 inputs", "left, right", "left.npy"]);
}

#[test]
fn data_that_cannot_be_used_is_refused_by_name() {
    let folder = Folder::new();
    let plain = Options::default();
    let refused = |name: &str, bytes: Vec<u8>, words: &[&str]| {
        let path = folder.file(name, bytes);
        assert_refused(&path, one(), &plain, &[&[name], words].concat());
    };
    let array = npy::write(&[2, 1, H, W], &floats(2));
    let whole = npz(CompressionMethod::Deflated, &[("x", array.clone())]);
    refused("text.txt", b"hello".to_vec(), &["IDX", ".npz"]);
    refused("cut.npz", whole[..whole.len() / 2].to_vec(), &["cut off"]);
    refused("cut.npy", array[..array.len() - 1].to_vec(), &["96", "95"]);
    refused(
        "wide.npy",
        npy::write(&[2, 1, H, W + 1], &[0.0; 30]),
        &["[2, 1, 3, 5]", "[1, 1, 3, 4]"],
    );
    refused("cut-idx", idx(&[2, 3, 4], &bytes(2))[..30].to_vec(), &["24", "14"]);
    refused("wide-idx", idx(&[2, 3, 5], &[0; 30]), &["[2, 3, 5]", "[1, 1, 3, 4]"]);
    refused("none-idx", idx(&[0, 3, 4], &[]), &["[0, 3, 4]"]);
    let packed = gzip(&idx(&[2, 3, 4], &bytes(2)));
    refused("cut-idx.gz", packed[..packed.len() / 2].to_vec(), &["unpacked"]);
    refused("cut.png", grey(0)[..40].to_vec(), &["picture"]);
    let mut values = floats(2);
    (values[12], values[0]) = (f32::NAN, 255.0);
    refused("nan.npy", npy::write(&[2, 1, H, W], &values), &[]);
}

#[test]
fn what_is_no_number_is_refused_with_its_place() {
    let folder = Folder::new();
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut values = floats(2);
        values[12 + 5] = value;
        let path = folder.file("x.npy", npy::write(&[2, 1, H, W], &values));
        assert_refused(&path, one(), &Options::default(), &["#1", name, "`x`", "value 5"]);
    }
    let path = folder.file("p.png", grey(0));
    let preprocess = Preprocess { std: vec![0.0], ..Preprocess::default() };
    let options = Options { preprocess, ..Options::default() };
    assert_refused(&path, one(), &options, &["--input-std", "0"]);
    let preprocess = Preprocess { mean: vec![1.0, 2.0], ..Preprocess::default() };
    let options = Options { preprocess, ..Options::default() };
    assert_refused(&path, one(), &options, &["2 values", "--input-mean", "1 channels"]);
}

#[test]
fn folders_that_hold_no_pictures_or_bad_ones_are_refused() {
    let folder = Folder::new();
    let plain = Options::default();
    let empty = folder.0.join("empty");
    fs::create_dir_all(&empty).unwrap();
    assert_refused(&empty, one(), &plain, &["no picture", "empty", ".png"]);
    folder.file("other/sub/a.webp", b"RIFF");
    assert_refused(&folder.0.join("other"), one(), &plain, &["no picture", "sub/a.webp"]);
    assert_refused(&folder.0.join("nowhere"), one(), &plain, &["cannot read", "nowhere"]);
    folder.file("bad/good.png", grey(0));
    folder.file("bad/sub/cut.png", &grey(1)[..50]);
    assert_refused(&folder.0.join("bad"), one(), &plain, &["bad/sub/cut.png", "PNG or JPEG"]);
    let ports = vec![port("x", &[1, 4, H, W])];
    assert_refused(&folder.0.join("bad"), ports, &plain, &["`x`", "[1, 4, 3, 4]", "[1, 3, height"]);
    let never = Preprocess { resize: Resize::Never, ..Preprocess::default() };
    let options = Options { preprocess: never, ..Options::default() };
    let ports = vec![port("x", &[1, 1, 8, 9])];
    let words = ["good.png", "4 x 3", "9 x 8"];
    assert_refused(&folder.0.join("bad"), ports, &options, &words);
}

#[test]
fn labels_that_do_not_match_are_refused() {
    let folder = Folder::new();
    let pictures = |name: &str| {
        (0..2).for_each(|k| {
            folder.file(&format!("{name}/p{k}.png"), grey(k));
        });
    };
    let names = |names: &[&str]| Options {
        classes: Classes { names: names.iter().map(|&n| n.to_owned()).collect(), count: Some(3) },
        ..labelled(3)
    };
    let table = |name: &str, text: &str, words: &[&str]| {
        pictures(name);
        folder.file(&format!("{name}/labels.csv"), text);
        let options = names(&["cat", "night_owl", "dog"]);
        assert_refused(&folder.0.join(name), one(), &options, &[&["labels.csv"], words].concat());
    };
    table("lacks", "p0.png,1\n", &["p1.png", "no label", "1 of 2"]);
    table("absent", "p0.png,1\np1.png,1\np7.png,1\n", &["line 3", "p7.png"]);
    table("twice", "p0.png,1\np1.png,1\np0.png,2\n", &["line 3", "p0.png", "another class"]);
    table("unknown", "p0.png,cow\np1.png,cat\n", &["\"cow\"", "3"]);
    table("spelled", "p0.png,Night-Owl\np1.png,cat\n", &["Night-Owl", "night_owl", "meant"]);
    table("range", "p0.png,0\np1.png,3\n", &["p1.png", "class 3", "0 to 2"]);
    table("form", "p0.png\n", &["line 1", "file,label"]);

    pictures("none");
    let none = folder.0.join("none");
    assert_refused(&none, one(), &labelled(3), &["labels.csv", "folder for each", "none"]);
    folder.file("mixed/1/a.png", grey(0));
    folder.file("mixed/b.png", grey(1));
    assert_refused(&folder.0.join("mixed"), one(), &labelled(3), &["b.png", "folder"]);
    folder.file("named/cat/a.png", grey(0));
    folder.file("named/dog/b.png", grey(1));
    let named = folder.0.join("named");
    assert_refused(&named, one(), &labelled(3), &["2 folders", "3 apart", "--labels"]);
    assert_eq!(all(&named, one(), &labelled(2)).len(), 2, "as many folders as classes");
    let by_name = all(&named, one(), &names(&["dog", "cow", "cat"]));
    assert_eq!(by_name.iter().map(|s| s.1).collect::<Vec<_>>(), [Some(2), Some(0)]);

    let images = folder.file("a-images-idx3-ubyte", idx(&[2, 3, 4], &bytes(2)));
    assert_refused(&images, one(), &labelled(3), &["a-images-idx3-ubyte", "--truth"]);
    folder.file("a-labels-idx1-ubyte", idx(&[3], &[0, 1, 2]));
    assert_refused(&images, one(), &labelled(3), &["a-labels-idx1-ubyte", "3 labels", "2 samples"]);
    let array = npy::write(&[2, 1, H, W], &floats(2));
    let half = [("x", array), ("labels", npy::write(&[2], &[0.5, 1.0]))];
    let path = folder.file("half.npz", npz(CompressionMethod::Stored, &half));
    assert_refused(&path, one(), &labelled(3), &["half.npz", "0.5"]);
}
