//! The suite: what holds for every random graph and across crates.

mod documents;
mod expected;
mod gradients;
mod layering;
mod machine_code;
mod random;
mod rewriting;
mod text;
