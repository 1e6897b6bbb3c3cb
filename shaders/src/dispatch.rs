//! [`Dispatch`]: what one step asks of the GPU, as plain numbers. Nothing here touches a device.

use crate::adapter::check;
use crate::error::{GpuError, Place};
use crate::params::{
    activation, binary, border, dims, elements, factor, function, matrix, other, pad_mode, part,
    reduction, view, window,
};
use crate::shader::{Shader, Variant};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{
    Activation, Conv, Element, Layout, Linear, Op, Operand, Resample, Source, Step,
};

/// Output channels in a panel or block of a weight layout.
const NR: u32 = 16;
/// Channels in one vector of a shader.
const QUAD: u32 = 4;

/// One step as a compute dispatch.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub(crate) shader: &'static Shader,
    pub(crate) variant: &'static Variant,
    pub(crate) grid: Grid,
    /// The words of the `Params` block behind the grid's.
    pub(crate) params: Vec<u32>,
    pub(crate) operands: Operands,
}

/// What a step reads besides its input; absent ones are empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operands {
    /// Second operand, if it is computed.
    pub(crate) other: Option<Operand>,
    /// What [`Binding::Weights`](crate::Binding::Weights) names.
    pub(crate) weights: Span,
    /// What [`Binding::Bias`](crate::Binding::Bias) names.
    pub(crate) bias: Span,
    /// Slopes of PReLU.
    pub(crate) slopes: Span,
    /// The step writes only some values of its output; the others stay.
    pub(crate) partial_output: bool,
}

/// The rows and columns of a result, and how many such results there are.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rows: u32,
    columns: u32,
    groups: u32,
}

impl Extent {
    fn rows(rows: u32) -> Self {
        Self { rows, columns: 1, groups: 1 }
    }

    fn columns(columns: u32) -> Self {
        Self { rows: 1, columns, groups: 1 }
    }

    fn workgroups(self, [rows, columns]: [u32; 2]) -> u64 {
        let tiles = |extent: u32, tile: u32| u64::from(extent.div_ceil(tile));
        tiles(self.rows, rows) * tiles(self.columns, columns) * u64::from(self.groups)
    }
}

/// What the arms of the match on [`Op`] differ in.
struct Work {
    extent: Extent,
    params: Vec<u32>,
    operands: Operands,
}

impl Dispatch {
    /// Translates a step. `max_workgroups` is the limit of each axis of a grid.
    pub(crate) fn new(step: &Step, place: Place, max_workgroups: u32) -> Result<Self, GpuError> {
        let none = GpuError::NoShader { place };
        let (Some(shader), Some(work)) = (Shader::of(&step.op), work(step)) else {
            return Err(none);
        };
        let Work { extent, params, operands } = work;
        // The variant with the least work beside the result's edges; the first of equals.
        let cost = |variant: &&Variant| {
            let [rows, columns] = variant.tile;
            extent.workgroups(variant.tile) * u64::from(rows) * u64::from(columns)
        };
        let variant = shader.variants.iter().min_by_key(cost).ok_or(none)?;
        let grid = Grid::new(extent.workgroups(variant.tile), place, max_workgroups)?;
        Ok(Self { shader, variant, grid, params, operands })
    }

    /// The whole `Params` block, filled up to the 16 bytes that uniform blocks are made of.
    pub(crate) fn params_block(&self) -> Vec<u32> {
        let mut block = vec![self.grid.x];
        block.extend(&self.params);
        block.resize(block.len().next_multiple_of(4), 0);
        block
    }
}

/// Workgroups along the first two axes. Shaders count them row by row and ignore those beyond
/// the last, so any number of workgroups fits a limit of each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) x: u32,
    pub(crate) y: u32,
}

