//! Which instruction set the tile operations use.
//!
//! Invariant: [`Isa::host`] is found once and never changes while the program runs, and only sets that the processor
//! has are ever offered. Deliberately absent: any way to switch in mid-run.

use std::sync::OnceLock;

/// An instruction set for which tile operations are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// What the target triple guarantees.
    Portable,
    /// 128-bit vectors with fused multiply-add, which every such processor has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 256-bit vectors with fused multiply-add, and conversions from f16.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// All instruction sets that the processor has, the best one last.
    pub(crate) fn available() -> &'static [Isa] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(detect)
    }

    /// The best instruction set that the processor has.
    pub(crate) fn host() -> Isa {
        Isa::available().last().copied().unwrap_or(Isa::Portable)
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Vec<Isa> {
    let mut found = vec![Isa::Portable];
    let narrow = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    if narrow {
        found.push(Isa::Avx2);
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        if wide {
            found.push(Isa::Avx512);
        }
    }
    found
}

#[cfg(target_arch = "aarch64")]
fn detect() -> Vec<Isa> {
    vec![Isa::Portable, Isa::Neon]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Vec<Isa> {
    vec![Isa::Portable]
}

/// Defines a module of one `extern "C"` function for every instruction set, all from one `#[inline(always)]` body that
/// takes the [`Registers`](super::simd::Registers) as its last type argument, and `address(isa)` to choose among them.
///
/// The loops stand inside the `#[target_feature]` functions after inlining: outside of them they would not use the
/// instruction set at all.
macro_rules! for_every_isa {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? = $body:ident[$($type:ty),*]) => {
        $(#[$doc])*
        pub(crate) mod $name {
            #[allow(unused_imports, reason = "some functions need nothing of the module around them")]
            use super::*;
            use $crate::runtime::isa::Isa;
            use $crate::runtime::simd;

            /// Any one of these functions.
            pub(crate) type Function = unsafe extern "C" fn($($kind),*) $(-> $result)?;

            unsafe extern "C" fn portable($($argument: $kind),*) $(-> $result)? {
                // SAFETY: the caller keeps the contract of the body.
                unsafe { $body::<$($type,)* simd::PortableRegisters>($($argument),*) }
            }

            #[cfg(target_arch = "aarch64")]
            unsafe extern "C" fn neon($($argument: $kind),*) $(-> $result)? {
                // SAFETY: the caller keeps the contract of the body.
                unsafe { $body::<$($type,)* simd::NeonRegisters>($($argument),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe extern "C" fn avx2($($argument: $kind),*) $(-> $result)? {
                // SAFETY: the caller keeps the contract of the body.
                unsafe { $body::<$($type,)* simd::Avx2Registers>($($argument),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl")]
            unsafe extern "C" fn avx512($($argument: $kind),*) $(-> $result)? {
                // SAFETY: the caller keeps the contract of the body.
                unsafe { $body::<$($type,)* simd::Avx512Registers>($($argument),*) }
            }

            /// The function for that instruction set, which the processor must have.
            pub(crate) fn function(isa: Isa) -> Function {
                match isa {
                    Isa::Portable => portable,
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => neon,
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => avx2,
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => avx512,
                }
            }
        }
    };
}
pub(crate) use for_every_isa;
