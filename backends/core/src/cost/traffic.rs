//! How many bytes the statements of a kernel move, and from which level of memory.
//!
//! What a statement touches was last touched in the previous turn of the innermost loop around it that its address does
//! not depend on; it comes from the level that holds everything that a turn of that loop touches. What no loop repeats
//! comes from the level that holds everything the kernel touches. Elements that lie apart bring whole lines with them,
//! which the next turn of a loop along neighbouring elements finds, if they are still there.

use super::profile::{Level, Profile};
use crate::kernel::{Atom, BufferId, Dim, Linear, Var};
use std::collections::HashMap;

/// A loop around statements.
struct Scope {
    var: Var,
    count: f64,
    parent: Option<usize>,
}

/// A place of a loop in [`Scopes`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ScopeId(usize);

/// What one run of a statement touches of a buffer.
struct Access {
    buffer: BufferId,
    /// The innermost loop around the statement.
    scope: Option<usize>,
    touched: Touched,
    /// The loops around that its address depends on.
    depends: Vec<usize>,
    /// Those of them along which elements follow each other.
    follows: Vec<usize>,
    statement: usize,
}

/// What a run of a statement touches.
#[derive(Clone, Copy)]
pub(super) struct Touched {
    /// Bytes of elements.
    pub(super) bytes: f64,
    /// Bytes of the lines that they lie in.
    pub(super) lines: f64,
}

/// Loops and what is touched in them.
#[derive(Default)]
pub(super) struct Traffic {
    scopes: Vec<Scope>,
    accesses: Vec<Access>,
}

impl Traffic {
    /// A loop inside of another one.
    pub(super) fn open(&mut self, parent: Option<ScopeId>, var: Var, count: f64) -> ScopeId {
        self.scopes.push(Scope { var, count, parent: parent.map(|p| p.0) });
        ScopeId(self.scopes.len() - 1)
    }

    /// Each run of statement number `statement` touches so much at `index`.
    pub(super) fn touch(
        &mut self,
        scope: Option<ScopeId>,
        statement: usize,
        buffer: BufferId,
        index: &Linear,
        touched: Touched,
    ) {
        let scope = scope.map(|s| s.0);
        let depends = self.path(scope).filter(|s| depends_on(index, self.scopes[*s].var)).collect();
        let follows = self.path(scope).filter(|s| follows(index, self.scopes[*s].var)).collect();
        self.accesses.push(Access { buffer, scope, touched, depends, follows, statement });
    }

    /// A loop and those around it, from the inside.
    fn path(&self, innermost: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(innermost, |at| self.scopes[*at].parent)
    }

    /// Bytes that one turn of a loop touches, or all of the kernel.
    fn working_set(&self, of: Option<usize>) -> f64 {
        let mut buffers: HashMap<BufferId, f64> = HashMap::new();
        for access in &self.accesses {
            let inside: Vec<usize> = self.path(access.scope).take_while(|s| Some(*s) != of).collect();
            let is_inside = of.is_none() || self.path(access.scope).any(|s| Some(s) == of);
            if !is_inside {
                continue;
            }
            let count = |at: &usize| self.scopes[*at].count;
            let turns: f64 = inside.iter().filter(|s| access.depends.contains(s)).map(count).product();
            let neighbours: f64 = inside.iter().filter(|s| access.follows.contains(s)).map(count).product();
            let Touched { bytes, lines } = access.touched;
            let bytes = turns * (lines / neighbours).max(bytes);
            let most = buffers.entry(access.buffer).or_default();
            *most = most.max(bytes);
        }
        buffers.values().sum()
    }

    /// The seconds that each run of each statement spends on moving bytes.
    pub(super) fn seconds(&self, statements: usize, profile: &Profile) -> Vec<f64> {
        let mut sets: HashMap<Option<usize>, f64> = HashMap::new();
        let mut seconds = vec![0.0; statements];
        for access in &self.accesses {
            let mut level = |scope| {
                let set = *sets.entry(scope).or_insert_with(|| self.working_set(scope));
                level(profile, set)
            };
            let repeating: Vec<usize> =
                self.path(access.scope).filter(|s| self.scopes[*s].count > 1.0).collect();
            let repeats = repeating.iter().copied().find(|s| !access.depends.contains(s));
            let Touched { bytes, lines } = access.touched;
            let own = level(repeats).map_or(0.0, |l| bytes / l.rate);
            let apart = if lines > 2.0 * bytes {
                let found = |s: &usize| !access.depends.contains(s) || access.follows.contains(s);
                let neighbour = repeating.iter().copied().find(found);
                level(neighbour).map_or(0.0, |l| lines / l.scattered)
            } else {
                0.0
            };
            seconds[access.statement] += own.max(apart);
        }
        seconds
    }
}

/// Bytes of a line of a cache.
pub(super) const LINE: f64 = 64.0;

/// The level that a working set of that many bytes is touched in; `None` for the first one, which limits nothing.
fn level(profile: &Profile, bytes: f64) -> Option<Level> {
    let at = profile.memory.iter().position(|l| l.bytes.is_none_or(|holds| bytes <= holds));
    at.filter(|at| *at > 0).map(|at| profile.memory[at])
}

/// Whether elements follow each other along a variable.
fn follows(linear: &Linear, var: Var) -> bool {
    let is_step =
        |t: &crate::kernel::Term| t.coefficient == 1 && t.dim == Dim::Known(1) && t.atom == Atom::Var(var);
    linear.terms.iter().any(is_step)
}

/// Whether an offset changes with a variable. Integers from data are taken to change with everything.
fn depends_on(linear: &Linear, var: Var) -> bool {
    linear.terms.iter().any(|term| match &term.atom {
        Atom::One => false,
        Atom::Var(v) => *v == var,
        Atom::Quotient(inner, _) | Atom::Remainder(inner, _) => depends_on(inner, var),
        Atom::Data { .. } => true,
    })
}
