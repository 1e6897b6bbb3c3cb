//! [`Cover`]: one axis of the output as tiles of four, and one of what is left.
//!
//! A tile of `m` outputs uses `m + 2` of the points 0, 1, -1, 2, -2 and infinity, so that all tiles
//! share the transformed weights, and no product is spent on outputs outside the picture: 14 = 4 + 4 +
//! 4 + 2 takes 22 points where four whole tiles take 24.

/// Points of F(4,3), in this order: 0, 1, -1, 2, -2, infinity.
pub(super) const POINTS: usize = 6;

/// Outputs of a whole tile.
pub(in super::super) const TILE: usize = 4;

/// Indices of the points that a tile of `outputs` (1 to 4) uses.
pub(super) const fn points(outputs: usize) -> &'static [usize] {
    match outputs {
        1 => &[0, 1, 5],
        2 => &[0, 1, 2, 5],
        3 => &[0, 1, 2, 3, 5],
        _ => &[0, 1, 2, 3, 4, 5],
    }
}

/// The tiles of a run of outputs; only the last one may have fewer than [`TILE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    /// Outputs.
    pub(super) len: usize,
}

impl Cover {
    /// Number of tiles.
    pub(super) const fn tiles(self) -> usize {
        self.len.div_ceil(TILE)
    }

    /// Outputs of tile `index`.
    pub(super) fn outputs(self, index: usize) -> usize {
        self.len.saturating_sub(index * TILE).min(TILE)
    }

    /// How many tiles, from the first on, use a point.
    pub(super) fn using(self, point: usize) -> usize {
        let Some(last) = self.tiles().checked_sub(1) else { return 0 };
        last + usize::from(points(self.outputs(last)).contains(&point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_axis_once_with_two_more_points_than_outputs_each() {
        for len in 1..40 {
            let cover = Cover { len };
            let outputs = (0..cover.tiles()).map(|tile| cover.outputs(tile));
            assert_eq!(outputs.clone().sum::<usize>(), len);
            assert_eq!(outputs.map(|m| points(m).len()).sum::<usize>(), len + 2 * cover.tiles());
            let used = (0..POINTS).map(|point| cover.using(point));
            assert_eq!(used.sum::<usize>(), len + 2 * cover.tiles());
        }
    }
}
