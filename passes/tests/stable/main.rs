//! Stabilisation: what is derived for known recurrences, and that it computes the same without overflow.

mod cells;
mod derivation;
mod memory;
mod numbers;
mod support;
