//! [`View`]: elements of one value and constants, in another order.
//!
//! Exporters write slice assignments (a padding with one value a channel, mostly) as transpositions
//! and `ScatterND` with constant indices. No sequence of nodes is recognised here: nodes that move
//! elements or overwrite them with constants are carried out on the *origins* of the elements, and
//! what they have made together is read off when an operation needs its result. The shape of a view
//! is known without that.

use super::build::Builder;
use super::call::{Call, Operand};
use super::error::Refusal;
use super::fold::affordable;
use super::fold::arrange::{Moved, overwritten, sliced, transposed};
use super::window::picture;
use crate::graph::{Activation, Op, Pad, ValueId};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Operators that take views as they are; all others take values.
pub(super) const SEE_VIEWS: &[&str] = &["Identity", "ScatterND", "Slice", "Transpose"];

/// Where one element comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    /// Row-major index into the base.
    Base(usize),
    /// Not from the base.
    Constant(f32),
}

/// A rearrangement that no node of the graph stands for yet.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// ONNX name.
    name: String,
    /// What its elements come from.
    base: ValueId,
    /// Axis lengths of the view.
    shape: Vec<usize>,
    /// One for each element, row-major.
    origins: Vec<Origin>,
}

impl View {
    /// Axis lengths.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The whole operand, where it is; a padded picture is a view of what was padded.
    fn of(call: &Call<'_>, builder: &Builder) -> Result<Self, Refusal> {
        let (base, shape) = match call.operand(0, "its input")? {
            Operand::View(view) => return Ok(Self::clone(view)),
            Operand::Constant { .. } => return Err(Refusal::MissingOperand("its computed input")),
            Operand::Value { id, shape } => (*id, shape.clone()),
        };
        let count = affordable(call, &shape)?;
        let name = String::new();
        let origins = (0..count).map(Origin::Base).collect();
        let whole = Self { name, base, shape, origins };
        let padding = builder.graph.nodes.iter().rev().find(|node| node.output == base);
        let Some((Op::Pad { pad, value }, &[source])) = padding.map(|n| (&n.op, &n.inputs[..]))
        else {
            return Ok(whole);
        };
        let inner = builder.graph.shape(source);
        let frame = Frame { inner, outer: &whole.shape, pad: *pad };
        let origins = frame.indices().map(|i| i.map_or(Origin::Constant(*value), Origin::Base));
        let origins = origins.collect();
        Ok(Self { base: source, origins, ..whole })
    }

    fn moved(self, call: &Call<'_>, by: Moved) -> Operand {
        let origins = by.indices.filter_map(|k| self.origins.get(k).copied()).collect();
        let name = call.output().to_owned();
        Operand::View(Arc::new(Self { name, shape: by.shape, origins, ..self }))
    }
}

/// The axes in another order.
pub(super) fn transpose(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let view = View::of(call, builder)?;
    let by = transposed(call, &view.shape)?;
    Ok(view.moved(call, by))
}

/// A part of each axis.
pub(super) fn slice(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let view = View::of(call, builder)?;
    let by = sliced(call, &view.shape)?;
    Ok(view.moved(call, by))
}

/// Elements at constant indices overwritten with constants.
pub(super) fn scatter_nd(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let mut view = View::of(call, builder)?;
    let at = overwritten(call, &view.shape)?;
    let updates = call.operand(2, "its updates")?.floats("its updates")?;
    for (at, &value) in at.into_iter().zip(updates) {
        view.origins.get_mut(at).into_iter().for_each(|o| *o = Origin::Constant(value));
    }
    call.output().clone_into(&mut view.name);
    Ok(Operand::View(Arc::new(view)))
}

/// A picture inside a larger one.
struct Frame<'a> {
    inner: &'a [usize],
    outer: &'a [usize],
    pad: Pad,
}

impl Frame<'_> {
    /// For each element of the outer picture, row-major, its index in the inner one.
    fn indices(&self) -> impl Iterator<Item = Option<usize>> + use<> {
        let axes = |shape: &[usize]| match shape {
            &[_, c, h, w] => (c, h, w),
            _ => (0, 0, 0),
        };
        let ((_, h, w), (c, rows, columns)) = (axes(self.inner), axes(self.outer));
        let [top, left] = [self.pad.top, self.pad.left].map(|n| n as usize);
        let index = move |(c, y, x): (usize, usize, usize)| {
            let inside = |at: usize, low: usize, n: usize| at.checked_sub(low).filter(|&k| k < n);
            let (y, x) = (inside(y, top, h)?, inside(x, left, w)?);
            c.checked_mul(h)?.checked_add(y)?.checked_mul(w)?.checked_add(x)
        };
        let pixels = move |c| (0..rows).flat_map(move |y| (0..columns).map(move |x| (c, y, x)));
        (0..c).flat_map(pixels).map(index)
    }
}

