//! Heads as exporters write them: what a graph decodes itself, and what the runtime decodes where
//! the graph is cut before, are the same boxes.
#![forbid(unsafe_code)]

use unbraid_converter::detector::Preset;
use unbraid_converter::import::{Options, from_bytes};
use unbraid_converter::onnx::AttributeProto;
use unbraid_converter::{plan, write};
use unbraid_runtime::detect::{Arrangement, Candidate, Letterbox};
use unbraid_runtime::{Cpu, Kernels, Model, Session};
use unbraid_tests::onnx_file::OnnxFile;
use unbraid_tests::rng::Random;
use unbraid_tests::strand_builder::AlignedBytes;

/// Side of the input.
const SIDE: usize = 64;
const STRIDES: [usize; 3] = [8, 16, 32];
const CLASSES: usize = 3;

fn int(name: &str, value: i64) -> Vec<AttributeProto> {
    vec![AttributeProto::int(name, value)]
}

/// A picture and, for each level, a convolution of its cells with `channels` channels: `raw0` to
/// `raw2`.
fn body(channels: usize) -> OnnxFile {
    let mut file = OnnxFile::new(13, &[1, 3, SIDE, SIDE]);
    for (level, s) in STRIDES.into_iter().enumerate() {
        let (weights, bias) = (format!("w{level}"), format!("b{level}"));
        let stride = vec![AttributeProto::ints("strides", [s as i64, s as i64])];
        // As much spread on every level, however many pixels a cell has.
        let scaled: Vec<f32> = file.random.vec(channels * 3 * s * s);
        let scaled: Vec<f32> = scaled.into_iter().map(|v| v * 2.0 / s as f32).collect();
        file = file
            .floats(&weights, &[channels, 3, s, s], &scaled)
            .random(&bias, &[channels])
            .node_with("Conv", &format!("x {weights} {bias}"), &format!("raw{level}"), stride);
    }
    file
}

/// Column and row of each cell of a level, plus `add`.
fn cells(stride: usize, add: f32) -> (Vec<f32>, Vec<f32>) {
    let n = SIDE / stride;
    let cell = |at: usize| ((at % n) as f32 + add, (at / n) as f32 + add);
    (0..n * n).map(cell).unzip()
}

/// Distances from cell centres in 16 bins, softmax and mean as a convolution: as Ultralytics
/// exports `YOLOv8`.
fn yolov8() -> OnnxFile {
    let channels = 64 + CLASSES;
    let total: usize = STRIDES.iter().map(|s| (SIDE / s).pow(2)).sum();
    let (mut columns, mut rows, mut strides) = (vec![], vec![], vec![]);
    let mut file = body(channels);
    for (level, stride) in STRIDES.into_iter().enumerate() {
        let (x, y) = cells(stride, 0.5);
        strides.extend(vec![stride as f32; x.len()]);
        columns.extend(x);
        rows.extend(y);
        let shape = format!("flat{level}");
        file = file.ints(&shape, &[1, channels as i64, -1]);
        file = file.node("Reshape", &format!("raw{level} {shape}"), &format!("rows{level}"));
    }
    let bins: Vec<f32> = (0..16).map(|bin| bin as f32).collect();
    file.floats("anchors", &[1, 2, total], &[columns, rows].concat())
        .floats("strides", &[1, total], &strides)
        .floats("bins", &[1, 16, 1, 1], &bins)
        .floats("two", &[], &[2.0])
        .ints("parts", &[64, CLASSES as i64])
        .ints("by_side", &[1, 4, 16, total as i64])
        .ints("sides", &[1, 4, total as i64])
        .ints("halves", &[2, 2])
        .node_with("Concat", "rows0 rows1 rows2", "all", int("axis", 2))
        .node_with("Split", "all parts", "box", int("axis", 1))
        .another_output("logits")
        .node("Reshape", "box by_side", "binned")
        .node_with("Transpose", "binned", "first", vec![AttributeProto::ints("perm", [0, 2, 1, 3])])
        .node_with("Softmax", "first", "shares", int("axis", 1))
        .node("Conv", "shares bins", "means")
        .node("Reshape", "means sides", "distances")
        .node_with("Split", "distances halves", "left_top", int("axis", 1))
        .another_output("right_bottom")
        .node("Sub", "anchors left_top", "from")
        .node("Add", "anchors right_bottom", "to")
        .node("Add", "from to", "sum")
        .node("Div", "sum two", "centre")
        .node("Sub", "to from", "size")
        .node_with("Concat", "centre size", "in_cells", int("axis", 1))
        .node("Mul", "in_cells strides", "in_pixels")
        .node("Sigmoid", "logits", "scores")
        .node_with("Concat", "in_pixels scores", "y", int("axis", 1))
}

