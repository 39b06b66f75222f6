//! The suite: what holds for every random graph and across crates.

mod cells;
mod choices;
mod derivation;
mod documents;
mod executable;
mod expected;
mod gradients;
mod kernels;
mod layering;
mod machine_code;
mod packing;
mod random;
mod recurrences;
mod rewriting;
mod text;
