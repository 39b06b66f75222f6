//! Why a check does not pass, in words for the author of the cell.
//!
//! Invariant: a list goes through all forms and inputs, it does not end with the first thing that is wrong.

use crate::cost::Exceeded;
use crate::nearness::Mismatch;
use carousel_ir::Diagnostic;
use std::fmt::{self, Display};

/// Why a check does not pass. `Debug` prints the same sentences as `Display`, because that is what a test prints that
/// returns an error.
#[derive(Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The text is no program, or has no gradient: every diagnostic, with its place.
    #[error("{0}")]
    Text(String),
    /// The test asks for something that the cell does not have, or leaves something out.
    #[error("{0}")]
    Setup(String),
    /// A stage of the compiler, the reference or a target gave up.
    #[error("{0}")]
    Failed(String),
    /// Results that are not what the equations say.
    #[error("{}", lines(.0))]
    Wrong(Vec<Mismatch>),
    /// What the emulated device found, a line each.
    #[error("{0}")]
    Findings(String),
    /// Costs that are above their bounds.
    #[error("{}", lines(.0))]
    Costs(Vec<Exceeded>),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Error {
    /// Nothing, if nothing is wrong.
    ///
    /// # Errors
    /// [`Error::Wrong`].
    pub fn unless_right(wrong: Vec<Mismatch>) -> Result<(), Error> {
        if wrong.is_empty() { Ok(()) } else { Err(Error::Wrong(wrong)) }
    }

    /// What a stage says.
    pub(crate) fn failed(why: impl Display) -> Error {
        Error::Failed(why.to_string())
    }
}

fn lines<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join("\n")
}

/// Diagnostics, one after the other.
pub fn sentences(problems: &[Diagnostic]) -> String {
    lines(problems)
}
