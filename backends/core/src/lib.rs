//! What all backends share: the [kernel IR](kernel), the lowering of graphs to it with fusion and schedule, the buffer
//! plan, and the flat [`program`] that executables run.

pub mod kernel;
pub mod program;
