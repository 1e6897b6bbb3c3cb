//! Lowering of products of two values.

use super::error::Kind;
use super::lower::{Draft, Lowering, Place};
use super::order::{Order, dims};
use crate::graph::{Node, ValueId};
use unbraid_runtime::step::{self, MatMul, Operand, Source};

impl Lowering<'_> {
    pub(super) fn matmul(&mut self, node: &Node) -> Result<(), Kind> {
        let (left, right) = (Self::operand(node, 0)?, Self::operand(node, 1)?);
        let shapes = [left, right, node.output].map(|id| self.graph.shape(id));
        let [&[_, m, k], &[count, depth, n], &[matrices, ..]] = shapes else {
            let (what, found) = ("factors", shapes[0].to_vec());
            return Err(Kind::Shape { what, found, expected: vec![1, 1, 1] });
        };
        if depth != k {
            let (what, found) = ("factors", vec![depth, n]);
            return Err(Kind::Shape { what, found, expected: vec![k, n] });
        }
        let whole = [matrices, m, k];
        let order = Order::row_major(&whole);
        let input = match shapes[0] == whole {
            true => self.ordered(left, &order)?,
            false => self.repeated(left, &whole, &order)?,
        };
        let input = self.real(left, input)?.buffer;
        let (buffer, transposed) = self.second_factor(right)?;
        let (h, w) = if transposed { (n, k) } else { (k, n) };
        let factor = dims(count, h, w)?;
        let (other, place) = match buffer {
            Some(buffer) => {
                (Source::Arena(Operand::default()), Some(Place { buffer, dims: factor }))
            }
            None => {
                let span = self.weights.add(self.constant(right)?)?;
                (Source::Weights { span, dims: factor }, None)
            }
        };
        let output = self.store(node.output, Order::row_major(&[matrices, m, n]))?.buffer;
        let input = Place { buffer: input, dims: dims(matrices, m, k)? };
        let output = Place { buffer: output, dims: dims(matrices, m, n)? };
        let name = self.name(node, output.dims);
        let op = step::Op::MatMul(MatMul { other, transposed });
        self.push_draft(Draft { name, op, input, other: place, output });
        Ok(())
    }

    /// Where the second factor lies, and whether with its columns as rows: as it is stored, or, where a
    /// copy must go first, so that the copy moves runs of neighbours. `None` is a constant.
    fn second_factor(&mut self, id: ValueId) -> Result<(Option<usize>, bool), Kind> {
        if self.graph.get(id).constant.is_some() {
            return Ok((None, false));
        }
        let shape = self.graph.shape(id);
        let stored = self.stored(id)?.order;
        let (rows, columns) = (Order::row_major(shape), Order::of_axes(shape, [0, 2, 1]));
        let by_columns = stored != rows && {
            let axes = stored.axes(shape).unwrap_or_default();
            let depth = axes.get(1).and_then(|digits| digits.last());
            stored == columns || depth.is_some_and(|digit| digit.stride == 1)
        };
        let order = if by_columns { columns } else { rows };
        let place = self.ordered(id, &order)?;
        Ok((Some(self.real(id, place)?.buffer), by_columns))
    }
}
