//! Affine regions of a graph → one convolution each, with a certificate.
