//! The algebra behind fusion: on random affine networks, against impulses as a second oracle, and
//! kernel map by kernel map.

use unbraid_converter::fuse::form::{Axis, Form};
use unbraid_converter::fuse::kernel_map::KernelMap;
use unbraid_converter::fuse::{FuseMode, Reason, fuse};
use unbraid_converter::graph::Graph;
use unbraid_converter::reference;
use unbraid_tests::graphs::{
    Builder, Layer, difference, random_affine, random_views, square, values,
};
use unbraid_tests::rng::Random;

#[test]
fn random_affine_networks_keep_their_function() {
    let (mut regions, mut borders) = (0, 0);
    for seed in 0..800 {
        let graph = if seed % 2 == 0 { random_affine(seed) } else { random_views(seed) };
        for mode in [FuseMode::Off, FuseMode::Free, FuseMode::All] {
            let result = fuse(graph.clone(), mode, &mut |_| {});
            let error = difference(&graph, &result.graph);
            assert!(error < 1e-5, "seed {seed} {mode:?}: {error:e}\n{:#?}", result.regions);
            for region in &result.regions {
                assert!(region.certificate.exact.worst() <= 1e-9, "seed {seed}: {region:?}");
            }
            let failed = |reason: &Reason| {
                matches!(reason, Reason::Differs { .. } | Reason::NotExecutable { .. })
            };
            assert!(
                !result.refused.iter().any(|refusal| failed(&refusal.reason)),
                "seed {seed} {mode:?}: the algebra is wrong: {:?}",
                result.refused
            );
            regions += result.regions.len();
            borders += result.regions.iter().filter(|r| r.bias_vectors > 1).count();
        }
    }
    assert!(regions > 1000 && borders > 50, "{regions} regions, {borders} with borders");
}

#[test]
fn free_fusion_never_adds_work() {
    for seed in 0..400 {
        let graph = if seed % 2 == 0 { random_affine(seed) } else { random_views(seed) };
        let result = fuse(graph, FuseMode::Free, &mut |_| {});
        for region in &result.regions {
            assert!(region.after.macs <= region.before.macs, "seed {seed}: {region:?}");
            assert!(region.after.weights <= region.before.weights, "seed {seed}: {region:?}");
        }
    }
}

/// Reads the kernel of a region off its answers to impulses: the second oracle.
fn impulse_response(graph: &Graph, taps: usize) -> Vec<f64> {
    let shape = graph.shape(graph.inputs[0]).to_vec();
    let (inputs, size) = (shape[1], shape[2]);
    let outputs = graph.shape(graph.outputs[0])[1];
    let (centre, radius) = (size / 2, taps / 2);
    let zero = vec![0.0; inputs * size * size];
    let run = |x: Vec<f64>| reference::run(graph, &[x]).expect("runs").remove(0);
    let bias = run(zero.clone());
    let mut kernel = vec![0.0; outputs * inputs * taps * taps];
    for i in 0..inputs {
        let mut x = zero.clone();
        x[(i * size + centre) * size + centre] = 1.0;
        let y = run(x);
        for k in 0..outputs * taps * taps {
            let (o, ky, kx) = (k / taps / taps, k / taps % taps, k % taps);
            let at = (o * size + centre + radius - ky) * size + centre + radius - kx;
            kernel[((o * inputs + i) * taps + ky) * taps + kx] = y[at] - bias[at];
        }
    }
    kernel
}

#[test]
fn impulses_read_the_kernel_that_fusion_computed() {
    for seed in 0..8 {
        let (mut net, x) = Builder::new(100 + seed, 3, [11, 11]);
        let main = net.repvgg_sum(x, 3, 1, 1);
        let side = net.conv_bn(x, Layer::of(5, 1, 1, 1));
        let side = net.conv_bn(side, Layer::of(3, 3, 1, 1));
        let pool = net.average(x, square(3, 1, 1), true);
        let y = net.sum(&[main, side, pool]);
        let graph = net.finish(&[y]);
        let result = fuse(graph.clone(), FuseMode::Free, &mut |_| {});
        let [node] = &result.graph.nodes[..] else { panic!("{:#?}", result.refused) };
        let written = result.graph.constant_f32(node.inputs[1]).expect("a constant kernel");
        for (probed, &written) in impulse_response(&graph, 3).iter().zip(written) {
            assert!((probed - f64::from(written)).abs() < 1e-6, "{probed} {written}");
        }
    }
}

#[test]
fn kernel_maps_compose_like_functions() {
    let mut random = Random(5);
    for case in 0..200 {
        let inner = random_map(&mut random, 4, 6);
        let outer = random_map(&mut random, 6, 4);
        let x = values(&mut random, 4 * 24 * 23);
        let (mid, end) = (size(&inner.form, [24, 23]), |mid| size(&outer.form, mid));
        let chained = outer.apply(&inner.apply(&x, [24, 23], mid), mid, end(mid));
        match KernelMap::compose(outer.clone(), inner.clone(), [[24, 23], mid]) {
            Ok(map) => {
                let once = map.apply(&x, [24, 23], end(mid));
                let error =
                    once.iter().zip(&chained).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(
                    error < 1e-12,
                    "case {case}: {error:e}\n{:?}\n{:?}",
                    outer.form,
                    inner.form
                );
            }
            Err(reason) => assert_eq!(reason, Reason::PaddingBetween),
        }
    }
}

fn random_map(random: &mut Random, inputs: usize, outputs: usize) -> KernelMap {
    let groups = random.pick(&[1, 2]);
    let mut axis = || {
        let (taps, pad) = random.pick(&[
            (1, 0),
            (1, 0),
            (3, 0),
            (3, 1),
            (3, 2),
            (3, 4),
            (2, 0),
            (2, 1),
            (1, 1),
            (1, -1),
        ]);
        let dilation = if taps == 1 { 1 } else { random.pick(&[1, 2]) };
        Axis { taps, stride: random.pick(&[1, 1, 2]), dilation, low: pad, high: pad }
    };
    let axes = [axis(), axis()];
    let biased = random.pick(&[true, false]);
    let form = Form { outputs, groups, axes, ..Form::diagonal(inputs, biased) };
    let bias = if biased { values(random, outputs) } else { vec![0.0; outputs] };
    KernelMap { form, kernel: values(random, form.weights()), bias, border: None }
}

fn size(form: &Form, input: [usize; 2]) -> [usize; 2] {
    [0, 1].map(|k| {
        let axis = form.axes[k];
        let padded = input[k] as i64 + axis.low + axis.high;
        (padded as usize - axis.extent()) / axis.stride + 1
    })
}

#[test]
fn the_same_graph_fuses_to_the_same_graph() {
    for seed in 0..50 {
        let once = fuse(random_affine(seed), FuseMode::Free, &mut |_| {});
        let again = fuse(random_affine(seed), FuseMode::Free, &mut |_| {});
        assert_eq!(once.graph, again.graph, "seed {seed}");
    }
}
