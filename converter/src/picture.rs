//! PNG and JPEG pictures → f32 tensors.
