//! Lowering of what has weights: convolutions and dense layers.

use super::batch::{apart, one_of};
use super::error::Kind;
use super::lower::{Buffer, Lowering, Place};
use super::order::{Order, dims};
use super::pack;
use crate::graph::{Activation, BorderBias, Conv, Node, Pad, ValueId, Window};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::kernels::conv_f32;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{self, Border, Layout};

/// Shape of a filter bank, OIHW, and how it is packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filters {
    pub(super) layout: Layout,
    pub(super) groups: usize,
    /// Output channels.
    pub(super) out_c: usize,
    /// Input channels of one group.
    pub(super) in_c: usize,
    pub(super) kh: usize,
    pub(super) kw: usize,
}

impl Filters {
    /// Weights in the order of the layout; `None` when their number does not fit.
    pub(super) fn pack(&self, oihw: &[f32]) -> Option<Vec<f32>> {
        let &Self { layout, groups, out_c, in_c, kh, kw } = self;
        match layout {
            Layout::F32Nr16 => {
                let panels = out_c.checked_div(groups)?.div_ceil(conv_f32::NR) * groups;
                let mut packed = vec![0.0; panels * kh * kw * in_c * conv_f32::NR];
                conv_f32::pack(oihw, out_c, in_c, kh, kw, groups, &mut packed)?;
                Some(packed)
            }
            Layout::F32Dw16 => pack::depthwise(oihw, out_c, kh * kw),
        }
    }

    /// One value an output channel, filled up as the layout demands.
    pub(super) fn pack_channels(&self, values: &[f32]) -> Option<Vec<f32>> {
        // A depthwise block is 16 channels of one group, so both layouts pad alike.
        let groups = match self.layout {
            Layout::F32Nr16 => self.groups,
            Layout::F32Dw16 => 1,
        };
        let padded = self.out_c.checked_div(groups)?.next_multiple_of(conv_f32::NR) * groups;
        let mut packed = vec![0.0; padded];
        conv_f32::pack_channels(values, self.out_c, groups, &mut packed)?;
        Some(packed)
    }
}

