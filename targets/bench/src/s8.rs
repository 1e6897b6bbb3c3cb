//! The s8 convolution kernels on the same layers.

use crate::{Options, Timing, time};
use unbraid_runtime::cpu::Cpu;
use unbraid_runtime::kernels::contract::{Contract, Kernel, Operands, select};
use unbraid_runtime::kernels::conv_s8::ConvolutionS8;
use unbraid_runtime::step::LayoutS8;
use unbraid_tests::conv_cases::ConvCase;
use unbraid_tests::conv_s8_cases::{ConvS8Case, ConvS8Operands, Convolves};

/// What the layers of a network share.
struct Arena {
    x: Vec<u8>,
    y: Vec<u8>,
    scratch: Vec<u8>,
}

/// Checks and times every chosen kernel.
pub(crate) fn timings(options: &Options, cases: &[ConvCase]) -> Vec<Timing> {
    let cpu = Cpu::detect();
    let operands = |(seed, &case)| {
        ConvS8Operands::random(ConvS8Case::new(case, LayoutS8::Nr16Kr4), seed as u64)
    };
    let layers: Vec<ConvS8Operands> = cases.iter().enumerate().filter_map(operands).collect();
    let mut arena = Arena::new(&layers, options.scratch_kib * 1024);
    let kernels =
        ConvolutionS8::LIST.iter().filter(|k| cpu.has(k.needs) && k.name.contains(&options.kernel));
    kernels
        .map(|kernel| {
            layers.iter().for_each(|layer| check(kernel, layer, &mut arena));
            let (layers, pass) = time(&layers, options.runs, |layer| {
                arena.run(kernel, layer);
                std::mem::swap(&mut arena.x, &mut arena.y);
            });
            Timing { kernel: kernel.name, layers, pass }
        })
        .collect()
}

impl Arena {
    /// Room for the largest layer, `scratch` bytes or what one row needs.
    fn new(layers: &[ConvS8Operands], scratch: usize) -> Self {
        let x = layers.iter().map(|layer| layer.x.len()).max().unwrap_or(0);
        let y = layers.iter().map(|layer| layer.row_len() * layer.rows() as usize).max();
        let row = layers.iter().filter_map(|layer| ConvolutionS8::scratch(layer, 1)).max();
        let map = vec![0; x.max(y.unwrap_or(0))];
        Self { x: map.clone(), y: map, scratch: vec![0; row.unwrap_or(0).max(scratch)] }
    }

    /// Computes `layer` on whatever `x` holds and returns its output.
    fn run(&mut self, kernel: &Kernel<ConvolutionS8>, layer: &ConvS8Operands) -> &[u8] {
        let rows = layer.rows();
        let y = &mut self.y[..layer.row_len() * rows as usize];
        let all = ConvolutionS8::scratch(layer, rows).expect("a valid case");
        let granted = all.min(self.scratch.len());
        let scratch = &mut self.scratch[..granted];
        let args = ConvolutionS8::args_on(layer, bytemuck::cast_slice(&self.x[..layer.x.len()]));
        let ran = kernel.run(Cpu::detect(), &args, 0..args.rows(), y, scratch);
        ran.expect("the buffers fit");
        y
    }
}

/// Panics unless `kernel` gives the portable one's bits.
fn check(kernel: &Kernel<ConvolutionS8>, layer: &ConvS8Operands, arena: &mut Arena) {
    arena.x[..layer.x.len()].copy_from_slice(bytemuck::cast_slice(&layer.x));
    let expected = arena.run(select(Cpu::PORTABLE), layer).to_vec();
    assert!(arena.run(kernel, layer) == expected, "{} is wrong on {:?}", kernel.name, layer.case);
}
