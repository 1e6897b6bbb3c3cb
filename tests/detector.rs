//! Detection from ONNX to boxes, through the command line: a network made to order, and a real one
//! on real pictures against onnxruntime and NumPy.
//!
//! Registered with the converter's crate, like `cli.rs`. The real network and what others find with
//! it come from `tests/setup.sh`.
#![forbid(unsafe_code)]

mod command_line;

use command_line::{Folder, assert_code, assert_refused, convert, json, model, stderr, unbraid};
use image::{ImageFormat, Rgb, RgbImage};
use prost::Message;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::{fs, process, str};
use unbraid_converter::npy;
use unbraid_converter::onnx::{
    AttributeProto, DataType, DimensionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// What the network below is: it has one grid only.
const HEAD: [&str; 4] = ["--head", "yolov8", "--head-param", "strides=8"];

const EDGES: [&str; 4] = ["left", "top", "right", "bottom"];

fn floats(name: &str, dims: &[i64], values: Vec<f32>) -> TensorProto {
    let (name, dims, data_type) = (name.to_owned(), dims.to_vec(), DataType::Float as i32);
    TensorProto { name, dims, data_type, float_data: values, ..TensorProto::default() }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&n: &i64| DimensionProto { dim_value: Some(n), dim_param: None };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: DataType::Float as i32, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

/// A network of 16 x 16 pixels that sees the same in each of its four cells: a box around (8, 6) of
/// size 8 x 4, of class 1 with score 0.875, and of class 0 with 0.125. As a `YOLOv8` exports it.
fn certain() -> Vec<u8> {
    let shape = TensorProto {
        data_type: DataType::Int64 as i32,
        int64_data: vec![1, 6, 4],
        ..floats("shape", &[3], vec![])
    };
    let kernel = [("kernel_shape", [8, 8]), ("strides", [8, 8])];
    let kernel = kernel.map(|(name, values)| AttributeProto::ints(name, values));
    let conv = NodeProto::new("Conv", "conv", &["images", "weights", "bias"], "maps");
    let conv = kernel.into_iter().fold(conv, NodeProto::with);
    let graph = GraphProto {
        node: vec![conv, NodeProto::new("Reshape", "join", &["maps", "shape"], "output")],
        name: "certain".to_owned(),
        initializer: vec![
            floats("weights", &[6, 3, 8, 8], vec![0.0; 6 * 3 * 64]),
            floats("bias", &[6], vec![8.0, 6.0, 8.0, 4.0, 0.125, 0.875]),
            TensorProto { data_type: DataType::Int64 as i32, ..shape },
        ],
        input: vec![value("images", &[1, 3, 16, 16])],
        output: vec![value("output", &[1, 6, 4])],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 13 }];
    let file = ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..Default::default() };
    file.encode_to_vec()
}

/// The network, converted with these flags.
fn strand(folder: &Folder, flags: &[&str]) -> PathBuf {
    let onnx = folder.file("certain.onnx", certain());
    let path = folder.path("certain.strand");
    assert_code(&convert(&onnx, &path, flags), 0);
    path
}

/// A white picture twice as wide as high: in the network's input 8 rows, four rows down.
fn picture(folder: &Folder, rows: u32) -> PathBuf {
    let path = folder.path("white.png");
    RgbImage::from_pixel(2 * rows, rows, Rgb([255; 3]))
        .save_with_format(&path, ImageFormat::Png)
        .unwrap();
    path
}

