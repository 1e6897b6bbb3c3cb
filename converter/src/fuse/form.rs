//! [`Form`]: everything about a kernel map except its numbers, and which maps may be combined.
//!
//! Legality and cost of a fusion depend on geometry alone, so regions are planned on forms, and
//! kernels are computed only for what is really fused. A map is
//!
//! ```text
//! y[o, p] = bias[o] + sum over taps inside the picture of  W[o, i, tap] * x[i, p * stride + position(tap)]
//!                   + sum over taps outside the picture of border[o, tap]
//! ```
//!
//! with `position(tap) = tap * dilation - low`. The border term generalises "pad with a constant":
//! a pad value `v` is `border[o, tap] = sum_i W[o, i, tap] * v[i]`, and a bias `a` of a 1x1
//! convolution under the zero padding of the next one is `border[o, tap] = -sum_m W[o, m, tap] * a[m]`.

use super::Reason;
use super::blocks::Blocks;

/// Largest number of taps along one axis that is still planned.
const MAX_TAPS: usize = 128;

/// One axis of a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Kernel length, at least 1.
    pub taps: usize,
    /// Input pixels between neighbouring outputs.
    pub stride: usize,
    /// Input pixels between neighbouring taps; 1 if there is one tap.
    pub dilation: usize,
    /// Padding before the picture; negative values crop.
    pub low: i64,
    /// Padding after the picture as the nodes say it; larger than what is read if strides leave a rest.
    pub high: i64,
}

impl Axis {
    /// One tap, no padding.
    pub const POINT: Self = Self { taps: 1, stride: 1, dilation: 1, low: 0, high: 0 };

    /// Distance between the first and the last tap.
    fn span(self) -> i64 {
        ((self.taps - 1) * self.dilation) as i64
    }

    /// Input pixel that a tap reads for output 0; negative in the padding.
    pub(super) fn position(self, tap: usize) -> i64 {
        (tap * self.dilation) as i64 - self.low
    }

    fn last(self) -> i64 {
        self.span() - self.low
    }

    /// The tap that reads this position. The position must be one that [`Axis::position`] gives.
    pub(super) fn tap_at(self, position: i64) -> usize {
        (position + self.low) as usize / self.dilation
    }

    /// Input pixels under the window, holes included.
    pub fn extent(self) -> usize {
        self.span() as usize + 1
    }

    /// Whether no tap of this output falls outside `input` pixels.
    pub(super) fn reads_inside(self, output: usize, input: usize) -> bool {
        let first = (output * self.stride) as i64 - self.low;
        first >= 0 && first + self.span() < input as i64
    }

    /// Input pixel that a tap reads for an output; `None` in the padding.
    pub(super) fn reads(self, output: usize, tap: usize, input: usize) -> Option<usize> {
        let at = (output * self.stride) as i64 + self.position(tap);
        usize::try_from(at).ok().filter(|&at| at < input)
    }

    fn padded(self) -> bool {
        self.low > 0 || self.high > 0
    }

    /// Whether what would lie before the first result reads nothing but what lies before the picture.
    fn starts_with_picture(self) -> bool {
        self.last() < self.stride as i64
    }

    /// The same behind the last result and the picture: of this size, or of all.
    fn ends_with_picture(self, size: Option<[usize; 2]>) -> bool {
        match size {
            Some([input, output]) => (output * self.stride) as i64 - self.low >= input as i64,
            // Strides may leave a rest of the picture behind, which the next window would read.
            None => self.high >= self.span(),
        }
    }

    /// The windows without the first and without the last tap, where a padding shrinks with them.
    fn rims(self) -> impl Iterator<Item = Self> {
        let step = self.dilation as i64;
        let taps = self.taps.saturating_sub(1);
        let dilation = if taps == 1 { 1 } else { self.dilation };
        let first = Self { taps, dilation, low: self.low - step, ..self };
        let last = Self { taps, dilation, high: self.high - step, ..self };
        [first, last].into_iter().filter(|a| a.taps > 0 && a.low >= 0 && a.high >= 0)
    }

