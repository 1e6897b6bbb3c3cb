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
use super::fold::arrange::{overwritten, sliced, transposed};
use super::window::picture;
use crate::graph::{Activation, Graph, Op, Pad, PadMode, ValueId};
use crate::rearrange::Rearrange;
use crate::tensor::{Tensor, elements};
use std::sync::Arc;

/// Operators that take views as they are; all others take values.
pub(super) const SEE_VIEWS: &[&str] =
    &["Concat", "Identity", "ScatterND", "Slice", "Split", "Transpose"];

/// Where one element comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    /// Row-major index into the base.
    Base(usize),
    /// Not from the base.
    Constant(f32),
}

/// What one node does to the elements.
#[derive(Clone, Debug)]
enum Move {
    /// Takes them in another order, or some of them.
    Order(Op),
    /// Overwrites those at these row-major indices.
    Write { at: Vec<usize>, values: Vec<f32> },
    /// Puts constants before and after them along one axis.
    Frame { axis: usize, before: Vec<Operand>, after: Vec<Operand> },
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
    /// What happened to the base, and the axis lengths after each of it.
    moves: Vec<Arc<(Move, Vec<usize>)>>,
}

impl View {
    /// Axis lengths.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements that have to be looked at one by one.
    pub(super) fn cost(&self) -> usize {
        let ordered = |m: &Arc<(Move, Vec<usize>)>| matches!(m.0, Move::Order(_));
        if self.moves.iter().all(ordered) { 0 } else { elements(&self.shape).unwrap_or(usize::MAX) }
    }

    /// The whole operand, where it is.
    fn of(operand: &Operand) -> Result<Self, Refusal> {
        match operand {
            Operand::View(view) => Ok(Self::clone(view)),
            Operand::Constant { .. } => Err(Refusal::MissingOperand("its computed input")),
            Operand::Value { id, shape } => {
                let shape = shape.clone();
                Ok(Self { name: String::new(), base: *id, shape, moves: Vec::new() })
            }
        }
    }

    fn then(self, call: &Call<'_>, by: Move, shape: Vec<usize>) -> Operand {
        self.then_named(call.output(), by, shape)
    }

    fn then_named(mut self, name: &str, by: Move, shape: Vec<usize>) -> Operand {
        name.clone_into(&mut self.name);
        self.shape.clone_from(&shape);
        self.moves.push(Arc::new((by, shape)));
        Operand::View(Arc::new(self))
    }
}

/// The axes in another order; two such orders in a row are one.
pub(super) fn transpose(call: &Call<'_>, _: &mut Builder) -> Result<Operand, Refusal> {
    let mut view = View::of(call.operand(0, "its input")?)?;
    let (mut op, shape) = transposed(call, &view.shape)?;
    if let (Op::Transpose { perm }, Some(Move::Order(Op::Transpose { perm: first }))) =
        (&mut op, view.moves.last().map(|m| &m.0))
    {
        *perm = perm.iter().filter_map(|&axis| first.get(axis).copied()).collect();
        view.moves.pop();
    }
    let Op::Transpose { perm } = &op else { return Err(Refusal::MissingOperand("its axes")) };
    if !perm.iter().copied().eq(0..shape.len()) {
        return Ok(view.then(call, Move::Order(op), shape));
    }
    call.output().clone_into(&mut view.name);
    view.shape = shape;
    Ok(Operand::View(Arc::new(view)))
}

/// A part of each axis.
pub(super) fn slice(call: &Call<'_>, _: &mut Builder) -> Result<Operand, Refusal> {
    let operand = call.operand(0, "its input")?;
    let view = View::of(operand)?;
    let (op, shape) = sliced(call, &view.shape)?;
    let forwards = |op: &Op| matches!(op, Op::Slice { steps, .. } if steps.iter().all(|&s| s > 0));
    if shape == view.shape && forwards(&op) {
        return Ok(operand.clone());
    }
    Ok(view.then(call, Move::Order(op), shape))
}

/// The elements that an operation takes from a computed operand, in its order.
pub(super) fn part(
    operand: &Operand,
    name: &str,
    by: Op,
    shape: Vec<usize>,
) -> Result<Operand, Refusal> {
    Ok(View::of(operand)?.then_named(name, Move::Order(by), shape))
}

/// Elements at constant indices overwritten with constants.
pub(super) fn scatter_nd(call: &Call<'_>, _: &mut Builder) -> Result<Operand, Refusal> {
    let view = View::of(call.operand(0, "its input")?)?;
    let shape = view.shape.clone();
    let at = overwritten(call, &shape)?;
    let values = call.operand(2, "its updates")?.floats("its updates")?.to_vec();
    Ok(view.then(call, Move::Write { at, values }, shape))
}