fn detect(strand: &Path, input: &Path, flags: &[&str]) -> process::Output {
    let all = ["run", text(strand), "--input", text(input), "--detect"];
    unbraid(all.iter().chain(flags))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_detector_finds_its_thing_where_it_lies_in_the_picture() {
    let folder = Folder::new();
    let (strand, picture) = (strand(&folder, &HEAD), picture(&folder, 16));
    let labels = folder.file("labels.txt", "cup\nkettle\n");
    let flags = ["--labels", text(&labels), "--json"];
    let found = json(&detect(&strand, &picture, &flags));
    let kettle = json!({
        "class": 1, "label": "kettle", "score": 0.875,
        "left": 8.0, "top": 0.0, "right": 24.0, "bottom": 8.0,
    });
    assert_eq!(found, json!({ "width": 32, "height": 16, "things": [kettle] }));
    let table = detect(&strand, &picture, &flags[..2]);
    let table = str::from_utf8(&table.stdout).unwrap();
    assert!(table.contains("kettle") && table.contains("0.8750") && table.contains("24.0"));

    let sure = detect(&strand, &picture, &["--score", "0.9"]);
    assert_eq!(str::from_utf8(&sure.stdout).unwrap(), "nothing found\n");
    let all = json(&detect(&strand, &picture, &["--iou", "1", "--json"]));
    assert_eq!(all["things"].as_array().unwrap().len(), 4, "one a cell");
    let few = json(&detect(&strand, &picture, &["--iou", "1", "--candidates", "3", "--json"]));
    assert_eq!(few["things"].as_array().unwrap().len(), 3, "what there is memory for");
}

#[test]
fn the_drawing_is_the_picture_with_the_box() {
    let folder = Folder::new();
    let (strand, picture) = (strand(&folder, &HEAD), picture(&folder, 80));
    let drawing = folder.path("drawing.png");
    assert_code(&detect(&strand, &picture, &["--draw", text(&drawing)]), 0);
    let drawn = image::open(&drawing).unwrap().into_rgb8();
    assert_eq!(drawn.dimensions(), (160, 80));
    let white = |(x, y)| *drawn.get_pixel(x, y) == Rgb([255; 3]);
    assert!(![(40, 20), (119, 20), (80, 39)].into_iter().any(white), "sides");
    assert!(!white((90, 2)), "the label, inside: there is no room above");
    assert!([(80, 20), (20, 20), (140, 20), (80, 60)].into_iter().all(white), "nothing else");
}

#[test]
fn a_tensor_is_its_own_picture() {
    let folder = Folder::new();
    let strand = strand(&folder, &HEAD);
    let tensor = folder.file("x.npy", npy::write(&[1, 3, 16, 16], &[0.5; 768]));
    let found = json(&detect(&strand, &tensor, &["--json"]));
    let edges = EDGES.map(|edge| found["things"][0][edge].as_f64().unwrap());
    assert_eq!((edges, &found["width"]), ([4.0, 4.0, 12.0, 8.0], &16.into()));
    let drawing = folder.path("drawing.png");
    let refused = detect(&strand, &tensor, &["--draw", text(&drawing)]);
    assert_refused(&refused, 2, &["--draw", "picture"]);
    assert!(!folder.names().contains(&"drawing.png".to_owned()));
}

#[test]
fn a_file_says_what_its_outputs_mean() {
    let folder = Folder::new();
    let flags = [&HEAD[..], &["--head-param", "score=0.5", "--head-param", "fill=7"]].concat();
    let strand = strand(&folder, &flags);
    let head = &json(&unbraid(["inspect", text(&strand), "--json"]))["head"];
    assert_eq!((&head["classes"], &head["arrangement"]), (&2.into(), &"Columns".into()));
    assert_eq!((&head["score_threshold"], &head["picture"]["fill"]), (&0.5.into(), &7.into()));
    let shown = unbraid(["inspect", text(&strand)]);
    assert!(str::from_utf8(&shown.stdout).unwrap().contains("2 classes, boxes Centre in Columns"));
}

#[test]
fn a_file_keeps_the_names_of_its_classes() {
    let folder = Folder::new();
    let picture = picture(&folder, 16);
    let names = folder.file("names.txt", "cup\nkettle\n\n");
    let flags = [&HEAD[..], &["--labels", text(&names)]].concat();
    let strand = strand(&folder, &flags);
    let label = |flags: &[&str]| {
        let found = json(&detect(&strand, &picture, &[flags, &["--json"]].concat()));
        found["things"][0]["label"].as_str().unwrap().to_owned()
    };
    assert_eq!(label(&[]), "kettle");
    let others = folder.file("others.txt", "mug\npot");
    assert_eq!(label(&["--labels", text(&others)]), "pot");

    let onnx = folder.path("certain.onnx");
    for (content, words) in [
        ("cup", ["1 classes", "has 2"]),
        ("a\nb\nc", ["3 classes", "has 2"]),
        ("a\n\nb", ["line 2", "name"]),
    ] {
        let names = folder.file("bad.txt", content);
        let flags = [&HEAD[..], &["--labels", text(&names)]].concat();
        let refused = convert(&onnx, &folder.path("bad.strand"), &flags);
        assert_refused(&refused, 1, &[&["bad.txt"], &words[..]].concat());
        assert!(!folder.names().contains(&"bad.strand".to_owned()));
    }
}

#[test]
fn what_cannot_detect_is_refused_with_what_to_do() {
    let folder = Folder::new();
    let (onnx, output) = (folder.file("x.onnx", certain()), folder.path("x.strand"));
    let converted = |flags: &[&str]| convert(&onnx, &output, flags);
    assert_refused(&converted(&["--head", "yolov2"]), 2, &["yolov5", "yolov8", "yolox"]);
    let key = ["--head", "yolov8", "--head-param", "colour=red"];
    assert_refused(&converted(&key), 2, &["colour", "strides", "anchors"]);
    assert_refused(&converted(&["--head-param", "score=1"]), 2, &["--head"]);
    let strides =
        ["--head", "yolov8", "--head-param", "boxes=corners", "--head-param", "strides=7"];
    assert_code(&converted(&strides), 0);
    let grid = [&strides[..3], &["boxes=grid"], &strides[4..]].concat();
    assert_refused(&converted(&grid), 1, &["x.onnx", "stride of level 0"]);

    let (plain, picture) = (folder.strand(), model("ankle_boot.png"));
    assert_refused(&detect(&plain, &picture, &[]), 1, &["convert", "--head"]);
    let undetected = unbraid(["run", text(&plain), "--input", text(&picture), "--score", "0.5"]);
    assert_refused(&undetected, 2, &["--detect"]);
}

/// A file that `tests/setup.sh` makes.
fn real(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/detector").join(name);
    assert!(path.exists(), "{} is missing: run `sh tests/setup.sh`", path.display());
    path
}

fn number(thing: &Value, key: &str) -> f64 {
    thing[key].as_f64().unwrap()
}

/// How far the edges of two things are apart, in pixels.
fn distance(a: &Value, b: &Value) -> f64 {
    EDGES.map(|edge| (number(a, edge) - number(b, edge)).abs()).into_iter().fold(0.0, f64::max)
}

#[test]
fn a_real_detector_finds_what_onnxruntime_and_numpy_find() {
    let folder = Folder::new();
    let strand = folder.path("detector.strand");
    assert_code(&convert(&real("detector.onnx"), &strand, &["--head", "yolox"]), 0);
    for (name, least) in [("motorcycle_left", 3), ("page", 40)] {
        let expected = fs::read_to_string(real(&format!("{name}.json"))).unwrap();
        let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
        assert!(expected.len() >= least, "{name}: {} things show little", expected.len());
        let done = detect(&strand, &real(&format!("{name}.png")), &["--json"]);
        let found = json(&done)["things"].as_array().unwrap().clone();
        assert_eq!(found.len(), expected.len(), "{name}: {}", stderr(&done));
        for thing in &expected {
            let nearest =
                found.iter().min_by(|a, b| distance(a, thing).total_cmp(&distance(b, thing)));
            let nearest = nearest.unwrap();
            assert!(distance(nearest, thing) < 0.01, "{name}: {nearest} is not {thing}");
            let score = (number(nearest, "score") - number(thing, "score")).abs();
            assert!(
                score < 5e-4 && nearest["class"] == thing["class"],
                "{name}: {nearest} {thing}"
            );
        }
    }
}