/// Three anchors a cell, logistic functions of everything: as `YOLOv5` exports it.
fn yolov5() -> OnnxFile {
    let fields = 5 + CLASSES;
    let anchors = [
        [10.0, 13.0, 16.0, 30.0, 33.0, 23.0],
        [30.0, 61.0, 62.0, 45.0, 59.0, 119.0],
        [116.0, 90.0, 156.0, 198.0, 373.0, 326.0],
    ];
    let mut file = body(3 * fields)
        .floats("two", &[], &[2.0])
        .ints("parts", &[2, 2, 1 + CLASSES as i64])
        .ints("joined", &[1, -1, fields as i64]);
    for (level, stride) in STRIDES.into_iter().enumerate() {
        let named = |name: &str| format!("{name}{level}");
        let n = (SIDE / stride) as i64;
        let (x, y) = cells(stride, -0.5);
        let grid: Vec<f32> = x.into_iter().zip(y).flat_map(|(x, y)| [x, y]).collect();
        let perm = vec![AttributeProto::ints("perm", [0, 1, 3, 4, 2])];
        file = file
            .ints(&named("shape"), &[1, 3, fields as i64, n, n])
            .floats(&named("grid"), &[1, 1, n as usize, n as usize, 2], &grid)
            .floats(&named("stride"), &[], &[stride as f32])
            .floats(&named("anchors"), &[1, 3, 1, 1, 2], &anchors[level])
            .node("Reshape", &format!("raw{level} shape{level}"), &named("split"))
            .node_with("Transpose", &named("split"), &named("plane"), perm)
            .node("Sigmoid", &named("plane"), &named("s"))
            .node_with("Split", &format!("s{level} parts"), &named("xy"), int("axis", 4))
            .another_output(&named("wh"))
            .another_output(&named("rest"))
            .node("Mul", &format!("xy{level} two"), &named("xy2_"))
            .node("Add", &format!("xy2_{level} grid{level}"), &named("cell"))
            .node("Mul", &format!("cell{level} stride{level}"), &named("centre"))
            .node("Mul", &format!("wh{level} two"), &named("wh2_"))
            .node("Pow", &format!("wh2_{level} two"), &named("square"))
            .node("Mul", &format!("square{level} anchors{level}"), &named("size"));
        let parts = format!("centre{level} size{level} rest{level}");
        file = file.node_with("Concat", &parts, &named("whole"), int("axis", 4)).node(
            "Reshape",
            &format!("whole{level} joined"),
            &named("list"),
        );
    }
    file.node_with("Concat", "list0 list1 list2", "y", int("axis", 1))
}

