//! One operation, executed by a session under every CPU mask, against its formula in f64.

use crate::execute::cpus;
use crate::strand_builder::{AlignedBytes, StrandBuilder, open};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::Op;
use unbraid_runtime::{Cpu, Kernels, Session};

/// The first output of one inference by one worker.
///
/// # Panics
/// When the runtime refuses the file or the input.
pub fn infer(file: &AlignedBytes, cpu: Cpu, x: &[f32]) -> Vec<f32> {
    let model = open(file);
    let mut arena = AlignedBytes::filled(0xA5, model.arena_len(1).unwrap());
    let mut session = Session::new(&model, &mut arena, Kernels::new(cpu)).unwrap();
    session.write_input(x).unwrap();
    session.run().to_vec()
}

/// [`infer`] of a network with s8 values in and out.
///
/// # Panics
/// When the runtime refuses the file or the input.
pub fn infer_s8(file: &AlignedBytes, cpu: Cpu, x: &[i8]) -> Vec<i8> {
    let model = open(file);
    let mut arena = AlignedBytes::filled(0xA5, model.arena_len(1).unwrap());
    let mut session = Session::new(&model, &mut arena, Kernels::new(cpu)).unwrap();
    session.input_s8_mut(0).unwrap().copy_from_slice(x);
    session.run();
    session.output_s8(0).unwrap().to_vec()
}

/// Runs under every mask: exactly `expected`.
///
/// # Panics
/// When it is not so.
pub fn check_s8(net: &StrandBuilder, x: &[i8], expected: &[i8], what: &str) {
    let file = net.finish();
    for (mask, cpu) in cpus() {
        assert!(infer_s8(&file, cpu, x) == expected, "{what}: {mask} differs from the formula");
    }
}

/// Runs under every mask: near `expected`, and the same bits under all of them.
///
/// # Panics
/// When it is not so.
pub fn check(net: &StrandBuilder, x: &[f32], expected: &[f64], what: &str) {
    let file = net.finish();
    let portable = infer(&file, Cpu::PORTABLE, x);
    let scale = expected.iter().fold(1e-30, |max: f64, y| max.max(y.abs()));
    assert_eq!(portable.len(), expected.len(), "{what}");
    for (at, (&found, &expected)) in portable.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs() / scale;
        assert!(error <= 1e-5, "{what}: value {at} is {found}, should be {expected}");
    }
    for (mask, cpu) in cpus() {
        let other = infer(&file, cpu, x);
        let same = other.iter().zip(&portable).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{what}: {mask} differs from portable");
    }
}

/// Where the value of a pixel and channel lies.
pub fn at(dims: Dims, y: u32, x: u32, c: u32) -> usize {
    ((y * dims.w + x) * dims.c + c) as usize
}

/// `f` of every output row, column and channel, in NHWC order.
pub fn each(dims: Dims, mut f: impl FnMut(u32, u32, u32) -> f64) -> Vec<f64> {
    let mut values = Vec::new();
    for y in 0..dims.h {
        for x in 0..dims.w {
            (0..dims.c).for_each(|c| values.push(f(y, x, c)));
        }
    }
    values
}

/// Shapes around the block of 16 channels, primes, single pixels and rows.
pub const MAPS: [Dims; 7] = [
    Dims { h: 1, w: 1, c: 1 },
    Dims { h: 1, w: 7, c: 16 },
    Dims { h: 7, w: 1, c: 15 },
    Dims { h: 5, w: 6, c: 17 },
    Dims { h: 4, w: 4, c: 3 },
    Dims { h: 13, w: 11, c: 32 },
    Dims { h: 8, w: 9, c: 37 },
];

/// A network of one step, not in place.
pub fn one_step(dims: Dims, out: Dims, op: Op) -> StrandBuilder {
    let mut net = StrandBuilder::new();
    let input = net.input("x", dims);
    let output = net.step(input, out, op);
    net.output("y", output);
    net
}
