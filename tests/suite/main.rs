//! The suite: what holds for every random graph and across crates.

mod documents;
mod gradients;
mod layering;
mod random;
mod rewriting;
mod text;
