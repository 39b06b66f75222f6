//! Which form a linear scan takes, and how forms are named.
//!
//! Invariant: a policy is asked once an operation, and may answer with any form: all of them compute the same, for
//! every length.

use carousel_ir::{Axes, Line, Name, OpKind, Size};
use std::fmt;
use std::str::FromStr;

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
    /// Chunks of that many steps: step by step within all chunks at once, the state carried from chunk to chunk.
    Associative(u64),
}

/// The forms as users name them: `recurrent`, `parallel`, `chunkwise:64`, `chunkwise:64:16`, `associative:64`.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Recurrent => f.write_str("recurrent"),
            Form::Parallel => f.write_str("parallel"),
            Form::Chunkwise(steps) => write!(f, "chunkwise:{steps}"),
            Form::TwoLevel(outer, inner) => write!(f, "chunkwise:{outer}:{inner}"),
            Form::Associative(steps) => write!(f, "associative:{steps}"),
        }
    }
}

/// Which forms are admitted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Wanted {
    /// All of them: the cheapest one is taken.
    #[default]
    Any,
    /// Chunks of any number of steps.
    AnyChunks,
    /// This one.
    Only(Form),
}

/// As users name them: `auto`, `recurrent`, `parallel`, `chunkwise`, `chunkwise:64`, `chunkwise:64:16`, `associative:64`.
impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        let (name, steps) = match text.split_once(':') {
            Some((name, steps)) => (name, Some(steps)),
            None => (text, None),
        };
        match (name, steps) {
            ("auto", None) => Ok(Wanted::Any),
            ("recurrent", None) => Ok(Wanted::Only(Form::Recurrent)),
            ("parallel", None) => Ok(Wanted::Only(Form::Parallel)),
            ("chunkwise", None) => Ok(Wanted::AnyChunks),
            ("chunkwise", Some(levels)) => {
                let steps: Vec<u64> = levels.split(':').filter_map(|n| n.parse().ok()).collect();
                let is_length = |n: &u64| (1..=LONGEST_CHUNK).contains(n);
                match *steps.as_slice() {
                    [steps] if levels == steps.to_string() && is_length(&steps) => {
                        Ok(Wanted::Only(Form::Chunkwise(steps)))
                    }
                    [outer, inner]
                        if levels == format!("{outer}:{inner}") && is_length(&outer) && is_length(&inner) =>
                    {
                        Ok(Wanted::Only(Form::TwoLevel(outer, inner)))
                    }
                    _ => Err(format!(
                        "a chunk has 1 to {LONGEST_CHUNK} steps, as in `chunkwise:64`, or `chunkwise:64:16` with chunks \
                         in chunks, not `{levels}`"
                    )),
                }
            }
            ("associative", Some(length)) => match length.parse() {
                Ok(steps) if length == format!("{steps}") && (1..=LONGEST_CHUNK).contains(&steps) => {
                    Ok(Wanted::Only(Form::Associative(steps)))
                }
                Ok(_) | Err(_) => {
                    Err(format!("a chunk has 1 to {LONGEST_CHUNK} steps, as in `associative:64`, not `{length}`"))
                }
            },
            ("auto" | "recurrent" | "parallel", Some(_)) => {
                Err(format!("`{name}` has no chunks; `chunkwise:L` and `associative:L` take a number of steps"))
            }
            _ => Err("expected auto, recurrent, parallel, chunkwise, or chunkwise:L or associative:L (L steps a chunk)"
                .to_string()),
        }
    }
}

/// More steps than any chunk needs to have.
const LONGEST_CHUNK: u64 = 1 << 20;

/// A linear scan that a form is to be chosen for.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The function that it is in.
    pub function: Name,
    /// The how-manieth linear scan of that function it is, counted from 0 in the order of nodes, those in the body of a
    /// loop at the loop's place.
    pub number: usize,
    /// The scan itself, its derivative by the decay, or what solves one that reads itself.
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
