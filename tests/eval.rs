//! `unbraid eval` as a user meets it: right figures for real pictures, and a word for everything that
//! is wrong with data.
//!
//! Registered with the converter's crate, because cargo tells only that one where the program is.
#![forbid(unsafe_code)]

mod command_line;

use command_line::{Folder, assert_code, assert_refused, convert, json, model, stderr, unbraid};
use flate2::read::GzDecoder;
use image::{GrayImage, ImageFormat, Luma};
use prost::Message;
use rayon::prelude::*;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Output;
use unbraid_converter::onnx::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use unbraid_converter::{import, npy, reference};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Debian's package `dataset-fashion-mnist`.
const FASHION: &str = "/usr/share/datasets/fashion-mnist";
/// Mean and deviation of its pixels, with which the networks were trained.
const NORMALISED: [&str; 4] = ["--input-mean", "72.94", "--input-std", "90.02"];

fn test_pictures() -> String {
    format!("{FASHION}/t10k-images-idx3-ubyte.gz")
}

/// The bytes behind the header of a gzipped IDX file.
fn idx(name: &str, header: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(format!("{FASHION}/{name}")).expect("dataset-fashion-mnist");
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes.split_off(header)
}

fn eval(arguments: &[&str]) -> Output {
    unbraid([&["eval"], arguments].concat())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// `count` test pictures and their classes.
fn pictures(count: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let pixels = idx("t10k-images-idx3-ubyte.gz", 16);
    let labels = idx("t10k-labels-idx1-ubyte.gz", 8);
    (pixels.chunks(784).take(count).map(<[u8]>::to_vec).collect(), labels[..count].to_vec())
}

/// How many of the first pictures the f64 interpreter puts into the right class.
fn right_by_the_oracle(file: &Path, count: usize) -> usize {
    let graph = import::load(file, &import::Options::default()).unwrap();
    let (pictures, labels) = pictures(count);
    let right = |(pixels, label): (&Vec<u8>, &u8)| {
        let normalised = pixels.iter().map(|&p| f64::from(((f64::from(p) - 72.94) / 90.02) as f32));
        let scores = reference::run(&graph, &[normalised.collect()]).unwrap().swap_remove(0);
        let best = (0..10).fold(0, |best, k| if scores[k] > scores[best] { k } else { best });
        best == usize::from(*label)
    };
    pictures.par_iter().zip(&labels).filter(|pair| right(*pair)).count()
}

#[test]
fn accuracy_on_real_pictures_is_that_of_the_oracle_and_of_training() {
    let onnx = model("repvgg_preserve.onnx");
    let (onnx_name, data) = (text(&onnx), test_pictures());
    let on = |flags: &[&str]| {
        json(&eval(&[&[&*onnx_name, &data, "--json"], &NORMALISED[..], flags].concat()))
    };
    let thousand = on(&["--limit", "1000"]);
    assert_eq!(thousand["samples"], 1000);
    assert_eq!(thousand["networks"][0]["right"], right_by_the_oracle(&onnx, 1000));
    let all = on(&["--threads", "2"]);
    let trained: Value =
        serde_json::from_str(&fs::read_to_string(model("models.json")).unwrap()).unwrap();
    assert_eq!(all["networks"][0]["right"], trained["nets"]["repvgg"]["test_correct"]);
    assert!(all["networks"][0]["top5"].as_f64() > all["networks"][0]["top1"].as_f64());
    for row in all["networks"][0]["worst"].as_array().unwrap() {
        let count = |value: &Value| value.as_u64().unwrap();
        let taken: u64 =
            row["taken_for"].as_array().unwrap().iter().map(|other| count(&other["samples"])).sum();
        assert_eq!(count(&row["samples"]), 1000);
        assert_eq!(count(&row["right"]) + taken, 1000);
    }
}

#[test]
fn threads_change_nothing_and_a_lot_is_drawn_again_by_its_seed() {
    let onnx = text(&model("plain_eval.onnx"));
    let data = test_pictures();
    let on = |flags: &[&str]| {
        let done = eval(&[&[&*onnx, &data, "--limit", "200"], &NORMALISED[..], flags].concat());
        assert_code(&done, 0);
        done.stdout
    };
    let (first, lot) = (on(&["--threads", "1"]), on(&["--seed", "5", "--threads", "1"]));
    assert_eq!(on(&["--threads", "3"]), first);
    assert_eq!(on(&["--seed", "5", "--threads", "2"]), lot);
    assert_ne!(on(&["--seed", "6"]), lot);
}

#[test]
fn normalisation_inside_the_network_is_that_of_the_flags() {
    let folder = Folder::new();
    let onnx = model("repvgg_preserve.onnx");
    let (raw, plain) = (folder.path("raw.strand"), folder.strand());
    let folded = ["--mean", "72.94", "--std", "90.02"];
    assert_code(&convert(&onnx, &raw, &folded), 0);
    let (onnx, raw, plain, data) = (text(&onnx), text(&raw), text(&plain), test_pictures());
    let right = |arguments: &[&str]| {
        let limit = [&data, "--limit", "300", "--json"];
        json(&eval(&[&arguments[..1], &limit, &arguments[1..]].concat()))["networks"][0]["right"]
            .clone()
    };
    let expected = right(&[&[&*onnx], &NORMALISED[..]].concat());
    assert_eq!(right(&[&raw]), expected);
    assert_eq!(right(&[&[&*plain], &NORMALISED[..]].concat()), expected);
    assert_eq!(right(&[&[&*onnx], &folded[..]].concat()), expected);
    assert_ne!(right(&[&plain]), expected, "without any it is another function");
    assert_refused(
        &eval(&[&raw, &data, "--mean", "1", "--std", "1"]),
        2,
        &["raw.strand", "convert"],
    );
}

#[test]
fn a_second_network_is_held_against_the_first() {
    let folder = Folder::new();
    let (same, other) = (folder.strand(), folder.path("other.strand"));
    assert_code(&convert(&model("plain_eval.onnx"), &other, &[]), 0);
    let (onnx, data) = (text(&model("repvgg_preserve.onnx")), test_pictures());
    let against = |other: &Path| {
        let arguments = [&*onnx, &data, "--limit", "100", "--json", "--against", &text(other)];
        json(&eval(&[&arguments, &NORMALISED[..]].concat()))
    };
    let answer = against(&same);
    assert_eq!(answer["difference"]["changed"], 0);
    assert_eq!(answer["networks"][1]["name"], "net.strand");
    assert_eq!(answer["networks"][0]["right"], answer["networks"][1]["right"]);
    let answer = against(&other);
    assert!(answer["difference"]["changed"].as_u64() > Some(0));
    assert!(answer["difference"]["sqnr_db"].as_f64() < Some(20.0));
    let identity = folder.file("twice.onnx", twice());
    let wrong = eval(&[&onnx, &data, "--against", &text(&identity)]);
    assert_refused(&wrong, 1, &["twice.onnx"]);
}

/// A network of an input `[1, 1, 8, 8]` whose output is twice the picture.
fn twice() -> Vec<u8> {
    let float = |name| ValueInfoProto::floats(name, &[1, 1, 8, 8]);
    let graph = GraphProto {
        name: "twice".into(),
        input: vec![float("x")],
        output: vec![float("y")],
        node: vec![NodeProto::new("Add", "add", &["x", "x"], "y")],
        ..GraphProto::default()
    };
    ModelProto::new(graph, 8, 13).encode_to_vec()
}

fn png(pixel: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let image = GrayImage::from_fn(8, 8, |x, y| Luma([pixel(x, y)]));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn likeness_to_references_is_the_known_ratio() {
    let folder = Folder::new();
    let onnx = text(&folder.file("twice.onnx", twice()));
    let (inputs, references) = (folder.path("in"), folder.path("ref"));
    for path in [&inputs, &references] {
        fs::create_dir(path).unwrap();
    }
    // Pictures are off by 2 and by 6.
    for (k, off) in [2_u8, 6].into_iter().enumerate() {
        let value = move |x: u32, y: u32| (x * 7 + y * 3 + k as u32) as u8;
        fs::write(inputs.join(format!("p{k}.png")), png(value)).unwrap();
        fs::write(references.join(format!("p{k}.png")), png(move |x, y| 2 * value(x, y) + off))
            .unwrap();
    }
    let (inputs, references) = (text(&inputs), text(&references));
    let arguments = [&*onnx, &inputs, "--reference", &references];
    let answer = json(&eval(&[&arguments[..], &["--json"]].concat()));
    let network = &answer["networks"][0];
    let psnr = |square: f64| 10.0 * (255.0 * 255.0 / square).log10();
    let near = |found: &Value, expected: f64| {
        assert!((found.as_f64().unwrap() - expected).abs() < 1e-9, "{found}, expected {expected}");
    };
    near(&network["psnr_db"], psnr(f64::midpoint(4.0, 36.0)));
    near(&network["mean_psnr_db"], f64::midpoint(psnr(4.0), psnr(36.0)));
    assert_eq!(network["worst"][0]["sample"], "p1.png");
    near(&network["worst"][0]["psnr_db"], psnr(36.0));

    let mut names = folder.names();
    names.sort();
    assert_eq!(names, ["in", "ref", "twice.onnx"], "nothing is written");

    // In units of 0 to 1 the same ratio, but for the rounding of the input.
    let unit = ["--peak", "1", "--input-std", "255", "--json"];
    let ratio = &json(&eval(&[&arguments[..], &unit].concat()))["networks"][0]["psnr_db"];
    assert!((ratio.as_f64().unwrap() - psnr(20.0)).abs() < 1e-4);

    assert_refused(&eval(&[&onnx, &inputs]), 2, &["[1, 1, 8, 8]", "--reference"]);
    fs::rename(folder.path("ref/p1.png"), folder.path("ref/q1.png")).unwrap();
    assert_refused(&eval(&arguments), 1, &["p1.png", "q1.png"]);
    fs::remove_file(folder.path("ref/q1.png")).unwrap();
    assert_refused(&eval(&arguments), 1, &["1 references", "2 samples"]);
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn arrays_go_to_the_inputs_of_their_names() {
    let folder = Folder::new();
    let float = |name| ValueInfoProto::floats(name, &[1, 3]);
    let graph = GraphProto {
        name: "difference".into(),
        input: vec![float("left"), float("right")],
        output: vec![float("scores")],
        node: vec![NodeProto::new("Sub", "subtract", &["left", "right"], "scores")],
        ..GraphProto::default()
    };
    let onnx = folder.file("two.onnx", ModelProto::new(graph, 8, 13).encode_to_vec());
    let left = npy::write(&[2, 3], &[5.0, 6.0, 7.0, 5.0, 6.0, 7.0]);
    let right = npy::write(&[2, 3], &[0.0, 4.0, 6.0, 9.0, 2.0, 6.0]);
    // The differences are 5 2 1 and -4 4 1.
    let labels = npy::write(&[2], &[0.0, 2.0]);
    let all = [("right", right), ("labels", labels), ("left", left)];
    let data = folder.file("data.npz", npz(&all));
    let answer = json(&eval(&[&text(&onnx), &text(&data), "--json"]));
    let network = &answer["networks"][0];
    assert_eq!((&answer["samples"], &network["right"]), (&2.into(), &1.into()));
    assert_eq!(network["top5"], Value::Null, "three classes have no best five");
    assert_eq!(network["worst"][0]["class"], 2);
    assert_eq!(network["worst"][0]["taken_for"][0]["class"], 1);
    let data = folder.file("half.npz", npz(&all[1..]));
    assert_refused(&eval(&[&text(&onnx), &text(&data)]), 1, &["`right`", "left"]);
}

/// A folder of test pictures in a folder for each class.
fn sorted(folder: &Folder, name: &str, picks: &[usize]) -> PathBuf {
    let (pixels, labels) = pictures(64);
    let root = folder.path(name);
    for &k in picks {
        let class = root.join(labels[k].to_string());
        fs::create_dir_all(&class).unwrap();
        let image = GrayImage::from_raw(28, 28, pixels[k].clone()).unwrap();
        image.save_with_format(class.join(format!("p{k}.png")), ImageFormat::Png).unwrap();
    }
    root
}

#[test]
fn doubtful_data_is_warned_about() {
    let folder = Folder::new();
    let onnx = text(&model("repvgg_preserve.onnx"));
    let warned = |data: &Path| {
        let done = eval(&[&[&*onnx, &text(data)], &NORMALISED[..]].concat());
        assert_code(&done, 0);
        stderr(&done)
    };
    assert_eq!(warned(&sorted(&folder, "good", &[0, 1, 2, 3, 4, 5, 6, 7])), "");
    let one = warned(&sorted(&folder, "one", &[0]));
    assert!(one.contains("warning") && one.contains("one sample only"), "{one}");
    let equal = sorted(&folder, "equal", &[5]);
    let class = fs::read_dir(&equal).unwrap().next().unwrap().unwrap().path();
    fs::copy(class.join("p5.png"), class.join("again.png")).unwrap();
    assert!(warned(&equal).contains("all 2 samples are the same"));
    let noise: Vec<f32> =
        (0..4 * 784_u32).map(|k| (k.wrapping_mul(2_654_435_761) >> 24) as f32).collect();
    let labels = npy::write(&[4], &[0.0; 4]);
    let arrays = [("input", npy::write(&[4, 1, 28, 28], &noise)), ("labels", labels)];
    assert!(
        warned(&folder.file("noise.npz", npz(&arrays))).contains("4 of 4 pictures look like noise")
    );
}

#[test]
fn data_that_cannot_be_used_is_refused() {
    let folder = Folder::new();
    let onnx = text(&model("repvgg_preserve.onnx"));
    let refused = |data: &Path, flags: &[&str], words: &[&str]| {
        let data = text(data);
        let done = eval(&[&[&*onnx, &data], flags].concat());
        assert_refused(&done, 1, &[&[&*data], words].concat());
    };
    let empty = folder.path("empty");
    fs::create_dir(&empty).unwrap();
    refused(&empty, &[], &["no picture", ".png"]);
    refused(&folder.path("nowhere"), &[], &["cannot read"]);
    let cut = sorted(&folder, "cut", &[0, 1, 2]);
    let second = cut.join("2/p1.png");
    let bytes = fs::read(&second).unwrap();
    fs::write(&second, &bytes[..bytes.len() / 2]).unwrap();
    for threads in ["1", "2"] {
        refused(&cut, &["--threads", threads], &["2/p1.png", "PNG or JPEG"]);
    }
    let wide = npz(&[("input", npy::write(&[2, 3, 28, 28], &vec![0.5; 2 * 3 * 784]))]);
    refused(&folder.file("wide.npz", wide), &[], &["[2, 3, 28, 28]", "[1, 1, 28, 28]"]);
    for (name, value) in [("NaN", f32::NAN), ("inf", f32::INFINITY)] {
        let mut values = vec![0.5; 2 * 784];
        values[784 + 3] = value;
        let labels = npy::write(&[2], &[0.0; 2]);
        let file = npz(&[("input", npy::write(&[2, 1, 28, 28], &values)), ("labels", labels)]);
        refused(&folder.file("nan.npz", file), &[], &["#1", name, "value 3"]);
    }
    let good = sorted(&folder, "good", &[0, 1]);
    refused(&good, &["--input-std", "0"], &["--input-std"]);
    refused(&good, &["--input-mean", "1,2,3"], &["3 values", "1 channels"]);
    fs::rename(good.join("2"), good.join("12")).unwrap();
    refused(&good, &[], &["p1.png", "class 12", "0 to 9"]);
    let names = folder.file("names.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    fs::rename(good.join("12"), good.join("shoe")).unwrap();
    refused(&good, &["--labels", &text(&names)], &["\"shoe\"", "--labels"]);
    refused(&good, &[], &["folders", "10 apart", "--labels"]);
    let bare = folder.path("bare");
    fs::create_dir(&bare).unwrap();
    fs::copy(good.join("9/p0.png"), bare.join("p0.png")).unwrap();
    refused(&bare, &[], &["which classes", "labels.csv", "--truth"]);
    let two = text(&folder.file("two.txt", "9\n9\n"));
    refused(
        Path::new(&test_pictures()),
        &["--truth", &two],
        &["2 labels", "10000 samples", "two.txt"],
    );
}

/// Flags that make integers of a network trained on these pictures: calibration on a lot of them.
const INT8: [&str; 6] =
    ["--int8", "--calibrate-limit", "40", "--calibrate", TRAINING, "--no-rounding"];
const TRAINING: &str = "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz";

#[test]
fn integers_are_measured_beside_floats() {
    let (onnx, data) = (text(&model("repvgg_preserve.onnx")), test_pictures());
    let arguments = [&*onnx, &data, "--limit", "1000", "--json"];
    let answer = json(&eval(&[&arguments[..], &NORMALISED, &INT8].concat()));
    let names = [0, 1].map(|k| answer["networks"][k]["name"].clone());
    assert_eq!(names, ["float", "int8"]);
    let right = [0, 1].map(|k| answer["networks"][k]["right"].as_u64().unwrap());
    assert_eq!(right[0] as usize, right_by_the_oracle(&model("repvgg_preserve.onnx"), 1000));
    assert!(right[0].abs_diff(right[1]) <= 10, "{right:?}");
    let sqnr = answer["difference"]["sqnr_db"].as_f64().unwrap();
    assert!((30.0..70.0).contains(&sqnr), "integers leave some noise, and little: {sqnr}");
    assert!(answer["difference"]["share"].as_f64() < Some(0.02));
}

#[test]
fn every_layer_of_integers_is_held_against_the_model() {
    let folder = Folder::new();
    let (onnx, strand) = (model("repvgg_preserve.onnx"), folder.path("s8.strand"));
    assert_code(&convert(&onnx, &strand, &[&INT8[..], &NORMALISED].concat()), 0);
    let (page, data) = (text(&folder.path("layers.html")), test_pictures());
    let compare = |strand: &Path, flags: &[&str]| {
        let head = ["compare", &text(&onnx), &text(strand), "--data", &data, "--limit", "8"];
        json(&unbraid([&head, &NORMALISED[..], flags, &["--layers", "--json"]].concat()))
    };
    let answer = compare(&strand, &["--report", &page]);
    let layers = answer["layers"].as_array().unwrap();
    let s8: Vec<&Value> = layers.iter().filter(|layer| layer["stored"] == "s8").collect();
    assert!(s8.len() >= 8, "{} of {}", s8.len(), layers.len());
    for layer in &s8 {
        let figure = |key: &str| layer[key].as_f64().unwrap_or_else(|| panic!("{key}: {layer}"));
        assert_eq!(layer["unlike_portable"], 0, "{layer}");
        assert!(figure("sqnr_db") > 20.0 && figure("cosine") > 0.99, "{layer}");
        assert!(
            figure("sqnr_db") < figure("grid_db") + 0.1,
            "no better than the integers: {layer}"
        );
        assert!(figure("cut_off") < 0.01 && figure("max_rel") < 0.5, "{layer}");
        assert!(layer["worst"][0].as_str().unwrap().starts_with('#'));
    }
    let html = fs::read_to_string(&page).unwrap();
    assert!(layers.iter().all(|layer| html.contains(layer["name"].as_str().unwrap())));

    // What is advised on can be done: by the name that the advice has.
    let advised = answer["advice"][0].as_str().unwrap();
    assert!(html.contains("--float NODE") && advised.contains("--float NODE"), "{advised}");
    let name = advised.split(' ').next().unwrap();
    let float = folder.path("float.strand");
    let flags = ["--float", name, "--ranges", "minmax"];
    assert_code(&convert(&onnx, &float, &[&INT8[..], &NORMALISED, &flags].concat()), 0);
    let answer = compare(&float, &[]);
    let layers = answer["layers"].as_array().unwrap();
    let layer = layers.iter().find(|layer| layer["name"] == name).unwrap();
    assert_ne!(layer["op"], "conv_s8", "computed in float, and rounded for what reads it");
}

#[test]
fn calibration_on_what_cannot_be_used_is_refused_and_leaves_no_file() {
    let folder = Folder::new();
    let onnx = model("repvgg_preserve.onnx");
    let empty = folder.path("empty");
    fs::create_dir(&empty).unwrap();
    let wide = folder.file("wide.npz", npz(&[("input", npy::write(&[2, 1, 9, 9], &[0.5; 162]))]));
    let nan = npz(&[("input", npy::write(&[1, 1, 28, 28], &[f32::NAN; 784]))]);
    let nan = folder.file("nan.npz", nan);
    for (data, words) in [
        (&empty, &["no picture"][..]),
        (&folder.path("nowhere"), &["cannot read"]),
        (&wide, &["[2, 1, 9, 9]", "[1, 1, 28, 28]"]),
        (&nan, &["NaN", "#0"]),
    ] {
        let strand = folder.path("net.strand");
        let done = convert(&onnx, &strand, &["--int8", "--calibrate", &text(data)]);
        assert_refused(&done, 1, &[&[&*text(data)], words].concat());
        assert!(!strand.exists());
    }
    let strand = folder.path("one.strand");
    let one = sorted(&folder, "one", &[0]);
    let flags = ["--int8", "--calibrate", &text(&one)];
    let done = convert(&onnx, &strand, &[&flags, &NORMALISED[..]].concat());
    assert_code(&done, 0);
    assert!(stderr(&done).contains("warning"), "one picture is no calibration: {}", stderr(&done));
}
