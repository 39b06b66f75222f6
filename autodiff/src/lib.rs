//! Reverse-mode differentiation of IR functions.
