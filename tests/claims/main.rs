//! What the xLSTM paper (Beck et al., 2024) claims of its cells, on small tasks: each test trains models of the library
//! from fixed seeds and prints what they reach.
//!
//! The tests need half a minute each; the compiler's own correctness is tested elsewhere.

mod learner;
mod parity;
mod recall;
mod text;
