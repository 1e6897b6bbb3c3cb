//! The affine interpreter: one node run on maps instead of on pictures.
//!
//! The same interpreter runs on forms, to plan, and on kernel maps, to compute, so that what is
//! planned and what is computed cannot disagree.

use super::Reason;
use super::form::Form;
use super::kernel_map::KernelMap;
use super::node_map::{Extent, Role};
use crate::graph::{Graph, Node, ValueId};

/// What the interpreter needs of a map.
pub(super) trait Algebra: Sized {
    /// `y = x`.
    fn identity(channels: usize) -> Self;
    /// `outer` after `inner`, which makes `sizes[1]` rows and columns of `sizes[0]`.
    fn compose(outer: Self, inner: Self, sizes: [[usize; 2]; 2]) -> Result<Self, Reason>;
    /// `a + sign * b`.
    fn sum(a: Self, b: Self, sign: f64) -> Result<Self, Reason>;
    /// One below the other on the output channels.
    fn stack(parts: &[Self]) -> Result<Self, Reason>;
    /// Seen as one pixel.
    fn unfolded(self, input: [usize; 2], output: [usize; 2]) -> Result<Self, Reason>;
}

impl Algebra for Form {
    fn identity(channels: usize) -> Self {
        Self::diagonal(channels, false)
    }

    fn compose(outer: Self, inner: Self, sizes: [[usize; 2]; 2]) -> Result<Self, Reason> {
        Self::compose(&outer, &inner, sizes)
    }

    fn sum(a: Self, b: Self, _: f64) -> Result<Self, Reason> {
        Self::union(&a, &b)
    }

    fn stack(parts: &[Self]) -> Result<Self, Reason> {
        let (first, rest) = parts.split_first().expect("a concatenation has operands");
        rest.iter().try_fold(first.dense(), |all, part| Self::stack(&all, part))
    }

    fn unfolded(self, input: [usize; 2], output: [usize; 2]) -> Result<Self, Reason> {
        Self::unfolded(&self, input, output)
    }
}

impl Algebra for KernelMap {
    fn identity(channels: usize) -> Self {
        Self::identity(channels)
    }

    fn compose(outer: Self, inner: Self, sizes: [[usize; 2]; 2]) -> Result<Self, Reason> {
        Self::compose(outer, inner, sizes)
    }

    fn sum(a: Self, b: Self, sign: f64) -> Result<Self, Reason> {
        a.add(b, sign)
    }

    fn stack(parts: &[Self]) -> Result<Self, Reason> {
        Self::stack(parts)
    }

    fn unfolded(self, input: [usize; 2], output: [usize; 2]) -> Result<Self, Reason> {
        self.unfolded(input, output)
    }
}

/// A map of a region's source, and how it sees what it reads and what it gives.
#[derive(Clone, Debug)]
pub(super) struct Mapped<A> {
    /// The map.
    pub(super) map: A,
    /// Whether source and value are seen as one pixel (see [`super::patch_map`]), because a reshape
    /// on the way mixes channels and pixels.
    pub(super) patch: bool,
    input: [usize; 2],
    output: [usize; 2],
}

impl<A: Algebra> Mapped<A> {
    /// The source itself.
    pub(super) fn identity(source: Extent) -> Self {
        let map = A::identity(source.channels);
        Self { map, patch: false, input: source.pixels, output: source.pixels }
    }

    /// This, then the map of a node that gives `output` pixels.
    fn then(self, own: A, output: [usize; 2]) -> Result<Self, Reason> {
        let own = if self.patch { own.unfolded(self.output, output)? } else { own };
        let sizes = [self.input, self.output];
        Ok(Self { map: A::compose(own, self.map, sizes)?, output, ..self })
    }

    fn reshaped(self, from: Extent, to: Extent) -> Result<Self, Reason> {
        if from == to { Ok(self) } else { Ok(Self { output: to.pixels, ..self.unfolded()? }) }
    }

    fn unfolded(self) -> Result<Self, Reason> {
        if self.patch {
            return Ok(self);
        }
        Ok(Self { map: self.map.unfolded(self.input, self.output)?, patch: true, ..self })
    }

    /// Maps of one source, all unfolded if one is.
    fn aligned(parts: Vec<Self>) -> Result<Vec<Self>, Reason> {
        if !parts.iter().any(|part| part.patch) {
            return Ok(parts);
        }
        parts.into_iter().map(Self::unfolded).collect()
    }
}

/// The value of a node as a map of a source, given those of its operands and, for [`Role::Map`], the
/// map of the node itself.
///
/// # Errors
/// What the algebra refuses.
pub(super) fn interpret<A: Algebra>(
    graph: &Graph,
    node: &Node,
    role: Role,
    own: impl FnOnce(ValueId) -> A,
    mut operand: impl FnMut(ValueId) -> Result<Mapped<A>, Reason>,
) -> Result<Mapped<A>, Reason> {
    let extent = |id| Extent::of(graph.shape(id));
    match role {
        Role::Map(id) => operand(id)?.then(own(id), extent(node.output).pixels),
        Role::View(id) => operand(id)?.reshaped(extent(id), extent(node.output)),
        Role::Sum { sign } => {
            let parts = vec![operand(node.inputs[0])?, operand(node.inputs[1])?];
            let Ok([a, b]) = <[_; 2]>::try_from(Mapped::aligned(parts)?) else {
                unreachable!("two parts went in")
            };
            Ok(Mapped { map: A::sum(a.map, b.map, sign)?, ..a })
        }
        Role::Stack => {
            let parts = node.inputs.iter().map(|&id| operand(id)).collect::<Result<_, _>>()?;
            let parts = Mapped::aligned(parts)?;
            let Mapped { patch, input, output, .. } = parts[0];
            let maps: Vec<A> = parts.into_iter().map(|part| part.map).collect();
            Ok(Mapped { map: A::stack(&maps)?, patch, input, output })
        }
    }
}
