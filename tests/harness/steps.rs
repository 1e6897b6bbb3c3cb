//! Operations of steps, in short.

use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{Activation, Binary, Op, Operand, Source, View};

/// `act(input + other)`.
pub fn add(other: Operand, activation: Activation) -> Op {
    let other = Source::Arena(other);
    Op::Binary { function: Binary::Add, other, swapped: false, activation }
}

/// A view of at most six axes `(extent, stride)`, outermost first.
pub fn view(axes: &[(u32, i32)], offset: u32) -> View {
    let mut view = View { extent: [1; View::RANK], strides: [0; View::RANK], offset };
    for (k, &(extent, stride)) in axes.iter().rev().enumerate() {
        view.extent[View::RANK - 1 - k] = extent;
        view.strides[View::RANK - 1 - k] = stride;
    }
    view
}

/// A map of these dims channel by channel.
pub fn planar(dims: Dims) -> Op {
    let channels = i32::try_from(dims.c).unwrap();
    Op::Rearrange(view(&[(dims.c, 1), (dims.h * dims.w, channels)], 0))
}
