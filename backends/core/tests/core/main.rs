//! Lowering, binding and prices, against the reference evaluator and the interpreter of kernels.

mod cells;
mod cost;
mod forms;
mod pieces;
mod program;
mod random;
mod support;
mod sweeps;
mod triangles;