/// What a view is, as an operation on its base.
struct Padding {
    pad: Pad,
    /// One value a channel.
    values: Vec<f32>,
}

impl View {
    fn is_base(&self, shape: &[usize]) -> bool {
        let in_place = |(k, origin): (usize, &Origin)| *origin == Origin::Base(k);
        self.shape == shape && self.origins.iter().enumerate().all(in_place)
    }

    /// `None` unless the view is its base, of this shape, within a frame of one value a channel.
    fn padding(&self, inner: &[usize]) -> Option<Padding> {
        let (&[1, channels, h, w], &[1, c, rows, columns]) = (inner, &self.shape[..]) else {
            return None;
        };
        let first = self.origins.iter().position(|o| *o == Origin::Base(0))?;
        let (top, left) = (first.checked_div(columns)?, first.checked_rem(columns)?);
        let after = |whole: usize, low: usize, n: usize| whole.checked_sub(low)?.checked_sub(n);
        let [bottom, right] = [after(rows, top, h)?, after(columns, left, w)?];
        let sides = [top, left, bottom, right].map(|n| u32::try_from(n).ok());
        let [Some(top), Some(left), Some(bottom), Some(right)] = sides else { return None };
        let pad = Pad { top, left, bottom, right };
        let planes = self.origins.chunks(rows.checked_mul(columns)?);
        let constant = |o: &Origin| if let Origin::Constant(v) = o { Some(*v) } else { None };
        let values: Vec<f32> = planes.filter_map(|p| p.iter().find_map(constant)).collect();
        let indices = Frame { inner, outer: &self.shape, pad }.indices();
        let plane = rows.checked_mul(columns)?;
        let expected = indices.enumerate().map(|(k, index)| match index {
            Some(index) => Some(Origin::Base(index)),
            None => values.get(k.checked_div(plane)?).copied().map(Origin::Constant),
        });
        let fits = channels == c && values.len() == c;
        let same = expected.eq(self.origins.iter().copied().map(Some));
        (fits && same).then_some(Padding { pad, values })
    }
}

impl Builder {
    /// The operand as a constant or value; a view becomes nodes when first read.
    pub(super) fn without_view(
        &mut self,
        call: &Call<'_>,
        operand: &Operand,
    ) -> Result<Operand, Refusal> {
        let Operand::View(view) = operand else { return Ok(operand.clone()) };
        let shape = view.shape.clone();
        if let Some(id) = self.known(&view.name) {
            return Ok(Operand::Value { id, shape });
        }
        let base = self.graph.shape(view.base).to_vec();
        let id = if view.is_base(&base) {
            view.base
        } else {
            let padding = view.padding(&base).ok_or_else(|| Refusal::Unsupported {
                found: format!(
                    "`{}`, whose computed elements are moved or overwritten otherwise than by \
                     padding rows and columns with one value a channel,",
                    view.name
                ),
                remedy: "replace it before exporting",
            })?;
            self.padded(call, view, padding)?
        };
        self.remember(&view.name, id);
        Ok(Operand::Value { id, shape })
    }

    /// One value: a Pad. One a channel: `pad(x - v, 0) + v`, which is `v` outside the picture.
    fn padded(
        &mut self,
        call: &Call<'_>,
        view: &View,
        padding: Padding,
    ) -> Result<ValueId, Refusal> {
        let Padding { pad, values } = padding;
        let shape = view.shape.clone();
        let first = values.first().copied().unwrap_or(0.0);
        super::build::finite(&view.name, &values)?;
        if values.iter().all(|&v| v == first) {
            return self.emit_part(call, Op::Pad { pad, value: first }, vec![view.base], shape);
        }
        let inner = self.graph.shape(view.base).to_vec();
        let channels = picture(&inner)?.c;
        let wrong = || Refusal::MissingOperand("its pad values");
        let tensor = Tensor::f32([1, channels, 1, 1], values).ok_or_else(wrong)?;
        let values = self.made(&format!("{}_border", view.name), tensor)?;
        let below = self.emit_part(call, Op::Sub, vec![view.base, values], inner)?;
        let zero = Op::Pad { pad, value: 0.0 };
        let framed = self.emit_part(call, zero, vec![below], shape.clone())?;
        let add = Op::Add { activation: Activation::None };
        self.emit_part(call, add, vec![framed, values], shape)
    }
}
