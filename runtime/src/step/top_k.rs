//! [`TopK`]: the best channels of each pixel.

use serde::{Deserialize, Serialize};

/// Of each pixel the largest (or smallest) values among its channels, the best first, and behind them
/// the channels they were found at, as whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopK {
    /// How many: at least 1, at most the channels.
    pub count: u32,
    /// The largest values, or the smallest.
    pub largest: bool,
    /// Of equal values the last channel is the best, or the first.
    pub last: bool,
}

impl TopK {
    /// Most channels: beyond, whole numbers have gaps in f32.
    pub const MAX_CHANNELS: u32 = 1 << f32::MANTISSA_DIGITS;
}