    /// Window of `outer` after `inner`, over what `inner` reads.
    fn compose(outer: Self, inner: Self) -> Self {
        let far = outer.dilation * inner.stride;
        let dilation = spacing(&[(outer.taps, far), (inner.taps, inner.dilation)], 0);
        let span = (outer.taps - 1) * far + inner.span() as usize;
        let stride = inner.stride as i64;
        Self {
            taps: span / dilation + 1,
            stride: outer.stride * inner.stride,
            dilation,
            low: outer.low * stride + inner.low,
            high: outer.high * stride + inner.high,
        }
    }

    /// Smallest window that holds the taps of both; their strides must be equal.
    fn union(a: Self, b: Self) -> Self {
        let first = -a.low.max(b.low);
        let last = a.last().max(b.last());
        let offset = a.low.abs_diff(b.low) as usize;
        let dilation = spacing(&[(a.taps, a.dilation), (b.taps, b.dilation)], offset);
        Self {
            taps: (last - first) as usize / dilation + 1,
            stride: a.stride,
            dilation,
            low: -first,
            high: (a.high + last - a.last()).max(b.high + last - b.last()),
        }
    }

    /// The same window with a padding after the picture that gives `output` pixels of `input`.
    fn fitted(self, input: usize, output: usize) -> Result<Self, Reason> {
        if self.low < 0 {
            return Err(Reason::Cropped);
        }
        let (input, stride) = (input as i64, self.stride as i64);
        let room = input + self.low - self.span() - 1;
        if self.high >= 0 && room + self.high >= 0 {
            let found = (room + self.high) / stride + 1;
            if found == output as i64 {
                return Ok(self);
            }
        }
        let high = (output as i64 - 1) * stride - room;
        match high {
            high if high >= 0 => Ok(Self { high, ..self }),
            high if high > -stride => Ok(Self { high: 0, ..self }),
            _ => Err(Reason::Cropped),
        }
    }
}

/// Distance between neighbouring taps of a window that holds taps at these spacings.
fn spacing(spacings: &[(usize, usize)], offset: usize) -> usize {
    let used = spacings.iter().filter(|(taps, _)| *taps > 1).map(|(_, dilation)| *dilation);
    used.fold(offset, gcd).max(1)
}

/// Greatest common divisor; `gcd(0, n) = n`.
pub(super) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// First and last position along an axis of the taps that have a border term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    first: i64,
    last: i64,
}

impl Reach {
    fn of(axis: Axis) -> Self {
        Self { first: -axis.low, last: axis.last() }
    }

    fn union(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Seen through an outer window: every tap of `outer` moves it by a multiple of `stride`.
    fn through(self, outer: Axis, stride: usize) -> Self {
        let stride = stride as i64;
        Self { first: self.first - outer.low * stride, last: self.last + outer.last() * stride }
    }

    /// Of taps that read the results of `inner`, which has one tap: over what that tap reads.
    fn seen_through(self, inner: Axis) -> Self {
        let through = |at: i64| at * inner.stride as i64 + inner.position(0);
        Self { first: through(self.first), last: through(self.last) }
    }

    /// Outputs whose first bordered tap falls before, and whose last falls after, the picture.
    pub(super) fn classes(self, stride: usize, input: usize, output: usize) -> (usize, usize) {
        let (stride, input) = (stride as i64, input as i64);
        let before = (0..output).take_while(|&p| p as i64 * stride + self.first < 0).count();
        let after =
            (0..output).rev().take_while(|&p| p as i64 * stride + self.last >= input).count();
        if before + after > output { (output, 0) } else { (before, after) }
    }
}

/// Channels, groups and window of a kernel map, and which of its terms may be nonzero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Groups; divides both.
    pub groups: usize,
    /// Rows' axis, columns' axis.
    pub axes: [Axis; 2],
    /// Whether the bias may be nonzero.
    pub biased: bool,
    /// Where taps outside the picture may have a border term, by axis.
    pub border: Option<[Reach; 2]>,
    /// What more is known of the channels that are read; `None`: no more than the groups say.
    pub blocks: Option<Blocks>,
    /// Whether only this size of the picture, and others with the same rests by the strides, end where
    /// the maps between end.
    pub sized: bool,
}

