//! [`Blocks`]: which channels a map reads, and in how many blocks, where its kernel is stored densely.
//!
//! A choice of channels is a kernel that is mostly zeros; what follows it, too. Concatenated, such maps
//! may be one convolution in groups: a split, a convolution of each part and their concatenation. Maps
//! are stored with the groups that hold for all of them; what more is known of them is here, so that
//! costs are right, and the zeros are left out of what is written.

use super::form::{Form, gcd};
use super::kernel_map::KernelMap;

/// Consecutive input channels in blocks of equal size; each reads its own, as many outputs each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// First channel that is read.
    first: usize,
    /// Channels that are read.
    count: usize,
    /// Number of blocks; divides the channels and the outputs.
    number: usize,
}

impl Blocks {
    /// `count` channels from `first` on, each an output of its own.
    pub(super) fn chosen(first: usize, count: usize) -> Self {
        Self { first, count, number: count }
    }

    /// Of `outer` after `inner`.
    pub(super) fn compose(outer: &Form, inner: &Form) -> Self {
        let (own, read) = (outer.blocks(), inner.blocks());
        if own.count == outer.inputs {
            Self { number: gcd(own.number, read.number), ..read }
        } else if inner.is_channelwise() {
            own
        } else {
            Self { number: 1, ..read }
        }
    }

    /// Of a sum.
    pub(super) fn union(a: &Form, b: &Form) -> Self {
        let (one, other) = (a.blocks(), b.blocks());
        if (one.first, one.count) == (other.first, other.count) {
            Self { number: gcd(one.number, other.number), ..one }
        } else {
            Self { first: 0, count: a.inputs, number: 1 }
        }
    }

    /// Of `a` above `b` on the output channels.
    pub(super) fn stack(a: &Form, b: &Form) -> Self {
        let (one, other) = (a.blocks(), b.blocks());
        let size = |blocks: Self, form: &Form| {
            (blocks.count / blocks.number, form.outputs / blocks.number)
        };
        if other.first == one.first + one.count && size(one, a) == size(other, b) {
            let (count, number) = (one.count + other.count, one.number + other.number);
            Self { first: one.first, count, number }
        } else {
            Self { first: 0, count: a.inputs, number: 1 }
        }
    }
}

impl Form {
    /// What is known of the channels that are read: at least the groups.
    pub(super) fn blocks(&self) -> Blocks {
        let groups = Blocks { first: 0, count: self.inputs, number: self.groups };
        self.blocks.unwrap_or(groups)
    }

    /// The same form with these blocks.
    pub(super) fn in_blocks(&self, blocks: Blocks) -> Self {
        Self { blocks: Some(blocks), ..*self }
    }

    /// The same form stored in one group.
    pub(super) fn dense(&self) -> Self {
        Self { groups: 1, ..self.in_blocks(self.blocks()) }
    }

    /// The form whose groups are the blocks, if those are all channels.
    pub(super) fn grouped(self) -> Self {
        let Blocks { count, number, .. } = self.blocks();
        let groups = if count == self.inputs { number } else { self.groups };
        Self { groups, blocks: None, ..self }
    }
}

impl KernelMap {
    /// The same map in more groups; all that they leave out is zero.
    pub(super) fn grouped(self, groups: usize) -> Self {
        if groups == self.form.groups {
            return self;
        }
        let (form, taps) = (Form { groups, blocks: None, ..self.form }, self.form.taps());
        let row = |o: usize| {
            let first =
                o * self.form.channels() + form.first_channel(o) - self.form.first_channel(o);
            &self.kernel[first * taps..][..form.channels() * taps]
        };
        let kernel = (0..form.outputs).flat_map(row).copied().collect();
        Self { form, kernel, ..self }
    }
}
