//! The suite on a CUDA device: an emulated one that checks bounds, initialisation, races and barriers, unless
//! `CAROUSEL_CUDA_DRIVER` says otherwise.

mod accesses;
mod assembled;
mod cells;
mod chunks;
mod golden;
mod halves;
mod kernels;
mod model;
mod mutations;
mod products;
mod random;
mod resident;
mod shapes;
mod teams;

#[path = "../suite/expected.rs"]
mod expected;
