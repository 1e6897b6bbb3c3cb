//! Transposed convolutions, which import turns into ordinary ones, give what their definition says:
//! every pixel of the input adds its weighted kernel to the result.
#![forbid(unsafe_code)]

use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Graph, Op};
use unbraid_converter::onnx::AttributeProto;
use unbraid_converter::plan::facts::macs;
use unbraid_converter::reference;
use unbraid_tests::agreement::check;
use unbraid_tests::onnx_file::OnnxFile;
use unbraid_tests::rng::Random;

/// Along one axis: kernel, stride, dilation, pads at begin and end, padding of the output.
#[derive(Clone, Copy, Debug)]
struct Axis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: [usize; 2],
    output_padding: usize,
}

impl Axis {
    const fn new(kernel: usize, stride: usize, pads: [usize; 2]) -> Self {
        Self { kernel, stride, dilation: 1, pads, output_padding: 0 }
    }

    /// Length of the result.
    fn output(&self, input: usize) -> usize {
        let extent = (self.kernel - 1) * self.dilation + 1;
        (input - 1) * self.stride + extent + self.output_padding - self.pads[0] - self.pads[1]
    }

    /// Where tap `k` of input pixel `i` falls.
    fn at(&self, i: usize, k: usize, input: usize) -> Option<usize> {
        let at = (i * self.stride + k * self.dilation).checked_sub(self.pads[0])?;
        (at < self.output(input)).then_some(at)
    }
}

/// What decoders have, and what tries every branch: kernels that the stride divides and not, larger
/// and smaller than it, pads at one end, gaps.
const AXES: [Axis; 9] = [
    Axis::new(2, 2, [0, 0]),
    Axis::new(4, 2, [1, 1]),
    Axis { output_padding: 1, ..Axis::new(3, 2, [1, 1]) },
    Axis::new(3, 1, [1, 1]),
    Axis::new(5, 3, [4, 0]),
    Axis { output_padding: 2, ..Axis::new(1, 3, [0, 0]) },
    Axis { dilation: 2, ..Axis::new(3, 2, [0, 3]) },
    Axis { dilation: 3, output_padding: 1, ..Axis::new(2, 2, [2, 1]) },
    Axis::new(7, 4, [3, 2]),
];

/// Input channels, output channels of a group, groups.
const CHANNELS: [[usize; 3]; 4] = [[3, 5, 1], [4, 3, 2], [4, 1, 4], [1, 1, 1]];

fn file([rows, columns]: [Axis; 2], [c, o, groups]: [usize; 3], size: [usize; 2]) -> OnnxFile {
    let pair = |name, of: fn(&Axis) -> usize| {
        AttributeProto::ints(name, [of(&rows) as i64, of(&columns) as i64])
    };
    let pads = [rows.pads[0], columns.pads[0], rows.pads[1], columns.pads[1]];
    let attributes = vec![
        pair("strides", |axis| axis.stride),
        pair("dilations", |axis| axis.dilation),
        pair("output_padding", |axis| axis.output_padding),
        AttributeProto::ints("pads", pads.map(|n| n as i64)),
        AttributeProto::int("group", groups as i64),
    ];
    OnnxFile::new(13, &[1, c, size[0], size[1]])
        .random("w", &[c, o, rows.kernel, columns.kernel])
        .random("b", &[o * groups])
        .node_with("ConvTranspose", "x w b", "y", attributes)
}

/// The definition: pixels scattered through the kernel.
fn scattered(
    file: &OnnxFile,
    [rows, columns]: [Axis; 2],
    [c, o, groups]: [usize; 3],
    [h, w]: [usize; 2],
    x: &[f64],
) -> Vec<f64> {
    let floats = |k: usize| -> Vec<f64> {
        let raw = file.graph.initializer[k].raw_data.as_chunks::<4>().0;
        raw.iter().map(|&b| f32::from_le_bytes(b).into()).collect()
    };
    let (weights, bias) = (floats(0), floats(1));
    let [oh, ow] = [rows.output(h), columns.output(w)];
    let mut y: Vec<f64> = bias.iter().flat_map(|&b| std::iter::repeat_n(b, oh * ow)).collect();
    let taps = rows.kernel * columns.kernel;
    let place = |p: usize, tap: usize| {
        let row = rows.at(p / w, tap / columns.kernel, h)?;
        Some(row * ow + columns.at(p % w, tap % columns.kernel, w)?)
    };
    for (k, &weight) in weights.iter().enumerate() {
        let (i, of, tap) = (k / taps / o, k / taps % o, k % taps);
        let plane = (i / (c / groups) * o + of) * oh * ow;
        for (p, &value) in x[i * h * w..][..h * w].iter().enumerate() {
            if let Some(at) = place(p, tap) {
                y[plane + at] += value * weight;
            }
        }
    }
    y
}

