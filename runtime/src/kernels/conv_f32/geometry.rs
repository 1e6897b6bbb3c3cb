//! [`Geometry`]: every number that a kernel derives from the shape of a convolution, and the
//! lengths that the layout demands of weights, bias and scratch.
#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "some numbers only SIMD kernels ask for")
)]

use super::NR;
use crate::dims::{Dims, Hw, Window};
use crate::kernels::axis::{Axis, nonzero};
use crate::step::Border;

/// Panels of 16 output channels in one group: `ceil(out_c / groups / 16)`.
///
/// `None` when a number is zero or `groups` does not divide `out_c`.
pub fn panels(groups: u32, out_c: u32) -> Option<usize> {
    Some(per_group(groups, out_c)?.div_ceil(NR))
}

/// Floats of packed weights: `groups * panels * kh * kw * (in_c / groups) * 16`.
///
/// `None` when a number is zero, `groups` does not divide the channels, or the product overflows.
pub fn weights_len(window: &Window, groups: u32, in_c: u32, out_c: u32) -> Option<usize> {
    let Hw { h, w } = window.kernel;
    let row = per_group(groups, in_c)?.checked_mul(NR)?;
    let panel = row.checked_mul(nonzero(h)?)?.checked_mul(nonzero(w)?)?;
    panel.checked_mul(panels(groups, out_c)?)?.checked_mul(nonzero(groups)?)
}

/// Values of bias vectors: `border classes * groups * panels * 16`. What is one vector
/// (slopes, factors): the same without classes.
///
/// `None` when a number is zero, `groups` does not divide `out_c`, or the product overflows.
pub fn bias_len(border: Border, groups: u32, out_c: u32) -> Option<usize> {
    let (rows, columns) = border.classes();
    let vector = panels(groups, out_c)?.checked_mul(nonzero(groups)?)?.checked_mul(NR)?;
    vector.checked_mul(nonzero(rows)?)?.checked_mul(nonzero(columns)?)
}

/// Floats of scratch that hold the staged input rows of `rows` output rows:
/// `staged rows * in_c * phases * columns` with
///
/// * `staged rows = min((rows - 1) * stride.h + extent.h, input.h)`,
/// * `extent = (kernel - 1) * dilation + 1` an axis,
/// * `phases = min(stride.w, extent.w)`: a staged channel keeps the columns of each stride residue
///   apart, so that neighbouring output pixels read neighbouring floats,
/// * `columns = max(output.w + (extent.w - 1) / stride.w, 8)`, the quotient rounded down.
///
/// `None` when `rows` is zero, `output` does not follow from `input`, or a number overflows.
pub fn scratch_len(window: &Window, input: Dims, output: Dims, rows: u32) -> Option<usize> {
    Some(Geometry::new(window, 1, Border::default(), input, output)?.scratch_len(nonzero(rows)?))
}

/// Channels of one group. `None` when a number is zero or `groups` does not divide `channels`.
pub(in crate::kernels) fn per_group(groups: u32, channels: u32) -> Option<usize> {
    let (groups, channels) = (nonzero(groups)?, nonzero(channels)?);
    (channels.checked_rem(groups)? == 0).then_some(channels.checked_div(groups)?)
}

/// Columns, and channels, that SIMD kernels stage in one go.
pub(super) const STAGED_AT_ONCE: usize = 8;

/// Shape of a feature map as indices.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Map {
    pub(in crate::kernels) h: usize,
    pub(in crate::kernels) w: usize,
    pub(in crate::kernels) c: usize,
}

impl Map {
    /// `None` when a dimension is zero or the map does not fit the address space.
    pub(in crate::kernels) fn new(dims: Dims) -> Option<Self> {
        dims.elements()?.checked_mul(size_of::<f32>())?;
        Some(Self { h: nonzero(dims.h)?, w: nonzero(dims.w)?, c: nonzero(dims.c)? })
    }
}

/// The shape of one convolution, proved consistent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) input: Map,
    pub(super) output: Map,
    pub(super) rows: Axis,
    pub(super) columns: Axis,
    pub(super) groups: usize,
    /// Input channels of a group.
    pub(super) in_c: usize,
    /// Output channels of a group.
    pub(super) out_c: usize,
    /// Panels of a group.
    pub(super) panels: usize,
}

