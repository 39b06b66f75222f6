//! The suite on a CUDA device: an emulated one that checks bounds, initialisation, races and barriers, unless
//! `CAROUSEL_CUDA_DRIVER` says otherwise.

mod assembled;
mod cells;
mod golden;
mod kernels;
mod model;
mod mutations;
mod products;
mod random;
mod shapes;

#[path = "../suite/expected.rs"]
mod expected;
