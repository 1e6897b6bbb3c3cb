//! Claims about sparse weights: stored by the formula of the specification, expanded into the
//! caller's memory bit for bit, refused with a reason where they contradict themselves.
#![forbid(unsafe_code)]

use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Graph, Node, Op};
use unbraid_converter::plan::{Options, Plan, plan};
use unbraid_converter::prune::prune;
use unbraid_converter::write::{sparse_strand, strand};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::model::Header;
use unbraid_runtime::model::section::SectionKind;
use unbraid_runtime::model::sparse::record_words;
use unbraid_runtime::step::{Activation, Linear, Op as StepOp};
use unbraid_runtime::{FormatError, Model, SparseFault, expanded_len};
use unbraid_tests::dead::{edit, is_layer};
use unbraid_tests::execute::{cpus, run};
use unbraid_tests::graphs::{Builder, Layer};
use unbraid_tests::rng::Random;
use unbraid_tests::strand_builder::{AlignedBytes, StrandBuilder, assemble, sections_of};

/// Densities of GSM's published networks: `ResNet-50` at 4 and 5 times, `ResNet-56` at 10 times, `LeNet-5`
/// at 300 times compression.
const DENSITIES: [f64; 4] = [0.25, 0.20, 0.10, 0.0033];

/// Sets all but about this share of a tensor's values to zero, none of them by rows.
fn thin(random: &mut Random, values: &mut [f32], density: f64) {
    values.iter_mut().for_each(|v| *v *= f32::from(u8::from(f64::from(random.unit()) < density)));
}

/// Three convolutions, each with its BatchNorm, and a dense layer; a share of the weights is not zero.
fn thinned(density: f64) -> Graph {
    let (mut net, x) = Builder::new(21, 8, [9, 9]);
    let a = net.conv_bn(x, Layer::of(40, 3, 1, 1));
    let a = net.relu(a);
    let b = net.conv_bn(a, Layer::of(40, 3, 2, 40));
    let b = net.relu(b);
    let c = net.conv_bn(b, Layer::of(48, 1, 1, 1));
    let c = net.relu(c);
    let flat = net.node(Op::Reshape, vec![c], &[1, 48 * 25]);
    let y = net.linear(flat, 10);
    let mut graph = net.finish(&[y]);
    let mut random = Random(5);
    let layers: Vec<_> =
        graph.nodes.iter().filter(|node| is_layer(node)).map(|n| n.output).collect();
    for y in layers {
        edit(&mut graph, y, 1, |values| thin(&mut random, values, density));
    }
    graph
}