impl Form {
    /// One factor and one summand a channel.
    pub fn diagonal(channels: usize, biased: bool) -> Self {
        Self {
            inputs: channels,
            outputs: channels,
            groups: channels,
            axes: [Axis::POINT; 2],
            biased,
            border: None,
            blocks: None,
            sized: false,
        }
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.outputs * self.channels() * self.taps()
    }

    /// Input channels of a group.
    pub(super) fn channels(&self) -> usize {
        self.inputs / self.groups
    }

    /// First input channel of the group of an output.
    pub(super) fn first_channel(&self, output: usize) -> usize {
        output / (self.outputs / self.groups) * self.channels()
    }

    /// Taps of the kernel.
    pub(super) fn taps(&self) -> usize {
        self.axes[0].taps * self.axes[1].taps
    }

    /// Whether any window reaches over the edge of the picture.
    pub(super) fn padded(&self) -> bool {
        self.axes.iter().any(|axis| axis.padded())
    }

    /// Whether each channel is mapped on its own, pixel by pixel (padding and stride aside).
    pub(super) fn is_channelwise(&self) -> bool {
        self.groups == self.inputs && self.inputs == self.outputs && self.taps() == 1
    }

    /// Whether the map is one factor and one summand a channel.
    pub fn is_diagonal(&self) -> bool {
        self.is_channelwise() && self.axes == [Axis::POINT; 2]
    }

    /// Form of `outer` after `inner` (rules R1, R5, R6, R9 of the algebra), where `inner` makes
    /// `sizes[1]` rows and columns of `sizes[0]`.
    ///
    /// # Errors
    /// [`Reason::PaddingBetween`] unless the outer window stays inside the inner map, or what lies
    /// beyond that map is zero, or the inner map is a 1x1 without padding, whose bias then becomes a
    /// border term.
    pub fn compose(outer: &Self, inner: &Self, sizes: [[usize; 2]; 2]) -> Result<Self, Reason> {
        if !may_be_padded(inner, outer, Some(sizes)) {
            return Err(Reason::PaddingBetween);
        }
        let axes = [0, 1].map(|k| Axis::compose(outer.axes[k], inner.axes[k]));
        let form = Self {
            inputs: inner.inputs,
            outputs: outer.outputs,
            groups: gcd(outer.groups, inner.groups),
            axes,
            biased: outer.biased || inner.biased,
            border: composed_border(outer, inner),
            blocks: Some(Blocks::compose(outer, inner)),
            sized: outer.sized || inner.sized || !may_be_padded(inner, outer, None),
        };
        // A crop may have taken away all pixels that saw the border.
        let border = form.border.filter(|_| form.padded());
        Self { border, ..form }.bounded()
    }

    /// Form of a sum of two maps of one picture (R2, R3, R4, R8).
    ///
    /// # Errors
    /// [`Reason::StridesDiffer`].
    pub fn union(a: &Self, b: &Self) -> Result<Self, Reason> {
        if (0..2).any(|k| a.axes[k].stride != b.axes[k].stride) {
            return Err(Reason::StridesDiffer);
        }
        let border = match (a.border, b.border) {
            (Some(a), Some(b)) => Some([a[0].union(b[0]), a[1].union(b[1])]),
            (a, b) => a.or(b),
        };
        let form = Self {
            inputs: a.inputs,
            outputs: a.outputs,
            groups: gcd(a.groups, b.groups),
            axes: [0, 1].map(|k| Axis::union(a.axes[k], b.axes[k])),
            biased: a.biased || b.biased,
            border,
            blocks: Some(Blocks::union(a, b)),
            sized: a.sized || b.sized,
        };
        form.bounded()
    }

