//! What was chosen for the linear scans of a program, what each alternative would have cost, and why it was turned down.

use super::policy::Form;
use super::search::{Certainty, Expected, Price};
use carousel_ir::{Axes, Axis, Line, Name};
use std::collections::BTreeSet;
use std::fmt;

/// The choices for all functions of a program.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FormReport {
    /// One for each group of linear scans, in the order of functions.
    pub groups: Vec<GroupReport>,
    /// How many candidates were lowered and priced; functions that are equal are searched once.
    pub priced: usize,
    /// What each root is planned to take, if memory is limited.
    pub memory: Vec<ProgramMemory>,
    /// Limits of the derivation that were hit, of whatever candidate: more might have been found.
    pub limits: BTreeSet<String>,
}

/// What a program is planned to take beside its inputs and outputs, in the forms that were chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramMemory {
    /// Its root.
    pub root: Name,
    /// Bytes of the plan.
    pub bytes: u64,
    /// What it may take.
    pub limit: u64,
}

/// What a function may take of a program's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryShare {
    /// What the program may take.
    pub limit: u64,
    /// What the function's callers hold while it runs, at most.
    pub held: u64,
}

impl MemoryShare {
    /// What is left for the function.
    pub fn left(self) -> u64 {
        self.limit.saturating_sub(self.held)
    }
}

/// The choice for linear scans that share their decay and their cuts.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupReport {
    /// The function that they are in.
    pub function: Name,
    /// Along which axis they go.
    pub axis: Axis,
    /// How many steps they have, as a size expression.
    pub length: String,
    /// What that was taken for.
    pub expected: Expected,
    /// Elements of the largest state, as a size expression.
    pub state: String,
    /// The operations.
    pub sites: Vec<SiteReport>,
    /// What was considered, in a fixed order.
    pub candidates: Vec<Candidate>,
    /// What was taken.
    pub chosen: Form,
    /// The rules that it was derived by, each of them once; none is needed step by step.
    pub rules: Vec<String>,
    /// The limit of memory that no candidate keeps, if that is so.
    pub over_limit: Option<MemoryShare>,
}

/// One linear scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteReport {
    /// `linread` or its derivative by the decay.
    pub operation: &'static str,
    /// Its line.
    pub line: Line,
    /// Axes of the state that reading contracts.
    pub key: Axes,
    /// Axes of the state that only the written vector has.
    pub written: Axes,
}

/// A form that was considered.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// Which.
    pub form: Form,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a candidate.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It was taken.
    Chosen(Price),
    /// Another one is cheaper.
    Slower(Price),
    /// It needs more memory than it may.
    OverLimit(Price),
    /// It was not lowered, for this reason.
    Excluded(String),
    /// It could not be priced, for this reason.
    Unpriced(String),
}

impl FormReport {
    /// The forms that were taken, each once: `recurrent`, or `chunkwise:64, recurrent`.
    pub fn summary(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for group in &self.groups {
            let name = group.chosen.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }

    /// Choices that exceed the limit of memory because every candidate does, for people.
    pub fn warnings(&self) -> Vec<String> {
        let of = |g: &GroupReport| {
            let share = g.over_limit?;
            let price = g.candidates.iter().find_map(|c| match &c.outcome {
                Outcome::Chosen(price) => Some(price),
                Outcome::Slower(_) | Outcome::OverLimit(_) | Outcome::Excluded(_) | Outcome::Unpriced(_) => {
                    None
                }
            })?;
            let held = match share.held {
                0 => String::new(),
                held => format!(", of which callers hold {}", bytes(held)),
            };
            Some(format!(
                "`{}`: no form of the linear scans along `{}` keeps the limit of {}{held}; the smallest one, {}, is \
                 planned to take {} for a length of {}",
                g.function,
                g.axis,
                bytes(share.limit),
                g.chosen,
                bytes(price.bytes),
                g.expected.length
            ))
        };
        let of_program = |m: &ProgramMemory| {
            format!(
                "`{}` is planned to take {} beside its inputs and outputs, more than the limit of {}",
                m.root,
                bytes(m.bytes),
                bytes(m.limit)
            )
        };
        let exceeding = self.memory.iter().filter(|m| m.bytes > m.limit).map(of_program);
        self.groups.iter().filter_map(of).chain(exceeding).collect()
    }
}

/// Bytes for people.
fn bytes(n: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let (mut x, mut unit) = (n as f64, 0);
    while x >= 1024.0 && unit + 1 < units.len() {
        x /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} bytes") } else { format!("{x:.1} {}", units[unit]) }
}

/// Seconds for people.
fn seconds(s: f64) -> String {
    if s < 1e-3 {
        format!("{:.1} us", s * 1e6)
    } else if s < 1.0 {
        format!("{:.2} ms", s * 1e3)
    } else {
        format!("{s:.2} s")
    }
}

impl fmt::Display for FormReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.groups.iter().try_for_each(|group| write!(f, "{group}"))?;
        self.memory.iter().try_for_each(|m| {
            writeln!(f, "{}: planned to take {} of {}", m.root, bytes(m.bytes), bytes(m.limit))
        })
    }
}

impl fmt::Display for GroupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = match self.expected.certainty {
            Certainty::Known => String::new(),
            Certainty::Said => format!(", taken as {}", self.expected.length),
            Certainty::Guessed => format!(", guessed to be {}", self.expected.length),
        };
        writeln!(
            f,
            "{}: {} linear scans along {} (length {}{taken}; state of {} elements): {}",
            self.function,
            self.sites.len(),
            self.axis,
            self.length,
            self.state,
            self.chosen
        )?;
        for Candidate { form, outcome } in &self.candidates {
            let form = form.to_string();
            match outcome {
                Outcome::Chosen(p) => {
                    writeln!(f, "  {form:<14} {:>10} {:>10}  chosen", seconds(p.seconds), bytes(p.bytes))?
                }
                Outcome::Slower(p) => {
                    writeln!(f, "  {form:<14} {:>10} {:>10}", seconds(p.seconds), bytes(p.bytes))?
                }
                Outcome::OverLimit(p) => writeln!(
                    f,
                    "  {form:<14} {:>10} {:>10}  turned down: more than the limit of memory",
                    seconds(p.seconds),
                    bytes(p.bytes)
                )?,
                Outcome::Excluded(reason) => writeln!(f, "  {form:<14} turned down: {reason}")?,
                Outcome::Unpriced(reason) => writeln!(f, "  {form:<14} has no price: {reason}")?,
            }
        }
        if !self.rules.is_empty() {
            writeln!(f, "  by {}", self.rules.join(", "))?;
        }
        Ok(())
    }
}
