//! NumPy `.npy` files, f32.
