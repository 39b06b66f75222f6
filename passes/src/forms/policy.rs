//! Which form a linear scan takes.
//!
//! Invariant: a policy is asked once an operation, and may answer with any form: all of them compute the same, for
//! every length. It does not see the program around the operation.

use carousel_ir::{Axes, Line, OpKind, Size};

/// A way to compute a linear scan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Form {
    /// Step by step, with the state carried.
    Recurrent,
    /// All pairs of steps at once; work grows with the square of the length.
    Parallel,
    /// Chunks of that many steps: all pairs within a chunk, the state carried from chunk to chunk.
    Chunkwise(u64),
    /// Chunks of the first number of steps, each made of chunks of the second.
    TwoLevel(u64, u64),
}

/// A linear scan that a form is to be chosen for.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The scan itself, or its derivative by the decay.
    pub kind: OpKind,
    /// Its line.
    pub line: &'a Line,
    /// How many steps.
    pub length: &'a Size,
    /// Axes of the state that reading contracts.
    pub key: &'a Axes,
    /// Axes of the state that only the written vector has.
    pub written: &'a Axes,
    /// Elements of the state, of one place of the other axes.
    pub state: &'a Size,
}

/// Chooses forms.
pub trait ChooseForm {
    /// The form of one operation.
    fn choose(&self, site: Site<'_>) -> Form;
}

/// Every operation takes this form.
impl ChooseForm for Form {
    fn choose(&self, _: Site<'_>) -> Form {
        *self
    }
}

/// A choice by sizes alone: step by step where there is one step, where the decay is a vector's (so that pairs of steps
/// would save nothing) or where the state is small; all pairs for short sequences, else chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByLength {
    /// Steps of a chunk, and the longest sequence that is one chunk.
    pub chunk: u64,
    /// States with fewer elements are carried step by step: a chunk's products are then too small to pay.
    pub smallest_state: u64,
}

impl Default for ByLength {
    fn default() -> ByLength {
        ByLength { chunk: 64, smallest_state: 48 * 48 }
    }
}

impl ChooseForm for ByLength {
    fn choose(&self, site: Site<'_>) -> Form {
        match site.length.known() {
            _ if site.key.is_empty() && site.written.is_empty() => Form::Recurrent,
            _ if site.state.known().is_some_and(|n| n < self.smallest_state) => Form::Recurrent,
            Some(0 | 1) => Form::Recurrent,
            Some(n) if n <= self.chunk => Form::Parallel,
            Some(_) | None => Form::Chunkwise(self.chunk),
        }
    }
}
