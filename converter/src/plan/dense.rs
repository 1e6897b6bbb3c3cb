//! Lowering of what has weights: convolutions and dense layers. Where their operand lies as integers and
//! their weights are on a grid, `s8::dense` packs them.

use super::batch::{apart, one_of};
use super::error::Kind;
use super::lower::{Buffer, Lowering, Place};
use super::order::{Order, dims};
use super::pack;
use crate::graph::{Activation, BorderBias, Conv, Node, Pad, ValueId, Window};
use bytemuck::Pod;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::kernels::conv_f32;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{self, Border, Element, Layout};

/// Shape of a filter bank, OIHW.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filters {
    pub(super) groups: usize,
    /// Output channels.
    pub(super) out_c: usize,
    /// Input channels of one group.
    pub(super) in_c: usize,
    pub(super) kh: usize,
    pub(super) kw: usize,
    /// Groups, input channels and output channels are as many.
    pub(super) depthwise: bool,
}

impl Filters {
    /// Filters of a dense layer.
    fn of_matrix(out_c: usize, in_c: usize) -> Self {
        Self { groups: 1, out_c, in_c, kh: 1, kw: 1, depthwise: false }
    }

    /// Filters of one tap, one a channel.
    pub(super) fn of_channels(channels: usize) -> Self {
        Self { groups: channels, out_c: channels, in_c: 1, kh: 1, kw: 1, depthwise: true }
    }

    fn layout(&self) -> Layout {
        if self.depthwise { Layout::F32Dw16 } else { Layout::F32Nr16 }
    }

    /// Weights in the order of the layout.
    fn pack(&self, oihw: &[f32]) -> Result<Vec<f32>, Kind> {
        let &Self { groups, out_c, in_c, kh, kw, depthwise } = self;
        let packed = || {
            if depthwise {
                return pack::depthwise(oihw, out_c, kh * kw);
            }
            let panels = out_c.checked_div(groups)?.div_ceil(conv_f32::NR) * groups;
            let mut packed = vec![0.0; panels * kh * kw * in_c * conv_f32::NR];
            conv_f32::pack(oihw, out_c, in_c, kh, kw, groups, &mut packed)?;
            Some(packed)
        };
        packed().ok_or_else(|| self.mismatch(oihw.len()))
    }

    /// One value an output channel, filled up with zeros as every layout of its kind demands.
    pub(super) fn pack_channels<T: Pod>(&self, values: &[T]) -> Option<Vec<T>> {
        // A depthwise block is 16 channels of one group.
        let groups = if self.depthwise { 1 } else { self.groups };
        let padded = self.out_c.checked_div(groups)?.next_multiple_of(conv_f32::NR) * groups;
        let mut packed = vec![T::zeroed(); padded];
        conv_f32::pack_channels(values, self.out_c, groups, &mut packed)?;
        Some(packed)
    }

    /// Several vectors of [`Filters::pack_channels`], one behind the other.
    pub(super) fn pack_vectors<T: Pod>(&self, values: &[T], count: usize) -> Result<Vec<T>, Kind> {
        let vectors = values.chunks(self.out_c.max(1)).map(|vector| self.pack_channels(vector));
        let packed = vectors.collect::<Option<Vec<_>>>().filter(|v| v.len() == count);
        let packed = packed.ok_or_else(|| Kind::Shape {
            what: "bias vectors",
            found: vec![values.len()],
            expected: vec![count, self.out_c],
        })?;
        Ok(packed.concat())
    }

    /// Another number of weights than the shape has.
    pub(super) fn mismatch(&self, found: usize) -> Kind {
        let &Self { out_c, in_c, kh, kw, .. } = self;
        Kind::Shape { what: "weights", found: vec![found], expected: vec![out_c, in_c, kh, kw] }
    }
}

/// A convolution or dense layer but for its weights, which are reals or integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer<'a> {
    pub(super) filters: Filters,
    pub(super) window: Window,
    pub(super) border: Border,
    /// Bias vectors, one a border class.
    pub(super) bias: &'a [f32],
    pub(super) activation: &'a Activation,
}

impl Layer<'_> {
    /// How many bias vectors there are.
    pub(super) fn classes(&self) -> usize {
        let (rows, columns) = self.border.classes();
        rows as usize * columns as usize
    }

    pub(super) fn groups(&self) -> Result<u32, Kind> {
        let groups = self.filters.groups;
        u32::try_from(groups).map_err(|_| Kind::TooLarge { shape: vec![groups] })
    }
}

