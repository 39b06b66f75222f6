//! What the xLSTM paper (Beck et al., 2024) claims of its cells, on small tasks: each test trains models of the library
//! from fixed seeds and prints what they reach. And a claim of the compiler's own: that it chooses the fastest forms.
//!
//! The tests need half a minute each; the compiler's own correctness is tested elsewhere.

mod digits;
mod forms;
mod learner;
mod parity;
mod recall;
mod text;
