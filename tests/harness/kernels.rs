//! Every kernel of a contract that this machine has, on whole maps and on bands, between guard bytes.

use bytemuck::Zeroable;
use std::ops::Range;
use unbraid_runtime::Cpu;
use unbraid_runtime::kernels::contract::{Contract, Kernel, Operands};

/// Values before and behind a band that a kernel must leave as they are.
const GUARD: usize = 67;

/// What memory holds that no kernel has written.
const POISON: u8 = 0xA5;

/// All kernels give exactly `expected`, in any bands, and write nothing else.
///
/// # Panics
/// When one does not, or takes rows or memory that it must refuse.
pub fn check_kernels<C: Contract>(args: &C::Args<'_>, expected: &[C::Value], what: &str) {
    for kernel in C::LIST {
        if !Cpu::detect().has(kernel.needs) {
            continue;
        }
        for rows in bands(args.rows()) {
            let start = args.values(&(0..rows.start)).unwrap();
            let expected = &expected[start..start + args.values(&rows).unwrap()];
            check_band(kernel, args, rows, expected, what);
        }
        refuses_what_does_not_fit(kernel, args, what);
    }
}

/// All rows at once, every one alone, and unequal parts.
fn bands(rows: usize) -> Vec<Range<usize>> {
    let mut bands: Vec<_> = (0..rows.min(9)).map(|row| row..row + 1).collect();
    let third = rows / 3;
    bands.extend([0..rows, 0..third, third..rows, rows..rows]);
    bands
}

fn check_band<C: Contract>(
    kernel: &Kernel<C>,
    args: &C::Args<'_>,
    rows: Range<usize>,
    expected: &[C::Value],
    what: &str,
) {
    let (mut y, mut scratch) = (poisoned(expected.len() + 2 * GUARD), scratch(args));
    let band = GUARD..GUARD + expected.len();
    kernel.run(Cpu::detect(), args, rows.clone(), &mut y[band.clone()], &mut scratch).unwrap();
    let bytes = bytemuck::cast_slice::<C::Value, u8>;
    let differ = bytes(&y[band.clone()]).iter().zip(bytes(expected)).position(|(a, b)| a != b);
    let name = kernel.name;
    assert_eq!(differ, None, "{what}: {name} differs in rows {rows:?} at this byte");
    let around = [bytes(&y[..band.start]), bytes(&y[band.end..])].concat();
    assert!(around.iter().all(|&byte| byte == POISON), "{what}: {name} writes around {rows:?}");
}

fn refuses_what_does_not_fit<C: Contract>(kernel: &Kernel<C>, args: &C::Args<'_>, what: &str) {
    let (rows, name) = (args.rows(), kernel.name);
    let mut y = poisoned(args.values(&(0..rows)).unwrap() + 1);
    let mut scratch = scratch(args);
    let len = y.len();
    for (rows, len) in [(0..rows, len), (0..rows, len - 2), (1..rows + 1, len - 1)] {
        let ran = kernel.run(Cpu::detect(), args, rows, &mut y[..len], &mut scratch);
        assert_eq!(ran, None, "{what}: {name} takes other rows or memory");
    }
    let bytes = bytemuck::cast_slice::<C::Value, u8>(&y);
    assert!(bytes.iter().all(|&byte| byte == POISON), "{what}: {name} refuses, but writes");
}

fn poisoned<T: bytemuck::Pod>(len: usize) -> Vec<T> {
    let mut values = vec![T::zeroed(); len];
    bytemuck::cast_slice_mut(&mut values).fill(POISON);
    values
}

fn scratch<O: Operands, S: Zeroable + Clone>(args: &O) -> Vec<S> {
    vec![S::zeroed(); args.min_scratch()]
}