/// Raw offsets, as YOLOX exports them without decoding; the scores are decoded.
fn yolox() -> OnnxFile {
    let fields = 5 + CLASSES;
    let mut file = body(fields).ints("parts", &[4, 1 + CLASSES as i64]);
    file = file.ints("flat", &[1, fields as i64, -1]);
    for level in 0..3 {
        let named = |name: &str| format!("{name}{level}");
        file = file
            .node_with("Split", &format!("raw{level} parts"), &named("box"), int("axis", 1))
            .another_output(&named("logits"))
            .node("Sigmoid", &named("logits"), &named("scores"))
            .node_with(
                "Concat",
                &format!("box{level} scores{level}"),
                &named("map"),
                int("axis", 1),
            )
            .node("Reshape", &format!("map{level} flat"), &named("rows"));
    }
    let perm = vec![AttributeProto::ints("perm", [0, 2, 1])];
    file.node_with("Concat", "rows0 rows1 rows2", "all", int("axis", 2)).node_with(
        "Transpose",
        "all",
        "y",
        perm,
    )
}

/// What the network finds in the picture with these outputs, and how its head is arranged.
fn things(
    file: &OnnxFile,
    head: &str,
    outputs: &[&str],
    x: &[f32],
) -> (Arrangement, Vec<Candidate>) {
    let outputs = outputs.iter().map(|&name| name.to_owned()).collect();
    let options = Options { outputs: Some(outputs), ..Options::default() };
    let graph =
        from_bytes(file.bytes(), &options).unwrap_or_else(|error| panic!("{head}: {error}"));
    let mut plan = plan::plan(&graph, &plan::Options::default()).unwrap();
    plan.head = Some(Preset::named(head).unwrap().head(&plan, &[]).unwrap());
    let strand = write::strand(&plan).unwrap();
    let model = Model::new(&strand).unwrap();
    let head = model.head().unwrap();
    let mut arena = AlignedBytes::filled(0, model.arena_len(1).unwrap());
    let mut session = Session::new(&model, &mut arena, Kernels::new(Cpu::detect())).unwrap();
    session.write_input(x).unwrap();
    session.run();
    let outputs: Vec<&[f32]> = (0..head.outputs()).map(|k| session.output(k).unwrap()).collect();
    let place = Letterbox::new(head.picture.fit, head.input, head.input).unwrap();
    let mut found = vec![Candidate::default(); 1000];
    let count = head.detect(&outputs, &place, &mut found).unwrap();
    found.truncate(count);
    (head.arrangement, found)
}

#[test]
fn a_head_cut_off_the_graph_finds_the_same_things() {
    let x = Random(8).vec(3 * SIDE * SIDE);
    type Case<'a> = (&'a str, OnnxFile, Arrangement, &'a [&'a str], Arrangement);
    let (raw, maps) = (["raw0", "raw1", "raw2"], ["map0", "map1", "map2"]);
    let cases: [Case<'_>; 4] = [
        ("yolov8", yolov8(), Arrangement::Columns, &raw, Arrangement::Maps),
        ("yolov5", yolov5(), Arrangement::Rows, &raw, Arrangement::Maps),
        (
            "yolov5",
            yolov5(),
            Arrangement::Rows,
            &["plane0", "plane1", "plane2"],
            Arrangement::Planes,
        ),
        ("yolox", yolox(), Arrangement::Rows, &maps, Arrangement::Maps),
    ];
    for (head, file, joined, cut, arrangement) in cases {
        let (found_arrangement, whole) = things(&file, head, &["y"], &x);
        let (cut_arrangement, parts) = things(&file, head, cut, &x);
        assert_eq!((found_arrangement, cut_arrangement), (joined, arrangement), "{head}");
        assert!(whole.len() > 5, "{head}: {} things show little", whole.len());
        assert_eq!(whole.len(), parts.len(), "{head} {cut:?}");
        for (a, b) in whole.iter().zip(&parts) {
            let edges = |c: &Candidate| [c.rect.left, c.rect.top, c.rect.right, c.rect.bottom];
            let near = edges(a).iter().zip(edges(b)).all(|(a, b)| (a - b).abs() < 1e-3);
            let alike = a.class == b.class && (a.score - b.score).abs() < 1e-5;
            assert!(near && alike, "{head} {cut:?}: {a:?} {b:?}");
        }
    }
}