impl Lowering<'_> {
    pub(super) fn conv(&mut self, node: &Node, conv: &Conv) -> Result<(), Kind> {
        let (source, extra) = self.unpadded(Self::operand(node, 0)?);
        let weight = Self::operand(node, 1)?;
        let (oihw, shape) = (self.constant(weight)?, self.graph.shape(weight));
        let mut input = self.picture(source)?;
        let quantized =
            self.quantized(weight, self.element(input.buffer), self.wanted(node.output));
        if quantized.is_none() {
            input = self.real(source, input)?;
        }
        let element = quantized.as_ref().map_or(Element::F32, |quantized| quantized.output);
        let output = self.new_picture_in(node.output, element)?;
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
        let layer = Layer { filters, window, border, bias, activation: &conv.activation };
        let places = flattened(&window, border, (input, output))?;
        match quantized {
            Some(quantized) => self.push_conv_s8(node, &layer, &quantized, (places, pictures)),
            None => self.push_conv(node, &layer, oihw, (places, pictures)),
        }
    }

    /// Packs everything and appends the step, or one a picture.
    fn push_conv(
        &mut self,
        node: &Node,
        layer: &Layer<'_>,
        oihw: &[f32],
        (places, pictures): ((Place, Place), usize),
    ) -> Result<(), Kind> {
        self.keep_plain(oihw);
        let Layer { filters, window, border, .. } = *layer;
        let (x, y) = (one_of(places.0.dims, pictures), one_of(places.1.dims, pictures));
        let scratch = |rows| {
            let floats = match filters.layout() {
                Layout::F32Nr16 => conv_f32::scratch_len(&window, x, y, rows),
                Layout::F32Dw16 => Some(0),
            };
            floats?.checked_mul(4)
        };
        let conv = step::Conv {
            window,
            groups: layer.groups()?,
            layout: filters.layout(),
            weights: self.weights.add(&filters.pack(oihw)?)?,
            bias: self.bias(layer)?,
            border,
            activation: self.dense_activation(layer)?,
            scratch: self.scratch(&window, x, y, scratch)?,
        };
        self.push_each(node, step::Op::Conv(conv), places, pictures)
    }

    /// Bias vectors, one a border class, each filled up as the layout demands.
    fn bias(&mut self, layer: &Layer<'_>) -> Result<Span, Kind> {
        self.weights.add(&layer.filters.pack_vectors(layer.bias, layer.classes())?)
    }

    fn dense_activation(&mut self, layer: &Layer<'_>) -> Result<step::Activation, Kind> {
        let filters = layer.filters;
        self.stored_activation(layer.activation, filters.out_c, |s| filters.pack_channels(s))
    }

    /// Bytes of scratch: what as many output rows take at once as the target grants, and at least one;
    /// `bytes` says how many a number of rows takes.
    pub(super) fn scratch(
        &self,
        window: &Window,
        x: Dims,
        y: Dims,
        bytes: impl Fn(u32) -> Option<usize>,
    ) -> Result<u32, Kind> {
        let bytes = |rows| bytes(rows).and_then(|bytes| u32::try_from(bytes).ok());
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
        let input = Place { buffer, dims: dims(rows, 1, in_c)? };
        let filters = Filters::of_matrix(out_c, in_c);
        let (window, border) = (Window::POINT, Border::default());
        let layer = Layer { filters, window, border, bias, activation };
        let quantized = self.quantized(weight, self.element(buffer), self.wanted(node.output));
        if let Some(mut quantized) = quantized {
            quantized.weights.values = with_columns(&quantized.weights.values, in_c, &columns);
            let output = self.new_picture_in(node.output, quantized.output)?;
            let places = flattened(&window, border, (input, output))?;
            return self.push_conv_s8(node, &layer, &quantized, (places, 1));
        }
        let input = self.real(id, input)?;
        let weights = with_columns(weights, in_c, &columns);
        let output = self.new_picture(node.output)?;
        if rows > 1 {
            let places = flattened(&window, border, (input, output))?;
            return self.push_conv(node, &layer, &weights, (places, 1));
        }
        let linear = step::Linear {
            weights: self.weights.add(&filters.pack(&weights)?)?,
            bias: self.bias(&layer)?,
            activation: self.dense_activation(&layer)?,
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
pub(super) fn flattened(
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
    Ok(Filters { groups, out_c, in_c: shape[1], kh, kw, depthwise })
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
fn with_columns<T: Pod>(weights: &[T], in_c: usize, order: &Order) -> Vec<T> {
    let mut moved = vec![T::zeroed(); weights.len()];
    let places: Vec<usize> = (0..in_c).map(|number| order.place(number)).collect();
    for (from, to) in weights.chunks(in_c.max(1)).zip(moved.chunks_mut(in_c.max(1))) {
        from.iter().zip(&places).for_each(|(&weight, &place)| to[place] = weight);
    }
    moved
}
