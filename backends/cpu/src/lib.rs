//! CPU target: Cranelift code and a tile runtime.
