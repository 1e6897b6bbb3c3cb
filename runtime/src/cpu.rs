//! [`Cpu`]: the only place that names CPU features.
//!
//! Features can be taken away ([`Cpu::without`]), never added: a kernel that a `Cpu` admits may be
//! called on the machine that made the `Cpu`.

/// One feature that a kernel may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Feature {
    /// x86-64: AVX2 and FMA (both, always used together here).
    Avx2 = 1 << 0,
    /// x86-64: AVX-512 F, BW, DQ and VL (all four).
    Avx512 = 1 << 1,
    /// x86-64: AVX-512 VNNI, dot products of four bytes.
    Avx512Vnni = 1 << 2,
}

/// Every feature with the name that `--mask` takes.
pub const FEATURES: &[(&str, Feature)] =
    &[("avx2", Feature::Avx2), ("avx512", Feature::Avx512), ("avx512vnni", Feature::Avx512Vnni)];

/// The features that kernels may use on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    bits: u32,
}

impl Cpu {
    /// No feature: portable kernels only.
    pub const PORTABLE: Self = Self { bits: 0 };

    /// What this machine has. Without feature `std`: what the build was compiled for.
    pub fn detect() -> Self {
        let mut cpu = Self::PORTABLE;
        if has_avx2() {
            cpu.bits |= Feature::Avx2 as u32;
            if has_avx512() {
                cpu.bits |= Feature::Avx512 as u32;
                if has_avx512_vnni() {
                    cpu.bits |= Feature::Avx512Vnni as u32;
                }
            }
        }
        cpu
    }

    /// Whether kernels that need `feature` may run. `None` is always there.
    pub const fn has(self, feature: Option<Feature>) -> bool {
        match feature {
            Some(feature) => self.bits & feature as u32 != 0,
            None => true,
        }
    }

    /// This machine with one feature, and all that build on it, taken away.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Self {
        let gone = match feature {
            Feature::Avx2 => {
                Feature::Avx2 as u32 | Feature::Avx512 as u32 | Feature::Avx512Vnni as u32
            }
            Feature::Avx512 => Feature::Avx512 as u32 | Feature::Avx512Vnni as u32,
            Feature::Avx512Vnni => Feature::Avx512Vnni as u32,
        };
        Self { bits: self.bits & !gone }
    }
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn has_avx512() -> bool {
    std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vl")
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn has_avx512_vnni() -> bool {
    std::is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(all(target_arch = "x86_64", feature = "std")))]
fn has_avx512_vnni() -> bool {
    cfg!(all(target_arch = "x86_64", target_feature = "avx512vnni"))
}

#[cfg(not(all(target_arch = "x86_64", feature = "std")))]
fn has_avx2() -> bool {
    cfg!(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"))
}

#[cfg(not(all(target_arch = "x86_64", feature = "std")))]
fn has_avx512() -> bool {
    cfg!(all(
        target_arch = "x86_64",
        target_feature = "avx512f",
        target_feature = "avx512bw",
        target_feature = "avx512dq",
        target_feature = "avx512vl"
    ))
}
