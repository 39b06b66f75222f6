//! What all backends share: the [kernel IR](kernel), the lowering of graphs to it with fusion and schedule, the buffer
//! plan, the flat [`program`] that executables run, its [price](cost), and the [interface](backend) of backends.

pub mod backend;
mod bind;
pub mod cost;
mod display;
#[cfg(feature = "interpret")]
pub mod interpret;
pub mod kernel;
mod lower;
mod plan;
pub mod program;
pub mod resident;
mod target;
pub mod values;

pub use bind::{BindError, bind};
pub use lower::{lower, lower_stored};
pub use target::Target;
