//! The command line as a user meets it: exit codes, what is on which stream, which files appear.
//!
//! Registered with the converter's crate, because cargo tells only that one where the program is.
#![forbid(unsafe_code)]

mod command_line;

use command_line::{Folder, assert_code, assert_refused, convert, json, model, unbraid};
use prost::Message;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Output;
use unbraid_converter::npy;
use unbraid_converter::onnx::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto,
};
use unbraid_runtime::model::crc32;

/// `repvgg_preserve.onnx`, changed.
fn changed(change: impl FnOnce(&mut GraphProto)) -> Vec<u8> {
    let bytes = fs::read(model("repvgg_preserve.onnx")).unwrap();
    let mut file = ModelProto::decode(bytes.as_slice()).unwrap();
    change(file.graph.as_mut().unwrap());
    file.encode_to_vec()
}

fn input_axis(graph: &mut GraphProto, axis: usize) -> &mut DimensionProto {
    let kind = graph.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    &mut kind.shape.as_mut().unwrap().dim[axis]
}

/// Case, file, words of the message.
type BadModel = (&'static str, Vec<u8>, &'static [&'static str]);

fn bad_models() -> Vec<BadModel> {
    let whole = fs::read(model("repvgg_preserve.onnx")).unwrap();
    vec![
        ("empty", vec![], &["bad.onnx", "empty"]),
        ("text", b"not a model, just text\n".to_vec(), &["bad.onnx", "ONNX"]),
        ("cut", whole[..whole.len() / 2].to_vec(), &["bad.onnx"]),
        (
            "unknown operators",
            changed(|graph| {
                graph.node[3].op_type = "Frobnicate".into();
                graph.node[3].name = "third".into();
                graph.node[9].op_type = "Transmogrify".into();
                graph.node[9].name = "ninth".into();
            }),
            &["third", "Frobnicate", "ninth", "Transmogrify", "supported", "Conv"],
        ),
        (
            "dynamic height",
            changed(|graph| {
                let height = DimensionProto { dim_value: None, dim_param: Some("height".into()) };
                *input_axis(graph, 2) = height;
            }),
            &["input", "height", "--input-shape"],
        ),
        (
            "weights that are no numbers",
            changed(|graph| {
                let weights = &mut graph.initializer[0];
                let mut raw = weights.raw_data.to_vec();
                raw[..4].copy_from_slice(&f32::NAN.to_le_bytes());
                weights.raw_data = raw.into();
                weights.name.push_str("_nan");
                let name = weights.name.clone();
                let old = name.trim_end_matches("_nan").to_owned();
                let inputs = graph.node.iter_mut().flat_map(|node| &mut node.input);
                inputs.filter(|input| **input == old).for_each(|input| input.clone_from(&name));
            }),
            &["_nan", "NaN"],
        ),
        (
            "weights that are not there",
            changed(|graph| {
                graph.initializer.remove(0);
            }),
            &["weights are missing"],
        ),
        (
            "a graph that still trains",
            changed(|graph| {
                let mut nodes = graph.node.iter_mut();
                let norm = nodes.find(|node| node.op_type == "BatchNormalization").unwrap();
                norm.attribute.retain(|attribute| attribute.name != "training_mode");
                norm.attribute.push(AttributeProto::int("training_mode", 1));
            }),
            &["training", "model.eval()"],
        ),
    ]
}

#[test]
fn a_bad_model_is_refused_and_leaves_no_file() {
    for (case, bytes, words) in bad_models() {
        let folder = Folder::new();
        let bad = folder.file("bad.onnx", bytes);
        let (emitted, report) = (folder.path("f.onnx"), folder.path("f.json"));
        let flags =
            ["--emit-onnx", emitted.to_str().unwrap(), "--report", report.to_str().unwrap()];
        let done = convert(&bad, &folder.path("out.strand"), &flags);
        assert_refused(&done, 1, words);
        assert_eq!(folder.names(), ["bad.onnx"], "{case}");
    }
}

#[test]
fn a_wrong_input_shape_is_refused_with_what_the_model_says() {
    for (shape, code, words) in [
        ("input=1,1,28", 1, &["--input-shape", "input", "4"][..]),
        ("input=1,3,28,28", 1, &["--input-shape", "input", "axis 1", "3"]),
        ("picture=1,1,28,28", 1, &["--input-shape", "picture", "`input`"]),
        ("input=1,1,x,28", 2, &["--input-shape", "1,1,x,28"]),
        ("1,1,28,28", 2, &["--input-shape", "NAME=1,3,224,224"]),
    ] {
        let folder = Folder::new();
        let output = folder.path("out.strand");
        let done = convert(&model("plain_eval.onnx"), &output, &["--input-shape", shape]);
        assert_refused(&done, code, words);
        assert!(folder.names().is_empty(), "{shape}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_lists_what_exists() {
    let folder = Folder::new();
    let strand = folder.strand();
    let file = strand.to_str().unwrap();
    let onnx = model("plain_eval.onnx");
    let onnx = onnx.to_str().unwrap();
    for (arguments, words) in [
        (&["bench", file, "--mask", "mmx"][..], &["mmx", "avx2", "avx512"][..]),
        (&["convert", onnx, "-o", "x.strand", "--target", "toaster"], &["toaster", "any"]),
        (&["convert", onnx, "-o", "x.strand", "--mean", "1"], &["--std"]),
        (&["convert", onnx, "-o", "x.strand", "--no-fuse", "--fuse=all"], &["--no-fuse", "--fuse"]),
        (&["convert", onnx, "-o", "x.strand", "--report", "r.txt"], &["r.txt", ".html", ".json"]),
        (
            &["run", file, "--input", "in.npy", "--output", "nothing=out.npy"],
            &["nothing", "logits"],
        ),
        (&["run", file, "--input", "a.npy", "--input", "b.npy"], &["input"]),
        (&["bench", file, "--threads", "0"], &["--threads"]),
        (&["frobnicate"], &["frobnicate"]),
        (&[], &["Usage", "convert", "inspect", "run", "bench", "compare", "verify"]),
    ] {
        assert_refused(&unbraid(arguments), 2, words);
    }
    assert!(!Path::new("x.strand").exists());
}

#[test]
fn no_result_overwrites_the_model_or_another_result() {
    let folder = Folder::new();
    let bytes = fs::read(model("plain_eval.onnx")).unwrap();
    let onnx = folder.file("net.onnx", &bytes);
    let other = folder.path("other").display().to_string();
    let around = folder.0.join("../").join(folder.0.file_name().unwrap()).join("net.onnx");
    for (output, flags) in [
        (onnx.clone(), &[][..]),
        (around.clone(), &[]),
        (folder.path("net.strand"), &["--emit-onnx", around.to_str().unwrap()]),
        (folder.path("net.strand"), &["--emit-onnx", &other, "--report", &other]),
        (folder.path("other"), &["--report", &other]),
    ] {
        assert_refused(&convert(&onnx, &output, flags), 2, &["overwrite"]);
        assert_eq!(folder.names(), ["net.onnx"]);
        assert!(fs::read(&onnx).unwrap() == bytes);
    }
}

#[test]
fn the_extension_chooses_the_kind_of_report() {
    for (name, start) in [("r.html", "<!DOCTYPE html>"), ("r.json", "{\n  \"model\"")] {
        let folder = Folder::new();
        let report = folder.path(name);
        let flags = ["--report", report.to_str().unwrap()];
        let done = convert(&model("plain_eval.onnx"), &folder.path("net.strand"), &flags);
        assert_code(&done, 0);
        assert!(fs::read_to_string(report).unwrap().starts_with(start), "{name}");
    }
}

/// The header with `change` applied and its checksum right again.
fn resealed(strand: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = strand.to_vec();
    change(&mut bytes[..60]);
    let crc = crc32(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn every_command_refuses_a_bad_strand() {
    let folder = Folder::new();
    let whole = fs::read(folder.strand()).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let picture = fs::read(model("ankle_boot.png")).unwrap();
    for (case, bytes, words) in [
        ("empty", vec![], &[][..]),
        ("cut in the header", whole[..40].to_vec(), &["cut off"]),
        ("cut in the weights", whole[..whole.len() - 100].to_vec(), &["cut off"]),
        ("a flip in the header", flipped(20), &["checksum", "header"]),
        ("a flip in the middle", flipped(whole.len() / 2), &["checksum"]),
        ("foreign", picture, &["not a .strand file", "unbraid convert"]),
        ("newer", resealed(&whole, |head| head[8] += 1), &["version"]),
    ] {
        let name = format!("{case}.strand");
        let bad = folder.file(&name, bytes);
        let (bad, onnx) = (bad.to_str().unwrap(), model("repvgg_preserve.onnx"));
        let boot = model("ankle_boot.png");
        for arguments in [
            &["inspect", bad][..],
            &["verify", bad],
            &["bench", bad],
            &["run", bad, "--input", boot.to_str().unwrap()],
            &["compare", onnx.to_str().unwrap(), bad],
        ] {
            let done = unbraid(arguments);
            assert_refused(&done, 1, &[&[name.as_str()], words].concat());
        }
    }
}

#[test]
fn bad_inputs_of_a_run_are_refused() {
    let folder = Folder::new();
    let strand = folder.strand();
    let picture = fs::read(model("ankle_boot.png")).unwrap();
    let right = npy::write(&[1, 1, 28, 28], &[0.5; 784]);
    for (name, bytes, words) in [
        ("cut.png", picture[..picture.len() / 2].to_vec(), &["picture"][..]),
        ("text.jpg", b"hello".to_vec(), &["picture"]),
        ("cut.npy", right[..right.len() - 4].to_vec(), &["3136", "3132"]),
        ("flat.npy", npy::write(&[784], &[0.5; 784]), &["[784]", "[1, 1, 28, 28]"]),
        ("wide.npy", npy::write(&[1, 1, 28, 29], &[0.5; 812]), &["29", "[1, 1, 28, 28]"]),
    ] {
        let (input, output) = (folder.file(name, bytes), folder.path("out.npy"));
        let arguments = ["run", strand.to_str().unwrap(), "--input", input.to_str().unwrap()];
        let done = unbraid(arguments.into_iter().chain(["--output", output.to_str().unwrap()]));
        assert_refused(&done, 1, &[&[name], words].concat());
        assert!(!output.exists(), "{name}");
    }
}

#[test]
fn the_same_model_and_flags_give_the_same_bytes() {
    let folder = Folder::new();
    for flags in [&[][..], &["--no-fuse"], &["--mean", "72.94", "--std", "90.02", "--tunable"]] {
        let bytes = ["a.strand", "b.strand"].map(|name| {
            let path = folder.path(name);
            assert_code(&convert(&model("mobileone_preserve.onnx"), &path, flags), 0);
            fs::read(path).unwrap()
        });
        assert!(bytes[0] == bytes[1], "{flags:?}");
    }
}

#[test]
fn the_picture_is_classified_and_threads_do_not_matter() {
    let folder = Folder::new();
    let (strand, labels) =
        (folder.path("raw.strand"), folder.file("labels", "a\nb\nc\nd\ne\nf\ng\nh\ni\nboot\n"));
    let flags = ["--mean", "72.94", "--std", "90.02"];
    assert_code(&convert(&model("repvgg_preserve.onnx"), &strand, &flags), 0);
    let picture = model("ankle_boot.png");
    let outputs = ["1", "2", "3"].map(|threads| {
        let output = folder.path(threads);
        let done = unbraid([
            "run",
            strand.to_str().unwrap(),
            "--input",
            picture.to_str().unwrap(),
            "--json",
            "--labels",
            labels.to_str().unwrap(),
            "--top",
            "3",
            "--threads",
            threads,
            "--output",
            &format!("logits={}", output.display()),
        ]);
        let top = &json(&done)["top"];
        assert_eq!(top.as_array().unwrap().len(), 3);
        assert_eq!((&top[0]["class"], &top[0]["label"]), (&9.into(), &"boot".into()));
        fs::read(output).unwrap()
    });
    assert_eq!(npy::read(&outputs[0]).unwrap().shape(), [1, 10]);
    assert!(outputs.iter().all(|bytes| *bytes == outputs[0]));
}

/// Runs a file; the arguments are `--input` and `--output`.
fn run_on(strand: &Path, inputs: &[String], outputs: &[String]) -> Output {
    let flagged = |flag: &'static str, list: &[String]| {
        list.iter().flat_map(|a| [flag.to_owned(), a.clone()]).collect::<Vec<_>>()
    };
    let head = ["run".to_owned(), strand.display().to_string(), "--json".to_owned()];
    unbraid([&head[..], &flagged("--input", inputs), &flagged("--output", outputs)].concat())
}

#[test]
fn of_a_batch_the_network_runs_on_each_picture() {
    let folder = Folder::new();
    for (name, length) in [("fixed", Some(8)), ("open", None)] {
        let bytes = changed(|graph| {
            let axis = input_axis(graph, 0);
            (axis.dim_value, axis.dim_param) = (length, Some("batch".into()));
        });
        let (onnx, strand) = (folder.file(name, bytes), folder.path(&format!("{name}.strand")));
        assert_code(&convert(&onnx, &strand, &[]), 0);
        let pictures: Vec<f32> = (0..3 * 784).map(|k| (k % 89) as f32 / 40.0 - 1.0).collect();
        let run = |name: &str, shape: &[usize], values: &[f32]| {
            let input = folder.file(&format!("{name}.npy"), npy::write(shape, values));
            let output = folder.path(&format!("{name}_y.npy"));
            let [input, output_flag] = [&input, &output].map(|path| path.display().to_string());
            let done = run_on(&strand, &[input], &[output_flag]);
            (json(&done), npy::read(&fs::read(output).unwrap()).unwrap())
        };
        let (answer, together) = run("all", &[3, 1, 28, 28], &pictures);
        assert_eq!(together.shape(), [3, 10]);
        assert_eq!(answer["runs"].as_array().unwrap().len(), 3);
        for (k, picture) in pictures.chunks(784).enumerate() {
            let (answer_of_one, alone) = run("one", &[1, 1, 28, 28], picture);
            assert_eq!(alone.as_f32().unwrap(), &together.as_f32().unwrap()[k * 10..][..10]);
            assert_eq!(answer_of_one, answer["runs"][k]);
        }
    }
}

#[test]
fn inputs_and_outputs_are_named_where_there_are_several() {
    let folder = Folder::new();
    let float = |name| ValueInfoProto::floats(name, &[1, 2]);
    let graph = GraphProto {
        name: "two".into(),
        input: vec![float("left"), float("right")],
        output: vec![float("sum"), float("product")],
        node: vec![
            NodeProto::new("Add", "add", &["left", "right"], "sum"),
            NodeProto::new("Mul", "multiply", &["left", "right"], "product"),
        ],
        ..GraphProto::default()
    };
    let onnx = folder.file("two.onnx", ModelProto::new(graph, 8, 13).encode_to_vec());
    let strand = folder.path("two.strand");
    assert_code(&convert(&onnx, &strand, &[]), 0);
    let file = |name: &str, shape: &[usize], values: &[f32]| {
        folder.file(name, npy::write(shape, values)).display().to_string()
    };
    let (pair, pairs) =
        (file("a", &[1, 2], &[3.0, 4.0]), file("b", &[2, 2], &[1.0, 2.0, 5.0, 6.0]));
    let results = ["sum", "product"].map(|name| folder.path(name));
    let targets = [0, 1].map(|k| format!("{}={}", ["sum", "product"][k], results[k].display()));
    let done = run_on(&strand, &[format!("right={pairs}"), format!("left={pair}")], &targets);
    assert_code(&done, 0);
    let values = results.map(|path| npy::read(&fs::read(path).unwrap()).unwrap());
    assert_eq!(values.each_ref().map(|v| v.shape().to_vec()), [[2, 2], [2, 2]]);
    assert_eq!(values[0].as_f32().unwrap(), [4.0, 6.0, 8.0, 10.0]);
    assert_eq!(values[1].as_f32().unwrap(), [3.0, 8.0, 15.0, 24.0]);
    let three = file("c", &[3, 2], &[0.0; 6]);
    let done = run_on(&strand, &[format!("right={pairs}"), format!("left={three}")], &[]);
    assert_refused(&done, 1, &["right", "2", "3"]);
    assert_refused(&run_on(&strand, &[pair], &[]), 2, &["--input", "left", "right"]);
}

#[test]
fn every_json_has_its_keys() {
    let folder = Folder::new();
    let strand = folder.strand();
    let (file, onnx) = (strand.to_str().unwrap(), model("repvgg_preserve.onnx"));
    let inspected = json(&unbraid(["inspect", file, "--json"]));
    for key in ["steps", "convs", "params", "macs", "file_bytes", "fused_regions"] {
        assert!(inspected[key].as_u64().is_some_and(|n| n > 0), "{key}: {}", inspected[key]);
    }
    for key in ["activations", "scratch_per_worker"] {
        assert!(inspected["arena_bytes"][key].is_u64(), "{key}");
    }
    assert_eq!(inspected["file_bytes"], fs::metadata(&strand).unwrap().len());

    let bench = json(&unbraid(["bench", file, "--runs", "5", "--warmup", "1", "--json"]));
    for key in ["median_ms", "min_ms", "p90_ms", "p99_ms", "mean_ms"] {
        assert!(bench[key].as_f64().is_some_and(|ms| ms > 0.0), "{key}: {}", bench[key]);
    }
    assert_eq!(bench["runs"], 5);
    assert_eq!(bench["steps"].as_array().unwrap().len() as u64, inspected["steps"]);
    let macs = |step: &Value| step["macs"].as_u64().unwrap();
    assert_eq!(bench["steps"].as_array().unwrap().iter().map(macs).sum::<u64>(), inspected["macs"]);
    for step in bench["steps"].as_array().unwrap() {
        assert!(step["op"].is_string() && step["kernel"].is_string() && step["ms"].is_f64());
    }

    let compared = json(&unbraid(["compare", onnx.to_str().unwrap(), file, "--layers", "--json"]));
    assert!(compared["max_rel"].as_f64().is_some_and(|e| e <= 1e-5), "{}", compared["max_rel"]);
    assert!(compared["max_abs"].is_f64() && compared["sqnr_db"].is_f64());
    assert!(!compared["layers"].as_array().unwrap().is_empty());
}

#[test]
fn a_mask_takes_kernels_away() {
    let folder = Folder::new();
    let strand = folder.strand();
    let masked =
        ["bench", strand.to_str().unwrap(), "--runs", "1", "--mask", "avx512,avx2", "--json"];
    let bench = json(&unbraid(masked));
    for step in bench["steps"].as_array().unwrap() {
        let kernel = step["kernel"].as_str().unwrap();
        assert!(kernel.contains("portable"), "{kernel}");
    }
}

#[test]
fn the_emitted_onnx_is_the_same_function_with_nothing_left_to_fuse() {
    let folder = Folder::new();
    let (emitted, again) = (folder.path("fused.onnx"), folder.path("again.strand"));
    let flags = ["--emit-onnx", emitted.to_str().unwrap()];
    for name in ["repvgg_preserve.onnx", "mobileone_eval.onnx", "plain_preserve.onnx"] {
        let first = folder.path("first.strand");
        assert_code(&convert(&model(name), &first, &flags), 0);
        assert_code(&convert(&emitted, &again, &[]), 0);
        let steps = |file: &Path| {
            let facts =
                json(&unbraid([OsStr::new("inspect"), file.as_os_str(), "--json".as_ref()]));
            (facts["convs"].clone(), facts["params"].clone(), facts["macs"].clone())
        };
        assert_eq!(steps(&first), steps(&again), "{name}");
        let original = model(name);
        let compare =
            ["compare".as_ref(), original.as_os_str(), again.as_os_str(), "--json".as_ref()];
        let error = json(&unbraid(compare))["max_rel"].as_f64().unwrap();
        assert!(error <= 1e-5, "{name}: {error}");
    }
}

#[test]
fn compare_normalises_for_the_onnx_side() {
    let folder = Folder::new();
    let strand = folder.path("raw.strand");
    let flags = ["--mean", "72.94", "--std", "90.02"];
    let (onnx, picture) = (model("plain_preserve.onnx"), model("ankle_boot.png"));
    assert_code(&convert(&onnx, &strand, &flags), 0);
    let arguments = [
        "compare",
        onnx.to_str().unwrap(),
        strand.to_str().unwrap(),
        "--json",
        "--input",
        picture.to_str().unwrap(),
    ];
    let with = json(&unbraid(arguments.into_iter().chain(flags)));
    assert!(with["max_rel"].as_f64().unwrap() <= 1e-5, "{with}");
    let without = unbraid(arguments);
    let error = serde_json::from_slice::<Value>(&without.stdout).unwrap()["max_rel"].as_f64();
    assert!(error.unwrap() > 1e-2, "without the flags it is another function");
}

#[test]
fn a_model_that_cannot_be_written_leaves_nothing() {
    let folder = Folder::new();
    let output = folder.path("no/such/folder/out.strand");
    let done = convert(&model("plain_eval.onnx"), &output, &[]);
    assert_refused(&done, 1, &["out.strand"]);
    assert!(folder.names().is_empty());
}

#[test]
fn outputs_that_are_not_named_are_left_out() {
    let folder = Folder::new();
    let two = folder.file(
        "two.onnx",
        changed(|graph| {
            let relu = graph.node.iter().find(|node| node.op_type == "Relu").unwrap();
            let name = relu.output[0].clone();
            graph.output.push(ValueInfoProto { name, r#type: None });
        }),
    );
    let outputs = |flags: &[&str]| {
        let file = folder.path("net.strand");
        assert_code(&convert(&two, &file, flags), 0);
        let facts = json(&unbraid(["inspect".as_ref(), file.as_os_str(), "--json".as_ref()]));
        (facts["outputs"].as_array().unwrap().len(), fs::read(file).unwrap())
    };
    assert_eq!(outputs(&[]).0, 2);
    let (count, bytes) = outputs(&["--outputs", "logits"]);
    assert_eq!(count, 1);
    assert!(bytes == fs::read(folder.strand()).unwrap(), "as if the model had no other output");
    let refused = convert(&two, &folder.path("none.strand"), &["--outputs", "nothing"]);
    assert_refused(&refused, 1, &["--outputs", "nothing", "logits"]);
}

#[test]
fn channels_that_carry_nothing_go_unless_told_not_to() {
    let folder = Folder::new();
    let block = model("../blocks/resrep__ts_eval_opset17.onnx");
    let report = |flags: &[&str]| json(&convert(&block, &folder.path("net.strand"), flags));
    let (pruned, whole) = (report(&["--json"]), report(&["--json", "--no-prune"]));
    assert_eq!(pruned["after"]["macs"], 96_804);
    assert_eq!(pruned["pruned"]["layers"].as_array().map(Vec::len), Some(6));
    assert!(pruned["pruned"]["certificate"]["error"].as_f64() < Some(1e-6));
    assert_eq!(whole["pruned"]["layers"], Value::Array(vec![]));
    assert!(whole["after"]["macs"].as_u64() > Some(96_804));
}

/// The trained network with all but every eighth weight of its convolutions zero.
fn thinned() -> Vec<u8> {
    changed(|graph| {
        for tensor in graph.initializer.iter_mut().filter(|tensor| tensor.dims.len() == 4) {
            let mut values = tensor.raw_data.to_vec();
            let (floats, _) = values.as_chunks_mut::<4>();
            let all = floats.iter_mut().enumerate();
            all.filter(|(k, _)| k % 8 != 0).for_each(|(_, value)| *value = [0; 4]);
            tensor.raw_data = values.into();
        }
    })
}

#[test]
fn every_command_takes_sparse_files_and_gives_the_dense_results() {
    let folder = Folder::new();
    let onnx = folder.file("thin.onnx", thinned());
    let picture = model("ankle_boot.png");
    let result = |name: &str, flags: &[&str]| {
        let (file, y) = (folder.path(name), folder.path(&format!("{name}.npy")));
        assert_code(&convert(&onnx, &file, flags), 0);
        let inspected = json(&unbraid(["inspect".as_ref(), file.as_os_str(), "--json".as_ref()]));
        let arguments = ["run".as_ref(), file.as_os_str(), "--input".as_ref(), picture.as_os_str()];
        let output = ["--output".as_ref(), y.as_os_str()];
        assert_code(&unbraid(arguments.into_iter().chain(output)), 0);
        (file, inspected["expanded_weights"].as_u64(), fs::read(y).unwrap())
    };
    let (dense, nothing, expected) = result("dense.strand", &[]);
    let (sparse, expanded, found) = result("sparse.strand", &["--sparse"]);
    assert_eq!((nothing, found), (Some(0), expected));
    let len = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(len(&sparse) < len(&dense) && expanded > Some(len(&sparse)));
    let verified = json(&unbraid(["verify".as_ref(), sparse.as_os_str(), "--json".as_ref()]));
    assert_eq!(verified["file_bytes"].as_u64(), Some(len(&sparse)));
    assert_code(&unbraid(["bench".as_ref(), sparse.as_os_str(), "--runs=1".as_ref()]), 0);
    let compared = ["compare".as_ref(), onnx.as_os_str(), sparse.as_os_str(), "--json".as_ref()];
    assert!(json(&unbraid(compared))["max_rel"].as_f64() < Some(1e-5));
}
