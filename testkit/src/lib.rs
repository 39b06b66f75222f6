//! A test kit for recurrent cells: in a few lines a test takes an `.xl` text and checks what the compiler makes of it.
//!
//! ```
//! use carousel_testkit::{Cell, Cost, Way};
//!
//! // An exponential moving average whose rate is learned.
//! let text = "
//!     fn average(x: [s, d], rate: [d]) -> (y: [s, d]) {
//!       scan s {
//!         state c: [d] = 0
//!         c' = sigmoid(rate) * c + sigmoid(-rate) * x
//!         yield y = c'
//!       }
//!     }";
//! let cell = Cell::from_text(text, "average").over(["x"], "b").sizes([("b", 2), ("d", 3)]);
//! let cell = cell.lengths("s", [1, 20]).gates(["rate"]);
//! cell.check_forms()?; // every form is the equations: values and gradients, in f64 and f32
//! cell.check_gates()?; // and stays finite and right where gates are extreme
//!
//! let report = cell.sizes([("s", 20)]).report(Way::Recurrent)?;
//! assert!(report.kernels.starts_with("kernel 0"));
//! report.costs.at_most(Cost::Launches, 10).at_most(Cost::ArenaBytes, 64 << 10).check()?;
//! # Ok::<(), carousel_testkit::Error>(())
//! ```
//!
//! `docs/testkit.md` explains a longer example. Nothing is compared with what the compiler derived: the law is the text itself,
//! differentiated as it stands and evaluated step by step in numbers that cannot overflow.
//!
//! Map: [`Cell`] is a cell under test, [`Report`] what is made of it, [`Costs`] and their bounds what it costs, [`Error`] what is wrong.
//! The modules are what these are made of, for tests that want more: [`recurrence`] derives and compares, [`gates`] has the extreme
//! patterns, [`data`] draws inputs, [`machine`] runs machine code, `device` (feature `cuda`) kernels on a CUDA device, `assembler`
//! looks at what `ptxas` makes of them.
//!
//! Deliberately absent: snapshots' files and timing. Texts are strings, for insta or whatever a project uses; costs are counted.

#[cfg(feature = "cuda")]
pub mod assembler;
mod cell;
mod cost;
pub mod data;
#[cfg(feature = "cuda")]
pub mod device;
mod error;
mod formed;
pub mod gates;
pub mod machine;
mod nearness;
pub mod recurrence;
mod report;
pub mod text;
mod way;

pub use cell::Cell;
pub use cost::{Bounds, Cost, Costs, Exceeded};
pub use error::{Error, sentences};
pub use formed::Formed;
pub use gates::Gates;
pub use nearness::{Computed, Errors, Mismatch, Tolerance, distance};
pub use report::Report;
pub use way::Way;
