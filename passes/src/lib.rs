//! Rewrites over the IR: canonical form by equality saturation, common subexpressions, dead code.