/// Constants before and after the one computed part along rows or columns; `None` for other axes,
/// without constants, and if more parts are computed.
pub(super) fn framed(
    call: &Call<'_>,
    parts: &[&Operand],
    axis: usize,
    shape: &[usize],
) -> Option<Operand> {
    let computed = |part: &&&Operand| !matches!(part, Operand::Constant { .. });
    if axis < 2 || parts.len() < 2 || parts.iter().filter(computed).count() != 1 {
        return None;
    }
    let at = parts.iter().position(|part| computed(&part))?;
    let (before, rest) = parts.split_at_checked(at)?;
    let (computed, after) = rest.split_first()?;
    let constants = |parts: &[&Operand]| parts.iter().map(|&part| part.clone()).collect();
    let by = Move::Frame { axis, before: constants(before), after: constants(after) };
    Some(View::of(computed).ok()?.then(call, by, shape.to_vec()))
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

/// Where all elements of a view come from.
struct Origins {
    /// Of a picture that was padded, the picture.
    base: ValueId,
    /// One for each element, row-major.
    elements: Vec<Origin>,
}

impl Origins {
    /// Carries the moves of a view out; `None` if a frame is no float.
    fn of(graph: &Graph, view: &View) -> Option<Self> {
        let mut shape = graph.shape(view.base).to_vec();
        let mut origins = Self::looking_through_pads(graph, view.base, &shape);
        for by in &view.moves {
            let (by, result) = &**by;
            origins.elements = moved(origins.elements, by, &shape, result)?;
            shape.clone_from(result);
        }
        Some(origins)
    }

    fn looking_through_pads(graph: &Graph, base: ValueId, outer: &[usize]) -> Self {
        let padding = graph.nodes.iter().rev().find(|node| node.output == base);
        let padding = padding.map(|n| (&n.op, &n.inputs[..]));
        let Some((Op::Pad { pad, mode: PadMode::Constant(value) }, &[source])) = padding else {
            let count = elements(outer).unwrap_or(0);
            return Self { base, elements: (0..count).map(Origin::Base).collect() };
        };
        let frame = Frame { inner: graph.shape(source), outer, pad: *pad };
        let origins = frame.indices().map(|i| i.map_or(Origin::Constant(*value), Origin::Base));
        Self { base: source, elements: origins.collect() }
    }

    fn is_base(&self, graph: &Graph, shape: &[usize]) -> bool {
        let in_place = |(k, origin): (usize, &Origin)| *origin == Origin::Base(k);
        graph.shape(self.base) == shape && self.elements.iter().enumerate().all(in_place)
    }

    /// `None` unless this is the base, of shape `inner`, within a frame of one value a channel.
    fn padding(&self, inner: &[usize], outer: &[usize]) -> Option<Padding> {
        let (&[1, channels, h, w], &[1, c, rows, columns]) = (inner, outer) else {
            return None;
        };
        let first = self.elements.iter().position(|o| *o == Origin::Base(0))?;
        let (top, left) = (first.checked_div(columns)?, first.checked_rem(columns)?);
        let after = |whole: usize, low: usize, n: usize| whole.checked_sub(low)?.checked_sub(n);
        let [bottom, right] = [after(rows, top, h)?, after(columns, left, w)?];
        let sides = [top, left, bottom, right].map(|n| u32::try_from(n).ok());
        let [Some(top), Some(left), Some(bottom), Some(right)] = sides else { return None };
        let pad = Pad { top, left, bottom, right };
        let planes = self.elements.chunks(rows.checked_mul(columns)?);
        let constant = |o: &Origin| if let Origin::Constant(v) = o { Some(*v) } else { None };
        let values: Vec<f32> = planes.filter_map(|p| p.iter().find_map(constant)).collect();
        let indices = Frame { inner, outer, pad }.indices();
        let plane = rows.checked_mul(columns)?;
        let expected = indices.enumerate().map(|(k, index)| match index {
            Some(index) => Some(Origin::Base(index)),
            None => values.get(k.checked_div(plane)?).copied().map(Origin::Constant),
        });
        let fits = channels == c && values.len() == c;
        let same = expected.eq(self.elements.iter().copied().map(Some));
        (fits && same).then_some(Padding { pad, values })
    }
}

/// The origins after one move from `shape` to `result`.
fn moved(
    mut origins: Vec<Origin>,
    by: &Move,
    shape: &[usize],
    result: &[usize],
) -> Option<Vec<Origin>> {
    match by {
        Move::Order(op) => {
            let order = Rearrange::of(op, shape, result)?;
            Some(order.indices().filter_map(|k| origins.get(k).copied()).collect())
        }
        Move::Write { at, values } => {
            for (&at, &value) in at.iter().zip(values) {
                origins.get_mut(at).into_iter().for_each(|o| *o = Origin::Constant(value));
            }
            Some(origins)
        }
        Move::Frame { axis, before, after } => {
            let constant = |part: &Operand| {
                let values = part.floats("its constants").ok()?;
                Some(values.iter().map(|&v| Origin::Constant(v)).collect::<Vec<_>>())
            };
            let constants =
                |parts: &[Operand]| parts.iter().map(constant).collect::<Option<Vec<_>>>();
            let parts = [constants(before)?, vec![origins], constants(after)?].concat();
            let outer = elements(result.get(..*axis)?)?;
            let piece = |part: &[Origin], o: usize| {
                let size = part.len().checked_div(outer)?;
                let start = o.checked_mul(size)?;
                Some(part.get(start..start.checked_add(size)?)?.to_vec())
            };
            let pieces = (0..outer).flat_map(|o| parts.iter().map(move |part| piece(part, o)));
            Some(pieces.collect::<Option<Vec<_>>>()?.concat())
        }
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
        let id = if view.cost() == 0 {
            self.replayed(call, view)?
        } else {
            affordable(call, &shape)?;
            self.read_off(call, view)?
        };
        self.remember(&view.name, id);
        Ok(Operand::Value { id, shape })
    }

    /// What the moves of a view have made together; where that is not one padding, the moves.
    fn read_off(&mut self, call: &Call<'_>, view: &View) -> Result<ValueId, Refusal> {
        let Some(origins) = Origins::of(&self.graph, view) else {
            return self.replayed(call, view);
        };
        if origins.is_base(&self.graph, &view.shape) {
            return Ok(origins.base);
        }
        match origins.padding(self.graph.shape(origins.base), &view.shape) {
            Some(padding) => self.padded(call, view, origins.base, padding),
            None => self.replayed(call, view),
        }
    }

    /// One node a move.
    fn replayed(&mut self, call: &Call<'_>, view: &View) -> Result<ValueId, Refusal> {
        let mut id = view.base;
        for by in &view.moves {
            let (by, shape) = &**by;
            let (op, inputs) = match by {
                Move::Order(op) => (op.clone(), vec![id]),
                Move::Frame { axis, before, after } => {
                    let mut constants = |parts: &[Operand]| {
                        let ids = parts.iter().map(|part| self.value(part, "its operand"));
                        ids.collect::<Result<Vec<_>, _>>()
                    };
                    let (before, after) = (constants(before)?, constants(after)?);
                    (Op::Concat { axis: *axis }, [before, vec![id], after].concat())
                }
                Move::Write { .. } => {
                    return Err(Refusal::Unsupported {
                        found: format!(
                            "`{}`, whose computed elements are overwritten otherwise than by \
                             padding rows and columns with one value a channel,",
                            view.name
                        ),
                        remedy: "replace it before exporting",
                    });
                }
            };
            id = self.emit_part(call, op, inputs, shape.clone())?;
        }
        Ok(id)
    }

    /// One value: a Pad. One a channel: `pad(x - v, 0) + v`, which is `v` outside the picture.
    fn padded(
        &mut self,
        call: &Call<'_>,
        view: &View,
        base: ValueId,
        padding: Padding,
    ) -> Result<ValueId, Refusal> {
        let Padding { pad, values } = padding;
        let shape = view.shape.clone();
        let first = values.first().copied().unwrap_or(0.0);
        super::build::finite(&view.name, &values)?;
        if values.iter().all(|&v| v == first) {
            let op = Op::Pad { pad, mode: PadMode::Constant(first) };
            return self.emit_part(call, op, vec![base], shape);
        }
        let inner = self.graph.shape(base).to_vec();
        let channels = picture(&inner)?.c;
        let wrong = || Refusal::MissingOperand("its pad values");
        let tensor = Tensor::f32([1, channels, 1, 1], values).ok_or_else(wrong)?;
        let values = self.made(&format!("{}_border", view.name), tensor)?;
        let below = self.emit_part(call, Op::Sub, vec![base, values], inner)?;
        let zero = Op::Pad { pad, mode: PadMode::Constant(0.0) };
        let framed = self.emit_part(call, zero, vec![below], shape.clone())?;
        let add = Op::Add { activation: Activation::None };
        self.emit_part(call, add, vec![framed, values], shape)
    }
}
