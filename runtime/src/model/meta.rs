//! [`Meta`]: who made a file, and from what.

use serde::{Deserialize, Serialize};

/// Facts that no inference needs. The section holds one postcard record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta<'a> {
    /// Program and version that wrote the file.
    #[serde(borrow)]
    pub producer: &'a str,
    /// How many regions of the ONNX graph fusion has replaced.
    pub fused_regions: u32,
}

impl<'m> Meta<'m> {
    /// Decodes the section; `None` when it holds anything else than one record.
    pub fn decode(section: &'m [u8]) -> Option<Self> {
        let (meta, rest) = postcard::take_from_bytes(section).ok()?;
        rest.is_empty().then_some(meta)
    }
}
