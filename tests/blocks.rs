//! Blocks of re-parameterizable papers as PyTorch's exporters write them, each with the convolutions
//! that a perfect converter leaves (`blocks/INDEX.tsv`). Nothing here is trained; all that is
//! claimed is algebra.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use unbraid_converter::fuse::{FuseMode, Fused, fuse};
use unbraid_converter::graph::{Graph, Node, Op};
use unbraid_converter::import::{Options, load};
use unbraid_converter::plan::{self, plan};
use unbraid_converter::prune::{Pruning, prune};
use unbraid_runtime::step::{self, Step};
use unbraid_tests::agreement::check;
use unbraid_tests::graphs::difference;

/// One file and what must become of it.
struct Block {
    /// What all its exports have in common.
    family: String,
    path: PathBuf,
    /// Sorted, as [`described`] says them.
    ideal: Vec<String>,
    /// Whether no convolution with one bias vector is the same function at the border.
    refuse: bool,
    graph: Graph,
    /// Fused, and without channels that carry nothing.
    fused: Fused,
    pruned: Pruning,
}

/// Every row of the index, imported, fused and pruned.
fn blocks() -> Vec<Block> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("blocks");
    let index = std::fs::read_to_string(folder.join("INDEX.tsv")).expect("an index");
    let blocks: Vec<Block> = index.lines().skip(1).map(|row| block(&folder, row)).collect();
    let files = std::fs::read_dir(folder).expect("a folder");
    let onnx = |name: &OsStr| name.to_string_lossy().ends_with(".onnx");
    let files = files.filter(|file| onnx(&file.as_ref().expect("readable").file_name())).count();
    assert_eq!(files, blocks.len(), "every file has a row");
    blocks
}

/// One row: the file, its ideal convolutions, whether merging them without a border must be refused.
fn block(folder: &Path, row: &str) -> Block {
    let columns: Vec<&str> = row.split('\t').collect();
    let [file, ideal, refuse] = columns[..] else { panic!("three columns: {row}") };
    let path = folder.join(file);
    let graph = load(&path, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let mut fused = fuse(graph.clone(), FuseMode::Free, &mut |_| {});
    let pruned = prune(&mut fused.graph);
    let (family, _) = file.split_once("__").expect("block__exporter");
    let mut ideal: Vec<String> = ideal.split("; ").map(str::to_owned).collect();
    ideal.sort();
    let (family, refuse) = (family.to_owned(), refuse == "yes");
    Block { family, path, ideal, refuse, graph, fused, pruned }
}

/// `conv3x3 6->8 s2 p1 g2`, `fc 16->10`; `None` for what is neither.
fn described(graph: &Graph, node: &Node) -> Option<String> {
    let weight = graph.shape(*node.inputs.get(1)?);
    match (&node.op, weight) {
        (Op::Conv(conv), &[o, i, kh, kw]) => {
            let (window, groups) = (conv.window, conv.groups);
            let text = format!(
                "conv{kh}x{kw} {}->{o} s{} p{}",
                i * groups,
                window.stride.h,
                window.pad.top
            );
            Some(if groups == 1 { text } else { format!("{text} g{groups}") })
        }
        (Op::Linear { .. }, &[o, i]) => Some(format!("fc {i}->{o}")),
        _ => None,
    }
}

fn convolutions(graph: &Graph) -> Vec<(String, &[f32])> {
    let weight = |node: &Node| graph.constant_f32(node.inputs[1]).expect("constant weights");
    let of = |node| described(graph, node).map(|text| (text, weight(node)));
    let mut all: Vec<(String, &[f32])> = graph.nodes.iter().filter_map(of).collect();
    // Exporters order parallel nodes differently.
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

#[test]
fn every_block_becomes_its_ideal_convolutions() {
    for block in blocks() {
        let found: Vec<String> =
            convolutions(&block.fused.graph).into_iter().map(|(text, _)| text).collect();
        assert_eq!(found, block.ideal, "{:?}: {:#?}", block.path, block.fused.refused);
    }
}

#[test]
fn only_blocks_with_zero_compactor_rows_lose_channels() {
    for block in blocks() {
        let lost = !block.pruned.layers.is_empty();
        assert_eq!(lost, block.family == "resrep", "{:?}: {:#?}", block.path, block.pruned);
    }
}

#[test]
fn what_cannot_be_merged_plainly_has_a_bias_of_its_own_at_the_border() {
    let mut found = 0;
    for block in blocks().iter().filter(|block| block.refuse) {
        let border = |node: &Node| matches!(&node.op, Op::Conv(conv) if conv.border.is_some());
        assert!(block.fused.graph.nodes.iter().any(border), "{:?}", block.path);
        found += 1;
    }
    assert!(found > 0, "no block must be refused");
}

#[test]
fn every_fused_block_is_the_same_function_up_to_its_border() {
    let mut borders = 0;
    for block in blocks() {
        for region in &block.fused.regions {
            let exact = region.certificate.exact;
            assert!(exact.worst() <= 1e-9, "{:?}: {region:?}", block.path);
            borders += usize::from(exact.border > 0.0);
        }
        let rounded = difference(&block.graph, &block.fused.graph);
        assert!(rounded < 5e-6, "{:?}: {rounded:e}", block.path);
    }
    assert!(borders > 0, "no block has a border");
}

#[test]
fn every_block_runs_as_the_oracle_says_before_and_after_fusion() {
    for block in blocks() {
        check(&block.graph);
        check(&block.fused.graph);
    }
}

/// The exports of each block.
fn families(blocks: &[Block]) -> Vec<Vec<&Block>> {
    let mut families: BTreeMap<&str, Vec<&Block>> = BTreeMap::new();
    for block in blocks {
        families.entry(&block.family).or_default().push(block);
    }
    families.into_values().collect()
}

#[test]
fn all_exporters_of_a_block_give_the_same_kernels() {
    for exports in families(&blocks()) {
        let first = convolutions(&exports[0].fused.graph);
        for other in &exports[1..] {
            let kernels = convolutions(&other.fused.graph);
            for ((text, a), (_, b)) in first.iter().zip(&kernels) {
                let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let error = a.iter().zip(*b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(error <= 1e-6 * largest, "{:?} {text}: {error}", other.path);
            }
            let error = difference(&exports[0].graph, &other.graph);
            assert!(error < 1e-5, "{:?}: {error:e}", other.path);
        }
    }
}

/// Steps of the file, what each reads and writes, geometry and layout of convolutions; exporters order
/// parallel nodes differently.
fn steps(block: &Block) -> Vec<String> {
    let plan = plan(&block.fused.graph, &plan::Options::default()).expect("a plan");
    let of = |step: &Step| {
        let op = match step.op {
            step::Op::Conv(step::Conv { window, groups, layout, border, activation, .. }) => {
                format!("conv {window:?} g{groups} {layout:?} {border:?} {activation:?}")
            }
            op => op.name().to_owned(),
        };
        format!("{op}: {:?} -> {:?}", step.input.dims, step.output.dims)
    };
    let mut steps: Vec<String> = plan.steps.iter().map(of).collect();
    steps.sort();
    steps
}

#[test]
fn all_exporters_of_a_block_give_the_same_steps() {
    for exports in families(&blocks()) {
        let first = steps(exports[0]);
        for other in &exports[1..] {
            assert_eq!(first, steps(other), "{:?}", other.path);
        }
    }
}