impl Lowering<'_> {
    pub(super) fn conv(&mut self, node: &Node, conv: &Conv) -> Result<(), Kind> {
        let (source, extra) = self.unpadded(Self::operand(node, 0)?);
        let weight = Self::operand(node, 1)?;
        let (oihw, shape) = (self.constant(weight)?, self.graph.shape(weight));
        let input = self.picture(source)?;
        let output = self.new_picture(node.output)?;
        let filters = filters(conv, shape, input.dims, output.dims)?;
        let bias = match (&conv.border, node.inputs.get(2)) {
            (Some(border), _) => border.bias.as_f32().unwrap_or(&[]),
            (None, Some(&bias)) => self.constant(bias)?,
            (None, None) => &vec![0.0; filters.out_c],
        };
        let window = Window { pad: widen(conv.window.pad, extra)?, ..conv.window };
        let border = conv.border.as_ref().map_or(Border::default(), |b: &BorderBias| b.classes);
        let pictures = match *self.graph.shape(source) {
            [pictures, _, h, _] => apart(pictures, h, &window, border),
            _ => 1,
        };
        let packed = (oihw, bias, border);
        let places = flattened(&window, border, (input, output))?;
        self.push_conv(node, filters, window, packed, &conv.activation, (places, pictures))
    }

    /// Packs everything and appends the step, or one a picture.
    fn push_conv(
        &mut self,
        node: &Node,
        filters: Filters,
        window: Window,
        (oihw, bias, border): (&[f32], &[f32], Border),
        activation: &Activation,
        (places, pictures): ((Place, Place), usize),
    ) -> Result<(), Kind> {
        self.keep_plain(oihw);
        let Filters { out_c, in_c, kh, kw, layout, groups } = filters;
        let packed = filters.pack(oihw).ok_or_else(|| Kind::Shape {
            what: "weights",
            found: vec![oihw.len()],
            expected: vec![out_c, in_c, kh, kw],
        })?;
        let (x, y) = (one_of(places.0.dims, pictures), one_of(places.1.dims, pictures));
        let conv = step::Conv {
            window,
            groups: u32::try_from(groups).map_err(|_| Kind::TooLarge { shape: vec![groups] })?,
            layout,
            weights: self.weights.add(&packed)?,
            bias: self.bias(&filters, bias, border)?,
            border,
            activation: self.stored_activation(activation, out_c, |s| filters.pack_channels(s))?,
            scratch: self.scratch(layout, &window, x, y)?,
        };
        self.push_each(node, step::Op::Conv(conv), places, pictures)
    }

    /// Bias vectors, one a border class, each filled up as the layout demands.
    fn bias(&mut self, filters: &Filters, bias: &[f32], border: Border) -> Result<Span, Kind> {
        let (rows, columns) = border.classes();
        let classes = rows as usize * columns as usize;
        let vectors = bias.chunks(filters.out_c).map(|vector| filters.pack_channels(vector));
        let packed = vectors.collect::<Option<Vec<_>>>().filter(|v| v.len() == classes);
        let packed = packed.ok_or_else(|| Kind::Shape {
            what: "bias vectors",
            found: vec![bias.len()],
            expected: vec![classes, filters.out_c],
        })?;
        self.weights.add(&packed.concat())
    }

    /// Bytes of scratch: the staged rows of as many output rows as the target grants, and of at
    /// least one.
    fn scratch(&self, layout: Layout, window: &Window, x: Dims, y: Dims) -> Result<u32, Kind> {
        let bytes = |rows| {
            let floats = match layout {
                Layout::F32Nr16 => conv_f32::scratch_len(window, x, y, rows),
                Layout::F32Dw16 => Some(0),
            };
            floats?.checked_mul(4).and_then(|bytes| u32::try_from(bytes).ok())
        };
        let granted = |rows: &u32| bytes(*rows).is_some_and(|b| b <= self.target.conv_scratch);
        let rows = (1..=y.h).rev().find(granted).unwrap_or(1);
        bytes(rows).ok_or_else(|| Kind::Shape {
            what: "convolution results",
            found: vec![y.h as usize, y.w as usize],
            expected: window.output(x.h, x.w).map_or(vec![], |o| vec![o.h as usize, o.w as usize]),
        })
    }

    /// One vector is a dense layer; several are the pixels of a 1x1 convolution. The values of a
    /// vector are never moved, the columns of its weights are.
    pub(super) fn linear(&mut self, node: &Node, activation: &Activation) -> Result<(), Kind> {
        let (id, weight) = (Self::operand(node, 0)?, Self::operand(node, 1)?);
        let weights = self.constant(weight)?;
        let (shape, result) = (self.graph.shape(id), self.graph.shape(node.output));
        let rows = result.first().copied().unwrap_or(1).max(1);
        let len = |shape: &[usize]| shape.iter().product::<usize>() / rows;
        let (out_c, in_c) = (len(result), len(shape));
        if self.graph.shape(weight) != [out_c, in_c] {
            let (what, found) = ("dense weights", self.graph.shape(weight).to_vec());
            return Err(Kind::Shape { what, found, expected: vec![out_c, in_c] });
        }
        let bias = match node.inputs.get(2) {
            Some(&bias) => self.constant(bias)?,
            None => &vec![0.0; out_c],
        };
        let (buffer, columns) = self.vectors(id, rows, in_c)?;
        let weights = with_columns(weights, in_c, &columns);
        let filters = Filters { layout: Layout::F32Nr16, groups: 1, out_c, in_c, kh: 1, kw: 1 };
        let input = Place { buffer, dims: dims(rows, 1, in_c)? };
        let output = self.new_picture(node.output)?;
        if rows > 1 {
            let (window, border) = (Window::POINT, Border::default());
            let places = flattened(&window, border, (input, output))?;
            let packed = (&weights[..], bias, border);
            return self.push_conv(node, filters, window, packed, activation, (places, 1));
        }
        let packed = filters.pack(&weights).ok_or_else(|| Kind::Shape {
            what: "dense weights",
            found: vec![weights.len()],
            expected: vec![out_c, in_c],
        })?;
        let linear = step::Linear {
            weights: self.weights.add(&packed)?,
            bias: self.bias(&filters, bias, Border::default())?,
            activation: self.stored_activation(activation, out_c, |s| filters.pack_channels(s))?,
        };
        self.push(node, step::Op::Linear(linear), input, output);
        Ok(())
    }

    /// Vectors that lie one behind the other, and the order of the values of each.
    fn vectors(&mut self, id: ValueId, rows: usize, len: usize) -> Result<(Buffer, Order), Kind> {
        let stored = self.stored(id)?;
        if let Some(order) = stored.order.of_rows(rows, len) {
            return Ok((stored.buffer, order));
        }
        let order = Order::row_major(self.graph.shape(id));
        Ok((self.ordered(id, &order)?.buffer, Order::row_major(&[len])))
    }
}

