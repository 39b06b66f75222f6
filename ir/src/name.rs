//! Interned names. Comparison for equality is one word; order is that of the text, so that sorted output
//! never depends on the order in which names were first seen.

use std::fmt;
use ustr::Ustr;

/// An interned name: of a value, a function, a state, a size symbol.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name(Ustr);

impl Name {
    /// Interns `text`.
    pub fn new(text: &str) -> Name {
        Name(ustr::ustr(text))
    }

    /// The text.
    pub fn as_str(self) -> &'static str {
        self.0.as_str()
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name::new(text)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A named axis. Within one graph a name stands for one size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Axis(pub Name);

impl Axis {
    /// The axis called `text`.
    pub fn new(text: &str) -> Axis {
        Axis(Name::new(text))
    }

    /// Its name as text.
    pub fn as_str(self) -> &'static str {
        self.0.as_str()
    }
}

impl From<&str> for Axis {
    fn from(text: &str) -> Axis {
        Axis::new(text)
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
