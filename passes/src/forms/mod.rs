//! Forms of linear scans.
//!
//! [`recognize`] finds, in the loops of a program, the states that are linear scans, and makes `linread` operations of
//! them; [`expand`] gives each such operation one of its forms, chosen by a [`ChooseForm`] policy. Differentiation
//! stands between the two: the derivative of a linear scan is made of linear scans. [`choose`] finds the policy whose
//! program is the cheapest.
//!
//! Map: `policy` names the forms, `search` chooses among them and `report` says why; `derive` derives them by the rules of
//! `forms.rules`, which call `functions`; `expand` puts them into the program. `recurrent` is the definition as a loop,
//! `weights` what steps have of each other.

mod classify;
pub(crate) mod derive;
mod expand;
pub(crate) mod functions;
mod policy;
mod recognize;
mod recurrent;
mod report;
mod search;
mod sites;
mod weights;

pub use classify::Recurrence;
pub use expand::{Expanded, expand, expand_traced, expand_with};
pub use policy::{ChooseForm, Form, Site, Wanted};
pub use recognize::{Class, Recognition, Refusal, Stratum, recognize};
pub use report::{Candidate, FormReport, GroupReport, MemoryShare, Outcome, ProgramMemory, SiteReport};
pub use search::{
    Certainty, Chosen, Expected, Held, Price, PriceForms, SearchOptions, choose, expand_cheapest,
};
