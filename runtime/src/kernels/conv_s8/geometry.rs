//! [`Geometry`]: every number that a kernel derives from the shape of a convolution, and the lengths
//! that the layout demands of weights and scratch.
#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "some numbers only SIMD kernels ask for")
)]

use super::{KR, NR, panels};
use crate::dims::{Dims, Hw, Window};
use crate::kernels::axis::{Axis, nonzero};
use crate::kernels::conv_f32::{Map, per_group};
use crate::step::{Border, LayoutS8};

/// Bytes of one row of a panel: 16 output channels by 4 input channels.
pub(super) const ROW: usize = NR * KR;

/// Panels that kernels of [`LayoutS8::Nr16Kr4Bits4`] decode at once, if a group has as many.
pub(super) const DECODED: usize = 2;

/// Bytes of packed weights: `groups * panels * kh * kw * ceil(in_c / groups / 4) * 64`, half of it for
/// [`LayoutS8::Nr16Kr4Bits4`].
///
/// `None` when the layout is [`LayoutS8::Dw16`], a number is zero, `groups` does not divide the
/// channels, or the product overflows.
pub fn weights_len(
    layout: LayoutS8,
    window: &Window,
    groups: u32,
    in_c: u32,
    out_c: u32,
) -> Option<usize> {
    let row = row_len(layout)?;
    let Hw { h, w } = window.kernel;
    let taps = nonzero(h)?.checked_mul(nonzero(w)?)?;
    let panel = per_group(groups, in_c)?.div_ceil(KR).checked_mul(row)?.checked_mul(taps)?;
    panel.checked_mul(panels(groups, out_c)?)?.checked_mul(nonzero(groups)?)
}

/// Bytes that hold a row of a panel.
fn row_len(layout: LayoutS8) -> Option<usize> {
    match layout {
        LayoutS8::Nr16Kr4 => Some(ROW),
        LayoutS8::Nr16Kr4Bits4 => Some(ROW / 2),
        LayoutS8::Dw16 => None,
    }
}

/// Bytes of scratch that hold the staged input rows of `rows` output rows:
/// `staged rows * groups * columns * ceil(in_c / groups / 4) * 4` with
///
/// * `staged rows = (rows - 1) * stride.h + extent.h`, those of the padding included,
/// * `extent = (kernel - 1) * dilation + 1` an axis,
/// * `columns = (output.w - 1) * stride.w + extent.w`;
///
/// for [`LayoutS8::Nr16Kr4Bits4`] also `min(panels, 2)` panels of a group at 8 bits.
///
/// `None` when the layout is [`LayoutS8::Dw16`], `rows` is zero, `output` does not follow from `input`,
/// groups do not divide the channels, or a number overflows.
pub fn scratch_len(
    layout: LayoutS8,
    window: &Window,
    groups: u32,
    input: Dims,
    output: Dims,
    rows: u32,
) -> Option<usize> {
    row_len(layout)?;
    let geometry = Geometry::new(window, groups, Border::default(), input, output)?;
    Some(geometry.scratch_len(layout, nonzero(rows)?))
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
        let columns = geometry.output.w.checked_mul(columns.stride.get())?;
        let columns = columns.checked_add(geometry.columns.extent)?;
        let row = columns.checked_mul(geometry.pitch())?.checked_mul(geometry.groups)?;
        let rows = geometry.output.h.checked_mul(rows.stride.get())?.checked_add(rows.extent)?;
        row.checked_mul(rows)?;
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

    /// Rows of a panel that one tap has: fours of input channels.
    pub(super) fn fours(&self) -> usize {
        self.in_c.div_ceil(KR)
    }

    /// Rows of one panel.
    pub(super) fn panel_rows(&self) -> usize {
        self.fours() * self.rows.taps * self.columns.taps
    }

    /// Where the bias of an output pixel begins, panels of all groups in a row.
    #[inline]
    pub(super) fn bias_at(&self, row_class: usize, column_class: usize) -> usize {
        let vector = self.groups * self.panels * NR;
        (row_class * self.columns.class_count() + column_class) * vector
    }

    /// Bytes of one staged pixel of a group.
    pub(super) fn pitch(&self) -> usize {
        self.fours() * KR
    }

    /// Staged columns: all that taps read.
    pub(super) fn staged_columns(&self) -> usize {
        self.columns.window(self.output.w - 1) + self.columns.extent
    }

    /// Bytes of a staged row: `[group][column][channel]`.
    pub(super) fn staged_row(&self) -> usize {
        self.groups * self.staged_columns() * self.pitch()
    }

    /// Bytes of the panels that are decoded at once.
    pub(super) fn decoded_len(&self, layout: LayoutS8) -> usize {
        match layout {
            LayoutS8::Nr16Kr4Bits4 => self.panels.min(DECODED) * self.panel_rows() * ROW,
            LayoutS8::Nr16Kr4 | LayoutS8::Dw16 => 0,
        }
    }

    /// [`scratch_len`]; saturates where that many rows cannot exist.
    pub(super) fn scratch_len(&self, layout: LayoutS8, rows: usize) -> usize {
        let steps = rows.saturating_sub(1).saturating_mul(self.rows.stride.get());
        let staged = steps.saturating_add(self.rows.extent).saturating_mul(self.staged_row());
        staged.saturating_add(self.decoded_len(layout))
    }

    /// Most output rows whose input rows `scratch` bytes can hold.
    pub(super) fn rows_in(&self, scratch: usize) -> usize {
        let slots = scratch.checked_div(self.staged_row()).unwrap_or(0);
        slots.checked_sub(self.rows.extent).map_or(0, |free| free / self.rows.stride + 1)
    }
}
