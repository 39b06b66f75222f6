//! The golden vectors: results of public Python implementations, recorded in float64.
//!
//! [`manifest`] lists the cases, [`vectors`] reads their tensors, [`families`] says which program computes a case and
//! what of it is which tensor, [`run`] computes and compares. Everything about a case comes from its entry in the
//! manifest; its name only labels the output.

pub mod families;
pub mod manifest;
pub mod metric;
mod places;
mod reading;
pub mod run;
mod training;
pub mod vectors;

use std::path::PathBuf;
use thiserror::Error;

/// Why golden data could not be read or used.
#[derive(Debug, Error)]
pub enum GoldenError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest or a configuration in it is not what is expected.
    #[error("{what}: {source}")]
    Json {
        /// What was read.
        what: String,
        /// Why it was refused.
        source: serde_json::Error,
    },
    /// A file of tensors is not what is expected.
    #[error("{path}: {source}")]
    Tensors {
        /// Which.
        path: PathBuf,
        /// Why it was refused.
        source: safetensors::SafeTensorError,
    },
    /// A case contradicts itself or its file.
    #[error("{0}")]
    Case(String),
    /// The program of a case was refused.
    #[error("{0}")]
    Program(String),
}

/// The folder of the golden vectors: `CAROUSEL_GOLDEN`, or the copy beside the tests.
pub fn folder() -> PathBuf {
    std::env::var_os("CAROUSEL_GOLDEN")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")), PathBuf::from)
}
