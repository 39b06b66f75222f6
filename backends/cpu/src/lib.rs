//! CPU target: Cranelift code and a tile runtime.

#[cfg_attr(not(test), expect(dead_code, reason = "its caller is the code generator"))]
mod runtime;
