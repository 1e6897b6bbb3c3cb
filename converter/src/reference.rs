//! The f64 interpreter of a graph: the oracle.
