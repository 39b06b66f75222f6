//! The CUDA device of the workspace's tests.
//!
//! Invariant: what is needed is there or the test fails; the compiler is installed if it is missing.

use crate::workspace::root;
use carousel_cuda::{CudaBackend, toolchain};
use carousel_testkit::device;
use std::sync::OnceLock;

/// The compiler of CUDA kernels, installed where the workspace is built if it is nowhere.
///
/// # Panics
/// If it cannot be installed.
pub fn install_compiler() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let folder = root().join(toolchain::COMPILER.folder);
        device::install(&folder).unwrap_or_else(|error| panic!("{error}"));
    });
}

/// The CUDA target on the device: an emulated one, unless `CAROUSEL_CUDA_DRIVER` says otherwise.
///
/// # Panics
/// If there is none.
pub fn backend() -> &'static CudaBackend {
    install_compiler();
    device::backend().unwrap_or_else(|error| panic!("{error}"))
}

/// The same, opened anew: what it counts is of its own executables alone.
///
/// # Panics
/// If there is none.
pub fn own_backend() -> CudaBackend {
    install_compiler();
    device::open().unwrap_or_else(|error| panic!("{error}"))
}
