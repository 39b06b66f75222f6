//! The tile runtime: what generated code calls on tiles that lie in cache.
//!
//! Invariant: plain `extern "C"` functions on raw pointers, which never panic and never keep a pointer; the instruction
//! set is chosen once per process, and what they compute depends on their arguments alone. It knows nothing of the IR or
//! the kernel IR: names and addresses, [`symbols::symbols`], are all that the code generator takes from here, besides the
//! definitions in [`math`], which it can also emit in line.

mod cumulative;
pub(crate) mod isa;
#[expect(clippy::needless_range_loop, reason = "iterators may not be inlined under a target feature")]
pub(crate) mod limits;
mod maps;
pub(crate) mod math;
mod matrix;
mod philox;
mod prefetch;
mod reductions;
mod simd;
pub(crate) mod symbols;
#[cfg(test)]
mod test_numbers;