fn planned(graph: &Graph) -> Plan {
    plan(graph, &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Bytes of the section of this kind.
fn section_len(file: &[u8], kind: SectionKind) -> usize {
    let sections = sections_of(file);
    let section = sections.iter().find(|(number, ..)| *number == kind.number());
    section.expect("the section").2.len()
}

#[test]
fn a_sparse_file_gives_the_dense_results_bit_for_bit_on_every_cpu() {
    for density in DENSITIES {
        let plan = planned(&fuse(thinned(density), FuseMode::Free, &mut |_| {}).graph);
        let (dense, sparse) = (strand(&plan).unwrap(), sparse_strand(&plan).unwrap());
        assert!(sparse.len() < dense.len());
        let needed = expanded_len(&sparse);
        assert_eq!((needed, expanded_len(&dense)), (plan.weights.len(), 0));
        let mut memory = AlignedBytes::filled(0xff, needed + 64);
        let expanded = Model::expand(&sparse, &mut memory).unwrap();
        let model = Model::new(&dense).unwrap();
        assert_eq!((expanded.verify(), expanded.params()), (Ok(()), model.params()));
        let x = Random(1).vec(8 * 81);
        for (name, cpu) in cpus() {
            let bits = |model| -> Vec<u32> {
                run(model, cpu, std::slice::from_ref(&x))[0].iter().map(|v| v.to_bits()).collect()
            };
            assert_eq!(bits(&expanded), bits(&model), "{name}, density {density}");
        }
        assert!(memory[needed..].iter().all(|&byte| byte == 0xff), "written behind the weights");
    }
}

#[test]
fn sizes_are_those_of_the_formula_in_the_specification() {
    let (inputs, outputs) = (2000, 480);
    for density in DENSITIES {
        let (n, nonzero) = (inputs * outputs, (density * (inputs * outputs) as f64) as usize);
        let (mut net, x) = Builder::new(22, inputs, [1, 1]);
        let flat = net.node(Op::Reshape, vec![x], &[1, inputs]);
        let y = net.linear(flat, outputs);
        edit(&mut net.graph, y, 1, |values| {
            let mut kept = vec![false; n];
            // 7919 is a prime that does not divide n: every step meets another value.
            (0..nonzero).for_each(|k| kept[k * 7919 % n] = true);
            values.iter_mut().zip(kept).for_each(|(v, kept)| *v = f32::from(u8::from(kept)));
        });
        let plan = planned(&net.finish(&[y]));
        let file = sparse_strand(&plan).unwrap();
        let bias = 12 + 4 * outputs;
        let tensor = 12 + 4 * (nonzero + n.div_ceil(32));
        assert_eq!(section_len(&file, SectionKind::SparseWeights), tensor + bias);
        assert_eq!(record_words(n, nonzero), Some(tensor / 4));
        let share = density + 1.0 / 32.0;
        assert!((tensor as f64 / (4 * n) as f64 - share).abs() < 1e-4, "{density}");
        let digits = |v: f64| v.to_string();
        let row = format!(
            "| {:.2$} | 4 | {} |",
            density,
            digits(round(4.0 * share)),
            if density < 0.1 { 4 } else { 2 }
        );
        assert!(include_str!("../runtime/FORMAT.md").contains(&row), "{row}");
        assert!(
            include_str!("../runtime/FORMAT.md").contains(&format!(" {} |", digits(round(share))))
        );
    }
}

/// To five digits behind the point.
fn round(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}

#[test]
fn a_tensor_is_stored_whole_where_a_bitmap_would_not_be_smaller() {
    for (nonzero, words) in [(30, 3 + 1 + 30), (31, 3 + 32), (32, 3 + 32), (0, 3 + 1)] {
        assert_eq!(record_words(32, nonzero), Some(words));
    }
    let plan = planned(&{
        let (mut net, x) = Builder::new(23, 16, [1, 1]);
        let flat = net.node(Op::Reshape, vec![x], &[1, 16]);
        let y = net.linear(flat, 16);
        net.finish(&[y])
    });
    let (dense, sparse) = (strand(&plan).unwrap(), sparse_strand(&plan).unwrap());
    assert_eq!(dense[..], sparse[..], "nothing is gained, so the file is dense");
}

/// A dense layer 2 -> 3, its weights as the words of a sparse section.
fn sparse_file(words: &[u32], expanded: u32) -> AlignedBytes {
    let mut net = StrandBuilder::new();
    let x = net.input("x", Dims::vector(2));
    let (weights, bias) = (net.weights(&[0.0; 32]), net.weights(&[0.0; 16]));
    let linear = Linear { weights, bias, activation: Activation::None };
    let y = net.step(x, Dims::vector(3), StepOp::Linear(linear));
    net.output("y", y);
    let dense = net.finish();
    let header = *Model::new(&dense).unwrap().header();
    let header = Header { expanded, ..header };
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut sections = sections_of(&dense);
    sections[1] = (SectionKind::SparseWeights.number(), true, bytes);
    assemble(header, &sections)
}

/// 1.0 as value 0 and 2.0 as value 17 of 32, then a bias of zeros.
const RIGHT: [u32; 10] = [0, 32, 2, 1 | 1 << 17, 0x3f80_0000, 0x4000_0000, 128, 16, 0, 0];

#[test]
fn values_go_to_where_the_bitmap_says() {
    let file = sparse_file(&RIGHT, 192);
    let mut memory = AlignedBytes::filled(0xff, 192);
    let model = Model::expand(&file, &mut memory).unwrap();
    let step = model.steps().next().unwrap();
    let StepOp::Linear(linear) = step.op else { panic!("{step:?}") };
    let mut expected = [0.0; 32];
    (expected[0], expected[17]) = (1.0, 2.0);
    assert_eq!(model.weights_f32(linear.weights), expected);
    assert_eq!(model.weights_f32(linear.bias), [0.0; 16]);
}

#[test]
fn damaged_sparse_weights_are_refused_with_their_place_and_reason() {
    let tensor = |index, fault| FormatError::SparseTensor { index, fault };
    let changed = |at: usize, word: u32| {
        let mut words = RIGHT.to_vec();
        words[at] = word;
        words
    };
    let cases = [
        (changed(3, 1), tensor(0, SparseFault::Bits { stored: 2, found: 1 })),
        (changed(3, 7), tensor(0, SparseFault::Bits { stored: 2, found: 3 })),
        (changed(9, 1 << 16), tensor(1, SparseFault::Bits { stored: 0, found: 0 })),
        (changed(6, 64), tensor(1, SparseFault::Place)),
        (changed(6, 132), tensor(1, SparseFault::Place)),
        (changed(6, 192), tensor(1, SparseFault::Place)),
        (changed(7, u32::MAX), tensor(1, SparseFault::Truncated)),
        (RIGHT[..9].to_vec(), tensor(1, SparseFault::Truncated)),
        (RIGHT[..8].to_vec(), tensor(1, SparseFault::Truncated)),
        (RIGHT[..6].to_vec(), FormatError::ExpandedLength { declared: 192, found: 128 }),
        (vec![0, 1, 2, 5, 5], tensor(0, SparseFault::Count { stored: 2, len: 1 })),
    ];
    for (case, (words, expected)) in cases.iter().enumerate() {
        let file = sparse_file(words, 192);
        let mut memory = AlignedBytes::filled(0, 192);
        assert_eq!(Model::expand(&file, &mut memory).err(), Some(*expected), "case {case}");
    }
}

#[test]
fn any_word_of_sparse_weights_may_be_anything_without_a_panic() {
    let mut random = Random(8);
    for _ in 0..4000 {
        let mut words = RIGHT.to_vec();
        for _ in 0..2 {
            let at = random.bits() as usize % words.len();
            let any = random.bits();
            words[at] = random.pick(&[0, 1, 31, 32, 64, 191, 192, u32::MAX, 1 << 31, any]);
        }
        let file = sparse_file(&words, 192);
        let mut memory = AlignedBytes::filled(0, 192);
        // Whatever it says: a network or an error.
        let refused = Model::expand(&file, &mut memory).is_err();
        assert!(refused || Model::new(&file).is_err());
    }
}

#[test]
fn memory_that_does_not_fit_is_refused() {
    let file = sparse_file(&RIGHT, 192);
    assert_eq!(Model::new(&file).err(), Some(FormatError::Sparse { needed: 192 }));
    let mut memory = AlignedBytes::filled(0, 320);
    let small = FormatError::MemoryTooSmall { needed: 192, found: 191 };
    assert_eq!(Model::expand(&file, &mut memory[..191]).err(), Some(small));
    let misaligned = Model::expand(&file, &mut memory[4..]).err();
    assert_eq!(misaligned, Some(FormatError::MemoryMisaligned));
    let mut none = [0; 0];
    assert_eq!(
        Model::expand(&file, &mut none).err(),
        Some(FormatError::MemoryTooSmall { needed: 192, found: 0 })
    );
}

#[test]
fn a_file_has_the_weights_that_its_header_announces_and_no_others() {
    let kind = SectionKind::Weights;
    let silent = sparse_file(&RIGHT, 0);
    assert_eq!(Model::new(&silent).err(), Some(FormatError::MissingSection { kind }));
    let file = sparse_file(&RIGHT, 192);
    let mut memory = AlignedBytes::filled(0, 192);
    let header = *Model::expand(&file, &mut memory).unwrap().header();
    let (sparse, dense) = (SectionKind::SparseWeights, SectionKind::Weights);
    let mut both = sections_of(&file);
    both.push((dense.number(), true, vec![0; 192]));
    let mut memory = AlignedBytes::filled(0, 192);
    let error = Model::expand(&assemble(header, &both), &mut memory).err();
    assert_eq!(error, Some(FormatError::UnusedWeights { kind: dense }));
    let announced = Header { expanded: 0, ..header };
    let error = Model::new(&assemble(announced, &both)).err();
    assert_eq!(error, Some(FormatError::UnusedWeights { kind: sparse }));
}

#[test]
fn fusion_and_pruning_keep_zero_weights_zero() {
    let graph = thinned(0.1);
    let mut fused = fuse(graph.clone(), FuseMode::Free, &mut |_| {});
    assert_eq!(fused.regions.len(), 3);
    let zeros = |graph: &Graph| -> Vec<Vec<bool>> {
        let layers = graph.nodes.iter().filter(|node| is_layer(node));
        let weights = |node: &Node| graph.constant_f32(node.inputs[1]).expect("weights").to_vec();
        layers.map(|node| weights(node).iter().map(|&w| w == 0.0).collect()).collect()
    };
    assert_eq!(zeros(&graph), zeros(&fused.graph));
    let count = |zeros: &[Vec<bool>], zero: bool| {
        zeros.iter().flatten().filter(|&&is_zero| is_zero == zero).count()
    };
    let before = zeros(&fused.graph);
    // A depthwise kernel of nine weights is empty with a probability of 0.39.
    assert!(!prune(&mut fused.graph).layers.is_empty());
    let after = zeros(&fused.graph);
    assert!(count(&after, true) < count(&before, true));
    assert!(count(&after, false) <= count(&before, false));
}
