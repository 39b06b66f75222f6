//! Lowering, binding and prices, against the reference evaluator and the interpreter of kernels.

mod cells;
mod cost;
mod forms;
mod graphs;
mod pieces;
mod program;
mod support;
mod sweeps;
mod triangles;