#[test]
fn transposed_convolutions_of_every_geometry_match_their_definition() {
    let mut random = Random(3);
    for (k, &rows) in AXES.iter().enumerate() {
        for (j, &columns) in AXES.iter().enumerate() {
            let (axes, channels) = ([rows, columns], CHANNELS[(k + j) % CHANNELS.len()]);
            let size = [3 + k % 3, 4 + j % 2];
            let file = file(axes, channels, size);
            let graph = file.import();
            let [oh, ow] = [rows.output(size[0]), columns.output(size[1])];
            let shape = [1, channels[1] * channels[2], oh, ow];
            assert_eq!(graph.shape(graph.outputs[0]), shape, "{axes:?}");
            let x: Vec<f64> =
                random.vec(channels[0] * size[0] * size[1]).iter().map(|&v| v.into()).collect();
            let expected = scattered(&file, axes, channels, size, &x);
            let found = reference::run(&graph, &[x]).unwrap().remove(0);
            for (at, (y, x)) in expected.iter().zip(&found).enumerate() {
                assert!((y - x).abs() < 1e-12, "{axes:?} {channels:?}: {x} for {y} at {at}");
            }
            check(&graph);
        }
    }
}

#[test]
fn normalisations_and_activations_move_into_the_convolution_before_the_shuffle() {
    for (axis, channels) in [
        (Axis::new(2, 2, [0, 0]), CHANNELS[0]),
        (Axis { output_padding: 1, ..Axis::new(3, 2, [1, 1]) }, CHANNELS[0]),
        (Axis::new(4, 2, [1, 1]), CHANNELS[1]),
    ] {
        let mut file = file([axis; 2], channels, [5, 6]).statistics(channels[1] * channels[2]);
        file.graph.node[0].output = vec!["t".into()];
        let file = file
            .node("BatchNormalization", "t gamma beta mean var", "n")
            .node("Relu", "n", "r")
            .node("Neg", "r", "y");
        let graph = file.import();
        let fused = fuse(graph.clone(), FuseMode::Free, &mut |_| {}).graph;
        let left = |op: fn(&Op) -> bool| fused.nodes.iter().filter(|n| op(&n.op)).count();
        assert_eq!(left(|op| matches!(op, Op::Conv(_))), 1);
        assert_eq!(left(|op| matches!(op, Op::BatchNorm { .. } | Op::Activation(_))), 0);
        let x: Vec<f64> = Random(9).vec(channels[0] * 30).into_iter().map(f64::from).collect();
        let [before, after] =
            [&graph, &fused].map(|graph| reference::run(graph, std::slice::from_ref(&x)).unwrap());
        for (a, b) in before[0].iter().zip(&after[0]) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        check(&fused);
    }
}

#[test]
fn no_product_is_wasted_where_the_stride_divides_the_kernel() {
    let kernels =
        |graph: &Graph| graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv(_))).count();
    for (axis, products_a_pixel) in [
        // Every input pixel meets every weight once: 2x2 of 3 x 5 channels.
        (Axis::new(2, 2, [0, 0]), 2 * 2 * 3 * 5),
        // What falls outside of the result is not computed, but for whole positions.
        (Axis::new(3, 1, [1, 1]), 3 * 3 * 3 * 5),
    ] {
        let graph = file([axis; 2], CHANNELS[0], [8, 8]).import();
        assert_eq!((kernels(&graph), macs(&graph)), (1, 64 * products_a_pixel), "{axis:?}");
    }
}
