//! Transcendental functions, each defined once over the trait [`Emit`].
//!
//! Invariant: one definition gives the same bits on every target with a fused multiply-add, scalar or vector, compiled
//! by Rust or emitted for Cranelift. The bounds on the error stand in the tests.

mod double;
pub(crate) mod emit;
mod error_function;
mod exponential;
mod logarithm;
mod scalar;
#[cfg(test)]
mod tests;

pub(crate) use double::{erf as erf_f64, logsigmoid as logsigmoid_f64, sigmoid as sigmoid_f64};
pub(crate) use emit::Emit;
pub(crate) use error_function::erf;
pub(crate) use exponential::{exp, expm1, sigmoid, tanh};
pub(crate) use logarithm::{log, log1p, logsigmoid};
pub(crate) use scalar::{Fused, Scalars, Unfused};

/// The square root, which every target has as an instruction.
#[inline(always)]
pub(crate) fn sqrt<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    e.sqrt(x)
}
