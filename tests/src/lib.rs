//! What the tests of the workspace share: random graphs ([`random`]) and the golden vectors ([`golden`]).
//!
//! The tests themselves are in `suite` (one binary) and in `golden` (one trial per case).

pub mod golden;
pub mod random;
