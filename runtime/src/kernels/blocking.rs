//! How an output row is cut into tiles, and panels into blocks: the sizes that cost the fewest
//! multiply-adds, tails included.

/// Most pixels of a tile of 1, 2, .. panels: what the register file holds.
pub(crate) type Menu = [usize];

/// One tile: `pixels` neighbouring pixels from `column` on, by `panels` panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) column: usize,
    pub(crate) pixels: usize,
    pub(crate) panels: usize,
}

/// Cuts a row of `width` pixels into nearly equal tiles: 16 is 8 + 8 rather than 14 + 2.
pub(crate) fn tiles(width: usize, panels: usize, menu: &Menu) -> impl Iterator<Item = Tile> {
    let most = panels.checked_sub(1).and_then(|at| menu.get(at)).copied().unwrap_or(1).max(1);
    let mut column = 0;
    core::iter::from_fn(move || {
        let left = width - column;
        let pixels = left.checked_div(left.div_ceil(most))?;
        let tile = Tile { column, pixels, panels };
        column += pixels;
        Some(tile)
    })
}

/// How many panels a block has: the best for a group of `panels` whose rows have `width` pixels.
pub(crate) fn panels_per_block(width: usize, panels: usize, menu: &Menu) -> usize {
    let cost = |block: usize| {
        let (whole, rest) = (panels / block.max(1), panels % block.max(1));
        whole * row_cost(width, block, menu) + row_cost(width, rest, menu)
    };
    (1..=menu.len().min(panels)).rev().min_by_key(|&block| cost(block)).unwrap_or(1)
}

/// Cost of one block at one output row, in sixteenths of a multiply-add an input channel.
fn row_cost(width: usize, panels: usize, menu: &Menu) -> usize {
    if panels == 0 { 0 } else { tiles(width, panels, menu).map(tile_cost).sum() }
}

/// One multiply-add a pixel and panel, at least [`LATENCY`]. Loads run beside them, but decide
/// between equals: a pixel comes from the level-1 cache, a row of weights from the level-2 cache.
fn tile_cost(tile: Tile) -> usize {
    const LATENCY: usize = 8; // 4 cycles until a sum can be added to again, 2 units
    const PIXEL: usize = 1;
    const WEIGHTS: usize = 4;
    let multiply_adds = (tile.pixels * tile.panels).max(LATENCY);
    16 * multiply_adds + PIXEL * tile.pixels + WEIGHTS * tile.panels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::conv_f32::x86::AVX512_MENU as MENU;

    #[test]
    fn tiles_cover_each_row_once_and_differ_by_at_most_one_pixel() {
        for width in 1..100 {
            for panels in 1..=MENU.len() {
                let mut at = 0;
                let (mut least, mut most) = (usize::MAX, 0);
                for tile in tiles(width, panels, MENU) {
                    assert_eq!((tile.column, tile.panels), (at, panels));
                    (least, most) = (least.min(tile.pixels), most.max(tile.pixels));
                    at += tile.pixels;
                }
                assert_eq!(at, width);
                assert!(
                    most - least <= 1 && most <= MENU[panels - 1],
                    "{least}..{most} of {width}"
                );
            }
        }
    }

    #[test]
    fn blocks_of_a0_are_those_measured_fastest() {
        // Width of the output and panels of each kind of layer, then panels of a block.
        for (width, panels, block) in [(112, 3, 3), (56, 3, 3), (28, 6, 2), (14, 12, 2), (7, 80, 3)]
        {
            assert_eq!(panels_per_block(width, panels, MENU), block, "{panels} panels of {width}");
        }
    }
}
