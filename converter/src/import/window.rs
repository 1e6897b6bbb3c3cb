//! Strides, pads, dilations, `auto_pad` and `ceil_mode` → [`Window`].

use super::call::{Call, shape_refusal};
use super::error::Refusal;
use crate::graph::{Hw, Pad, Window};

/// Pictures, their channels, rows and columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture {
    /// Pictures: 1 at the model's inputs, more where a picture was cut into patches.
    pub(super) n: usize,
    /// Channels.
    pub(super) c: usize,
    /// Rows.
    pub(super) h: u32,
    /// Columns.
    pub(super) w: u32,
}

impl Picture {
    /// `[N, C, H, W]`.
    pub(super) fn shape(self) -> Vec<usize> {
        vec![self.n, self.c, self.h as usize, self.w as usize]
    }

    /// The shape of a result of these channels and pixels, with as many axes as the operand has.
    pub(super) fn result(self, rank: usize, channels: usize, pixels: Hw) -> [Vec<usize>; 2] {
        let (h, w) = (pixels.h as usize, pixels.w as usize);
        let as_picture = vec![self.n, channels, h, w];
        let own = if rank == 3 { vec![self.n, channels, w] } else { as_picture.clone() };
        [as_picture, own]
    }
}

/// Reads `[N, C, H, W]`, or `[N, C, W]` as pictures of one row.
pub(super) fn picture(shape: &[usize]) -> Result<Picture, Refusal> {
    let wrong = || {
        let expected = "[N, C, W] or [N, C, H, W]: windows have one or two axes";
        shape_refusal("its input", shape, expected)
    };
    let (n, c, h, w) = match *shape {
        [n, c, w] => (n, c, 1, w),
        [n, c, h, w] => (n, c, h, w),
        _ => return Err(wrong()),
    };
    let axis = |n: usize| u32::try_from(n).map_err(|_| wrong());
    Ok(Picture { n, c, h: axis(h)?, w: axis(w)? })
}

/// Number of output pixels, and the pads with `auto_pad` and `ceil_mode` worked in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slide {
    /// Geometry.
    pub(super) window: Window,
    /// Output rows and columns.
    pub(super) output: Hw,
    /// Whether `ceil_mode` made the end pads larger than the node's own.
    pub(super) grown: bool,
}

/// The window of a convolution or pool with this kernel over this picture.
pub(super) fn slide(call: &Call<'_>, kernel: &[usize], x: Picture) -> Result<Slide, Refusal> {
    let Settings { kernel: [kh, kw], strides, dilations, pads, auto } = Settings::of(call, kernel)?;
    let ceil = call.flag("ceil_mode", false)?;
    let too_large = || shape_refusal("its kernel", kernel, "a window that fits the padded picture");
    let axis = |len, kernel: usize, stride, dilation, pads| {
        let kernel = u32::try_from(kernel).ok()?;
        Axis { len, kernel, stride, dilation }.place(auto, pads, ceil)
    };
    let [top, left, bottom, right] = pads;
    let h = axis(x.h, kh, strides.h, dilations.h, (top, bottom)).ok_or_else(too_large)?;
    let w = axis(x.w, kw, strides.w, dilations.w, (left, right)).ok_or_else(too_large)?;
    let window = Window {
        kernel: Hw { h: h.kernel, w: w.kernel },
        stride: strides,
        dilation: dilations,
        pad: Pad { top: h.begin, left: w.begin, bottom: h.end, right: w.end },
    };
    let output = window.output(x.h, x.w).ok_or_else(too_large)?;
    Ok(Slide { window, output, grown: h.grown || w.grown })
}

/// What a node says about its window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Rows and columns; one row where the node has one axis.
    pub(super) kernel: [usize; 2],
    /// Distance between windows.
    pub(super) strides: Hw,
    /// Distance between taps.
    pub(super) dilations: Hw,
    /// Top, left, bottom, right.
    pub(super) pads: [u32; 4],
    /// What goes before the pads.
    pub(super) auto: AutoPad,
}

impl Settings {
    /// The attributes of a node whose kernel has these axes, those of its first operand's pixels.
    pub(super) fn of(call: &Call<'_>, kernel: &[usize]) -> Result<Self, Refusal> {
        let rank = call.operand(0, "its input")?.shape().len();
        let both = match (kernel, rank) {
            (&[kw], 3) => [1, kw],
            (&[kh, kw], 4) => [kh, kw],
            _ => {
                let axes = rank.saturating_sub(2);
                return Err(shape_refusal("its kernel", kernel, format!("{axes} axes")));
            }
        };
        Ok(Self {
            kernel: both,
            strides: pair(call, "strides", kernel.len())?,
            dilations: pair(call, "dilations", kernel.len())?,
            pads: explicit_pads(call, kernel.len())?,
            auto: AutoPad::of(call)?,
        })
    }
}

