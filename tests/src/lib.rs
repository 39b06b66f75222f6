//! What the tests of the workspace share: file tests ([`filetest`]), random graphs ([`random`]) and the golden vectors ([`golden`]).
//!
//! The tests themselves are in `suite` (one binary) and in `golden` (one trial per case).

pub mod filetest;
pub mod golden;
pub mod random;
pub mod workspace;