    /// Form of two maps of one picture stacked on their output channels.
    ///
    /// # Errors
    /// As [`Form::union`].
    pub fn stack(a: &Self, b: &Self) -> Result<Self, Reason> {
        let outputs = a.outputs + b.outputs;
        let dense = |f: &Self| Self { outputs, ..f.dense() };
        Ok(Self::union(&dense(a), &dense(b))?.in_blocks(Blocks::stack(a, b)))
    }

    /// The same form with paddings that turn `input` rows and columns into `output`.
    ///
    /// # Errors
    /// [`Reason::Cropped`] if that needs a negative padding.
    pub fn fitted(&self, input: [usize; 2], output: [usize; 2]) -> Result<Self, Reason> {
        let fit = |k: usize| self.axes[k].fitted(input[k], output[k]);
        Ok(Self { axes: [fit(0)?, fit(1)?], ..*self })
    }

    /// Bias vectors that the border needs for this size: 1 without border terms.
    pub(super) fn bias_vectors(&self, input: [usize; 2], output: [usize; 2]) -> usize {
        let Some(reach) = self.border else { return 1 };
        let along = |k: usize| {
            let (lo, hi) = reach[k].classes(self.axes[k].stride, input[k], output[k]);
            lo + 1 + hi
        };
        along(0) * along(1)
    }

    /// The forms with one row or column less at the rim, as far as padding can make up for it.
    pub(super) fn rims(&self) -> Vec<Self> {
        let with = |k: usize, axis: Axis| {
            let mut axes = self.axes;
            axes[k] = axis;
            Self { axes, ..*self }
        };
        (0..2).flat_map(|k| self.axes[k].rims().map(move |axis| with(k, axis))).collect()
    }

    fn bounded(self) -> Result<Self, Reason> {
        let [rows, columns] = self.axes.map(|axis| axis.taps);
        if rows.max(columns) > MAX_TAPS {
            return Err(Reason::KernelTooLarge { rows, columns });
        }
        Ok(self)
    }
}

/// Whether the padding of `outer` may lie around the results of `inner`: where they end, on a side
/// that is padded, the picture must end too. Of pictures of this size, or of all.
fn may_be_padded(inner: &Form, outer: &Form, sizes: Option<[[usize; 2]; 2]>) -> bool {
    if !outer.padded() {
        return true;
    }
    let ends = |k: usize| {
        let (inner, outer) = (inner.axes[k], outer.axes[k]);
        let size = sizes.map(|[input, output]| [input[k], output[k]]);
        (outer.low <= 0 || inner.starts_with_picture())
            && (outer.high <= 0 || inner.ends_with_picture(size))
    };
    // What lies beyond is zero, or a bias that becomes the border term of the one tap that saw it.
    let silent = !inner.biased && inner.border.is_none() && outer.border.is_none();
    (silent || (inner.taps() == 1 && !inner.padded())) && ends(0) && ends(1)
}

fn composed_border(outer: &Form, inner: &Form) -> Option<[Reach; 2]> {
    if let Some(reach) = inner.border {
        return Some([0, 1].map(|k| reach[k].through(outer.axes[k], inner.axes[k].stride)));
    }
    if !outer.padded() {
        return None;
    }
    let reach = if inner.biased { Some(outer.axes.map(Reach::of)) } else { outer.border };
    reach.map(|reach| [0, 1].map(|k| reach[k].seen_through(inner.axes[k])))
}

/// Where a window's taps, all of them, may have border terms.
pub(super) fn whole_border(axes: [Axis; 2]) -> [Reach; 2] {
    axes.map(Reach::of)
}
