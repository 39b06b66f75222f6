//! Forms of linear scans.
//!
//! [`recognize`] finds, in the loops of a program, the states that are linear scans, and makes `linread` operations of
//! them; [`expand`] gives each such operation one of its forms, chosen by a [`ChooseForm`] policy. Differentiation
//! stands between the two: the derivative of a linear scan is made of linear scans.
//!
//! Map: `policy` says which form, `expand` rewrites modules, `recurrent` and `chunked` are the forms, `weights` what
//! a chunk's steps have of each other.

mod classify;
mod derive;
mod expand;
pub(crate) mod functions;
mod policy;
mod recognize;
mod recurrent;
mod weights;

pub use classify::{Recurrence, recurrence};
pub use expand::{Expanded, expand};
pub use policy::{ByLength, ChooseForm, Form, Site};
pub use recognize::{Class, Recognition, Refusal, Stratum, recognize};
