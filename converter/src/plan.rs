//! [`Graph`](crate::graph::Graph) → steps, packed weights and arena offsets.