/// The same pixels in rows of at least eight where there are as many, because kernels compute several
/// pixels of a row at once: nothing but a 1x1 window without borders is free of the picture's shape.
fn flattened(
    window: &Window,
    border: Border,
    (input, output): (Place, Place),
) -> Result<(Place, Place), Kind> {
    const SEVERAL: usize = 8;
    let (h, w) = (input.dims.h as usize, input.dims.w as usize);
    if *window != Window::POINT || border != Border::default() || w >= SEVERAL || h == 1 {
        return Ok((input, output));
    }
    let pixels = h * w;
    let w = (SEVERAL..pixels).find(|&w| pixels.is_multiple_of(w)).unwrap_or(pixels);
    let place =
        |place: Place| Ok(Place { dims: dims(pixels / w, w, place.dims.c as usize)?, ..place });
    Ok((place(input)?, place(output)?))
}

fn filters(conv: &Conv, shape: &[usize], x: Dims, y: Dims) -> Result<Filters, Kind> {
    let groups = conv.groups;
    let (in_c, out_c) = (x.c as usize, y.c as usize);
    let (kh, kw) = (conv.window.kernel.h as usize, conv.window.kernel.w as usize);
    let expected = vec![out_c, in_c.checked_div(groups).unwrap_or(0), kh, kw];
    if shape != expected {
        return Err(Kind::Shape { what: "weights", found: shape.to_vec(), expected });
    }
    let depthwise = groups == in_c && groups == out_c;
    let layout = if depthwise { Layout::F32Dw16 } else { Layout::F32Nr16 };
    Ok(Filters { layout, groups, out_c, in_c: shape[1], kh, kw })
}

/// Both paddings, one around the other.
pub(super) fn widen(pad: Pad, extra: Pad) -> Result<Pad, Kind> {
    let sum = |a: u32, b: u32| {
        a.checked_add(b).ok_or_else(|| Kind::TooLarge { shape: vec![a as usize, b as usize] })
    };
    Ok(Pad {
        top: sum(pad.top, extra.top)?,
        left: sum(pad.left, extra.left)?,
        bottom: sum(pad.bottom, extra.bottom)?,
        right: sum(pad.right, extra.right)?,
    })
}

/// Dense weights `[O,K]` with columns in the order in which the values lie in memory.
fn with_columns(weights: &[f32], in_c: usize, order: &Order) -> Vec<f32> {
    let mut moved = vec![0.0; weights.len()];
    let places: Vec<usize> = (0..in_c).map(|number| order.place(number)).collect();
    for (from, to) in weights.chunks(in_c.max(1)).zip(moved.chunks_mut(in_c.max(1))) {
        from.iter().zip(&places).for_each(|(&weight, &place)| to[place] = weight);
    }
    moved
}