impl Geometry {
    pub(super) fn new(
        window: &Window,
        groups: u32,
        border: Border,
        input: Dims,
        output: Dims,
    ) -> Option<Self> {
        let Window { kernel, stride, dilation, pad } = window;
        let derived = window.output(input.h, input.w)?;
        if derived != (Hw { h: output.h, w: output.w }) {
            return None;
        }
        let rows = Axis::new(kernel.h, stride.h, dilation.h, pad.top)?;
        let columns = Axis::new(kernel.w, stride.w, dilation.w, pad.left)?;
        let (in_c, out_c) = (per_group(groups, input.c)?, per_group(groups, output.c)?);
        let (input, output) = (Map::new(input)?, Map::new(output)?);
        let geometry = Self {
            rows: rows.with_border(border.top, border.bottom, output.h)?,
            columns: columns.with_border(border.left, border.right, output.w)?,
            groups: nonzero(groups)?,
            panels: out_c.div_ceil(NR),
            input,
            output,
            in_c,
            out_c,
        };
        let staged = geometry.staged_columns().checked_mul(geometry.phases())?;
        staged.checked_mul(input.c)?.checked_mul(input.h)?.checked_mul(size_of::<f32>())?;
        Some(geometry)
    }

    /// Values in one input row.
    pub(super) fn input_row(&self) -> usize {
        self.input.w * self.input.c
    }

    /// Values in one output row.
    pub(super) fn output_row(&self) -> usize {
        self.output.w * self.output.c
    }

    /// Floats of one panel.
    pub(super) fn panel_len(&self) -> usize {
        self.tap_len() * self.rows.taps * self.columns.taps
    }

    /// Floats of one tap of one panel.
    pub(super) fn tap_len(&self) -> usize {
        self.in_c * NR
    }

    /// Floats of one bias vector.
    fn bias_vector(&self) -> usize {
        self.groups * self.panels * NR
    }

    /// Where the bias of an output pixel begins, panels of all groups in a row.
    #[inline]
    pub(super) fn bias_at(&self, row_class: usize, column_class: usize) -> usize {
        (row_class * self.columns.class_count() + column_class) * self.bias_vector()
    }

    /// Stride residues that a staged channel keeps apart.
    pub(super) fn phases(&self) -> usize {
        self.columns.stride.get().min(self.columns.extent)
    }

    /// Columns of one phase: what tiles read, and at least what is staged at once.
    pub(super) fn staged_columns(&self) -> usize {
        let read = self.output.w + (self.columns.extent - 1) / self.columns.stride;
        read.max(STAGED_AT_ONCE)
    }

    /// Floats of one staged channel.
    pub(super) fn pitch(&self) -> usize {
        self.phases() * self.staged_columns()
    }

    /// Where each tap `kx` of output column 0 lies in a staged channel.
    #[inline]
    pub(super) fn staged_taps(&self) -> impl Iterator<Item = usize> {
        let Axis { taps, stride, dilation, .. } = self.columns;
        let (phases, columns) = (stride.get(), self.staged_columns());
        let (mut phase, mut column) = (0, 0);
        (0..taps).map(move |_| {
            let at = phase * columns + column;
            (phase, column) = (phase + dilation % stride, column + dilation / stride);
            if phase >= phases {
                (phase, column) = (phase - phases, column + 1);
            }
            at
        })
    }

    /// The input column that a staged column of a phase holds.
    pub(super) fn staged_source(&self, phase: usize, at: usize) -> Option<usize> {
        (self.columns.window(at) + phase)
            .checked_sub(self.columns.pad)
            .filter(|&x| x < self.input.w)
    }

    /// Floats of one staged row.
    pub(super) fn staged_row(&self) -> usize {
        self.input.c * self.pitch()
    }

    /// [`scratch_len`]; saturates where that many rows cannot exist.
    pub(super) fn scratch_len(&self, rows: usize) -> usize {
        let steps = rows.saturating_sub(1).saturating_mul(self.rows.stride.get());
        steps.saturating_add(self.rows.extent).min(self.input.h) * self.staged_row()
    }

    /// Most output rows whose input rows `scratch` floats can hold.
    pub(super) fn rows_in(&self, scratch: usize) -> usize {
        let slots = scratch.checked_div(self.staged_row()).unwrap_or(0);
        if slots >= self.input.h {
            return self.output.h;
        }
        slots.checked_sub(self.rows.extent).map_or(0, |free| free / self.rows.stride + 1)
    }
}
