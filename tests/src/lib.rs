//! What the tests of the workspace share: file tests ([`filetest`]), random graphs ([`random`]), the golden vectors
//! ([`golden`]), a CUDA device ([`emulated`]) and an assembler for others ([`assembler`]).
//!
//! The tests themselves are in `suite` (one binary) and in `golden` (one trial per case).

pub mod assembler;
pub mod emulated;
pub mod filetest;
pub mod golden;
pub mod parallel;
pub mod random;
pub mod workspace;
