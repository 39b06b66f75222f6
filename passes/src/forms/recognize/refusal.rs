//! Why a loop, or a state of it, is no linear scan.

use carousel_ir::Name;
use std::fmt;

/// The class of a recurrence that has no other forms here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// The state is contracted in its own update, and not by one vector.
    Contracted,
    /// The state goes through something nonlinear on its way into its own update.
    Nonlinear,
    /// Several states go into each other's updates.
    Coupled,
    /// The decay is not known to be positive, or not known to be at most 1.
    Unbounded,
    /// Something that is not looked into.
    Other,
}

/// Why it was left as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The state that it is about, if it is about one.
    pub state: Option<Name>,
    /// What kind of recurrence it is instead.
    pub class: Class,
    /// One sentence.
    pub reason: String,
}

impl Class {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Class::Contracted => "contracted",
            Class::Nonlinear => "nonlinear",
            Class::Coupled => "coupled",
            Class::Unbounded => "unbounded decay",
            Class::Other => "other",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(state) = self.state {
            write!(f, "`{state}`: ")?;
        }
        write!(f, "{} ({})", self.reason, self.class.name())
    }
}