impl Grid {
    fn new(workgroups: u64, place: Place, max: u32) -> Result<Self, GpuError> {
        let (limit, found) = ("max_compute_workgroups_per_dimension", u64::from(max));
        let x = workgroups.min(found);
        let y = workgroups.div_ceil(x.max(1));
        check(place, limit, y, found)?;
        match (u32::try_from(x), u32::try_from(y)) {
            (Ok(x), Ok(y)) => Ok(Self { x, y }),
            _ => Err(GpuError::Limit { place, limit, needed: y, found }),
        }
    }
}

/// `None` for steps on other than f32 values, which have no shaders yet.
fn work(step: &Step) -> Option<Work> {
    if [step.input.element, step.output.element] != [Element::F32; 2] {
        return None;
    }
    let (input, output) = (step.input.dims, step.output.dims);
    Some(match &step.op {
        Op::Conv(conv) => match conv.layout {
            Layout::F32Nr16 => dense(input, output, conv),
            Layout::F32Dw16 => depthwise(input, output, conv),
        },
        Op::Linear(layer) => linear(input, output, layer),
        Op::MaxPool(geometry) => pool(input, output, window(geometry), false),
        Op::AveragePool { window: geometry, count_include_pad } => {
            pool(input, output, window(geometry), *count_include_pad)
        }
        Op::GlobalAveragePool => alone(Extent::columns(input.c), &[&matrix(input)]),
        Op::Binary { function, other, swapped, activation } => {
            pair(output, binary(*function, *swapped), other, *activation)
        }
        Op::ScaleShift { scale, shift, activation } => {
            let operands = Operands { weights: *scale, bias: *shift, ..slopes(*activation) };
            elementwise(output, *activation, operands)
        }
        Op::Activate(activation) => elementwise(output, *activation, slopes(*activation)),
        Op::Apply(applied) => {
            alone(Extent::rows(count(output)), &[&[count(output)], &function(*applied)])
        }
        Op::Softmax => alone(Extent::rows(input.h * input.w), &[&matrix(input)]),
        Op::CopyInto { at } => {
            let params = [dims(input), dims(output), *at].concat();
            let operands = Operands { partial_output: true, ..Operands::default() };
            Work { extent: Extent::rows(count(input)), params, operands }
        }
        Op::Rearrange(shown) => {
            alone(Extent::rows(count(output)), &[&[count(output)], &view(shown)])
        }
        Op::Pad { pad, mode } => {
            let before = [pad.top, pad.left];
            let params: [&[u32]; 4] = [&dims(input), &dims(output), &before, &pad_mode(*mode)];
            alone(Extent::rows(count(output)), &params)
        }
        Op::Resample(Resample { rows, columns }) => Work {
            extent: Extent::rows(count(output)),
            params: [&dims(input)[..], &dims(output), &[rows.count, columns.count]].concat(),
            operands: Operands { weights: rows.table, bias: columns.table, ..Operands::default() },
        },
        Op::TopK(top) => {
            let choice = [top.count, u32::from(top.largest), u32::from(top.last)];
            alone(Extent::rows(input.h * input.w), &[&matrix(input), &choice])
        }
        Op::MatMul(matmul) => Work {
            extent: Extent::rows(count(output)),
            params: [&dims(input)[..], &dims(output), &factor(matmul)].concat(),
            operands: second(&matmul.other),
        },
        Op::Reduce(function) => {
            let params: [&[u32]; 3] = [&dims(input), &dims(output), &[reduction(*function)]];
            alone(Extent::rows(count(output)), &params)
        }
        Op::Normalise(op) => {
            let part = part(op, input);
            let [h, w, c, ..] = part;
            let parts = (input.h / h) * (input.w / w) * (input.c / c);
            alone(Extent::rows(parts), &[&dims(input), &part])
        }
        Op::Quantize | Op::Dequantize | Op::ConvS8(_) | Op::PairS8(_) | Op::TableS8(_) => {
            return None;
        }
    })
}

/// What reads its input and nothing else.
fn alone(extent: Extent, params: &[&[u32]]) -> Work {
    Work { extent, params: params.concat(), operands: Operands::default() }
}

