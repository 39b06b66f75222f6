//! The assembler of the workspace's tests.
//!
//! Invariant: it is there or the test fails; it is installed if it is missing.

use crate::workspace::root;
use carousel_cuda::toolchain::ASSEMBLER;
use carousel_testkit::assembler::{self, Assembled};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The assembler, installed where the workspace is built if it is not there.
///
/// # Panics
/// If it cannot be installed.
pub fn installed() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let folder = root().join(ASSEMBLER.folder);
        assembler::install(&folder).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Assembles PTX for a GPU of an architecture, such as `sm_90`.
///
/// # Panics
/// If the assembler cannot be installed, or refuses the text.
pub fn assembled(ptx: &str, architecture: &str) -> Assembled {
    assembler::assembled(installed(), ptx, architecture).unwrap_or_else(|error| panic!("{error}"))
}
