//! What stabilisation found, loop by loop.

use crate::saturate::Stop;
use carousel_ir::{Axes, Span};
use std::collections::BTreeMap;
use std::fmt;

/// What became of a loop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Groups of its states are carried with a scale; nothing in it overflows where its outputs do not.
    Stabilized,
    /// Equal operations that cannot overflow were found; no scale is needed.
    Rewritten,
    /// It stays as it is, for this reason: it cannot overflow, or nothing that overflows accumulates.
    LeftAlone {
        /// Why.
        reason: String,
    },
    /// It can overflow, and no form that cannot was found.
    Refused {
        /// What is in the way.
        reason: String,
        /// The operation that is in the way.
        blocking: String,
    },
}

/// States that share a scale.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScaleGroup {
    /// The name of the scale among the loop's states.
    pub scale: String,
    /// The states.
    pub states: Vec<String>,
    /// The axes of the scale.
    pub axes: Axes,
    /// Its next value.
    pub update: String,
}

/// Something that can overflow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overflow {
    /// What is in the way of a scale.
    pub reason: String,
    /// The operation that is in the way.
    pub term: String,
    /// Where that stands in the source.
    pub span: Span,
}

/// What happened to one loop.
#[derive(Clone, PartialEq, Debug)]
pub struct ScanReport {
    /// The function, and the place of the loop in it.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Its scales.
    pub groups: Vec<ScaleGroup>,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// How many e-graphs were tried.
    pub attempts: usize,
    /// Terms in the largest of them.
    pub terms: usize,
    /// Why saturation ended; that of the first attempt that hit a limit, if any did.
    pub stop: Stop,
    /// How often two equal terms had facts that exclude each other; anything but 0 means that a rule is wrong.
    pub alarms: usize,
    /// How often each rule fired in the last attempt.
    pub fired: BTreeMap<String, usize>,
    /// Whether an equal loop came before: nothing was done again.
    pub again: bool,
    /// Where it stands in the source.
    pub place: Span,
    /// What can overflow in it, for which nothing was found.
    pub overflowing: Vec<Overflow>,
}

/// What happened to a module: one entry a loop, inner ones first.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct StableReport {
    /// The loops.
    pub scans: Vec<ScanReport>,
}

impl StableReport {
    /// The loops that can overflow, and for which nothing was found.
    pub fn refused(&self) -> impl Iterator<Item = &ScanReport> {
        self.scans.iter().filter(|s| matches!(s.outcome, Outcome::Refused { .. }))
    }

    /// The loops on which a limit was hit.
    pub fn limited(&self) -> impl Iterator<Item = &ScanReport> {
        self.scans.iter().filter(|s| s.stop != Stop::Saturated)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Stabilized => f.write_str("stabilised"),
            Outcome::Rewritten => f.write_str("rewritten without scales"),
            Outcome::LeftAlone { reason } => write!(f, "left alone: {reason}"),
            Outcome::Refused { reason, blocking } => write!(f, "refused: {reason}: `{blocking}`"),
        }
    }
}

impl fmt::Display for ScanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.outcome)?;
        for group in &self.groups {
            let states = group.states.join(", ");
            write!(
                f,
                "\n  {states} by exp({}[{}]), which becomes {}",
                group.scale, group.axes, group.update
            )?;
        }
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        if self.again {
            return write!(f, "\n  equal to a loop before");
        }
        if self.attempts > 0 {
            write!(f, "\n  {} attempts, at most {} terms, {}", self.attempts, self.terms, self.stop)?;
        }
        if self.alarms > 0 {
            write!(f, "; {} contradictions: a rule is wrong", self.alarms)?;
        }
        for (rule, count) in &self.fired {
            write!(f, "\n  {count:>5}  {rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for StableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scans.iter().try_for_each(|scan| writeln!(f, "{scan}"))
    }
}