fn count(dims: Dims) -> u32 {
    dims.h * dims.w * dims.c
}

fn slopes(activation: Activation) -> Operands {
    let slopes = match activation {
        Activation::None | Activation::Clamp { .. } | Activation::LeakyRelu { .. } => Span::EMPTY,
        Activation::PRelu { slopes } => slopes,
    };
    Operands { slopes, ..Operands::default() }
}

fn dense(input: Dims, output: Dims, conv: &Conv) -> Work {
    Work {
        extent: Extent {
            rows: output.h * output.w,
            columns: (output.c / conv.groups).next_multiple_of(NR),
            groups: conv.groups,
        },
        params: [
            &dims(input)[..],
            &dims(output),
            &[conv.groups],
            &window(&conv.window),
            &border(conv.border),
            &activation(conv.activation),
        ]
        .concat(),
        operands: Operands { weights: conv.weights, bias: conv.bias, ..slopes(conv.activation) },
    }
}

fn depthwise(input: Dims, output: Dims, conv: &Conv) -> Work {
    Work {
        extent: Extent::rows(output.h * output.w * output.c.div_ceil(QUAD)),
        params: [
            &dims(input)[..],
            &dims(output),
            &window(&conv.window),
            &border(conv.border),
            &activation(conv.activation),
        ]
        .concat(),
        operands: Operands { weights: conv.weights, bias: conv.bias, ..slopes(conv.activation) },
    }
}

fn linear(input: Dims, output: Dims, layer: &Linear) -> Work {
    Work {
        extent: Extent::columns(output.c),
        params: [&[count(input), output.c][..], &activation(layer.activation)].concat(),
        operands: Operands { weights: layer.weights, bias: layer.bias, ..slopes(layer.activation) },
    }
}

fn pool(input: Dims, output: Dims, window: [u32; 8], count_include_pad: bool) -> Work {
    Work {
        extent: Extent::rows(count(output)),
        params: [&dims(input)[..], &dims(output), &window, &[u32::from(count_include_pad)]]
            .concat(),
        operands: Operands::default(),
    }
}

fn elementwise(output: Dims, after: Activation, operands: Operands) -> Work {
    Work {
        extent: Extent::rows(count(output)),
        params: [&elements(output)[..], &activation(after)].concat(),
        operands,
    }
}

/// A second operand, computed or in the weights.
fn second(source: &Source) -> Operands {
    match source {
        Source::Arena(map) => Operands { other: Some(*map), ..Operands::default() },
        Source::Weights { span, .. } => Operands { weights: *span, ..Operands::default() },
    }
}

fn pair(output: Dims, function: [u32; 2], from: &Source, after: Activation) -> Work {
    let operands = Operands { slopes: slopes(after).slopes, ..second(from) };
    Work {
        extent: Extent::rows(count(output)),
        params: [&elements(output)[..], &[output.w], &function, &other(from), &activation(after)]
            .concat(),
        operands,
    }
}

#[cfg(test)]
mod tests {
    use super::{GpuError, Grid, Place};

    #[test]
    fn a_grid_holds_all_workgroups_within_the_limit() {
        for workgroups in [0, 1, 7, 8, 9, 15, 16, 17, 63, 64] {
            let Grid { x, y } = Grid::new(workgroups, Place::Network, 8).unwrap();
            assert!(x <= 8 && y <= 8, "{workgroups}: {x} x {y}");
            let held = u64::from(x) * u64::from(y);
            assert!(held >= workgroups && held < workgroups + 8, "{workgroups}: {x} x {y}");
        }
    }

    #[test]
    fn workgroups_beyond_both_axes_are_refused_with_their_step() {
        let place = Place::Step { index: 3, op: "conv" };
        match Grid::new(65, place, 8) {
            Err(error @ GpuError::Limit { needed: 9, found: 8, .. }) => {
                assert!(error.to_string().starts_with("step 3 (conv) needs "), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}