/// Whether every window of a pool touches the picture. One that does not would give -inf or 0/0.
pub(super) fn touches(slide: &Slide, x: Picture) -> bool {
    let Window { kernel, stride, dilation, pad } = slide.window;
    let axis = |len: u32, kernel: u32, stride: u32, dilation: u32, begin: u32, out: u32| {
        let [len, begin] = [len, begin].map(u64::from);
        let reach = u64::from(kernel).saturating_sub(1).saturating_mul(dilation.into());
        let last = u64::from(out).saturating_sub(1).saturating_mul(stride.into());
        // The first window's last tap is not left of the picture, the last window's first tap is
        // not right of it, and taps that start left of it are too close together to jump over it.
        let dense = begin == 0 || u64::from(dilation) <= len;
        begin <= reach && last < len.saturating_add(begin) && dense
    };
    axis(x.h, kernel.h, stride.h, dilation.h, pad.top, slide.output.h)
        && axis(x.w, kernel.w, stride.w, dilation.w, pad.left, slide.output.w)
}

/// How pads are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutoPad {
    /// As they are given.
    Explicit,
    /// As many pixels as the stride divides; of an odd number of pads the larger half at the end.
    SameUpper,
    /// The same, the larger half at the beginning.
    SameLower,
    /// None.
    Valid,
}

impl AutoPad {
    fn of(call: &Call<'_>) -> Result<Self, Refusal> {
        match call.string("auto_pad", "NOTSET")? {
            "NOTSET" => Ok(Self::Explicit),
            "SAME_UPPER" => Ok(Self::SameUpper),
            "SAME_LOWER" => Ok(Self::SameLower),
            "VALID" => Ok(Self::Valid),
            other => Err(Refusal::Attribute {
                name: "auto_pad",
                found: other.to_owned(),
                expected: "NOTSET, SAME_UPPER, SAME_LOWER or VALID".to_owned(),
            }),
        }
    }
}

struct Axis {
    len: u32,
    kernel: u32,
    stride: u32,
    dilation: u32,
}

struct Placed {
    kernel: u32,
    begin: u32,
    end: u32,
    grown: bool,
}

impl Axis {
    /// `None` when a number overflows or the window does not fit.
    fn place(&self, auto: AutoPad, explicit: (u32, u32), ceil: bool) -> Option<Placed> {
        let extent = self.dilation.checked_mul(self.kernel.checked_sub(1)?)?.checked_add(1)?;
        let (begin, end) = match auto {
            AutoPad::Explicit => explicit,
            AutoPad::Valid => (0, 0),
            AutoPad::SameUpper | AutoPad::SameLower => {
                let last = self.len.div_ceil(self.stride).checked_sub(1)?;
                let covered = last.checked_mul(self.stride)?.checked_add(extent)?;
                let total = covered.saturating_sub(self.len);
                let (less, more) = (total / 2, total.div_ceil(2));
                if matches!(auto, AutoPad::SameUpper) { (less, more) } else { (more, less) }
            }
        };
        let wider = if ceil { self.ceil_end(extent, begin, end)? } else { end };
        Some(Placed { kernel: self.kernel, begin, end: wider, grown: wider != end })
    }

    /// End pad with which rounding down gives as many windows as rounding up would; a window that
    /// would start right of the picture is left out, as PyTorch and ONNX do.
    fn ceil_end(&self, extent: u32, begin: u32, end: u32) -> Option<u32> {
        let start = self.len.checked_add(begin)?;
        let last = start.checked_add(end)?.checked_sub(extent)?.div_ceil(self.stride);
        let first_pixel = last.checked_mul(self.stride)?;
        if first_pixel >= start {
            return Some(end);
        }
        Some(first_pixel.checked_add(extent)?.saturating_sub(start).max(end))
    }
}

/// Strides or dilations: a positive number an axis, 1 if absent.
fn pair(call: &Call<'_>, name: &'static str, axes: usize) -> Result<Hw, Refusal> {
    let Some(found) = call.ints(name)? else { return Ok(Hw::square(1)) };
    let positive = |n: i64| u32::try_from(n).ok().filter(|&n| n > 0);
    let both = match *found {
        [w] if axes == 1 => Some(1).zip(positive(w)),
        [h, w] if axes == 2 => positive(h).zip(positive(w)),
        _ => None,
    };
    both.map(|(h, w)| Hw { h, w }).ok_or_else(|| Refusal::Attribute {
        name,
        found: format!("{found:?}"),
        expected: format!("{axes} positive numbers"),
    })
}

/// Top, left, bottom, right; 0 if absent.
fn explicit_pads(call: &Call<'_>, axes: usize) -> Result<[u32; 4], Refusal> {
    let Some(found) = call.ints("pads")? else { return Ok([0; 4]) };
    let numbers: Option<Vec<u32>> = found.iter().map(|&p| u32::try_from(p).ok()).collect();
    let four = |numbers: Vec<u32>| match numbers[..] {
        [left, right] if axes == 1 => Some([0, left, 0, right]),
        [top, left, bottom, right] if axes == 2 => Some([top, left, bottom, right]),
        _ => None,
    };
    numbers.and_then(four).ok_or_else(|| Refusal::Attribute {
        name: "pads",
        found: format!("{found:?}"),
        expected: "a begin of each axis, then an end of each, at least 0".to_owned(),
    })
}
