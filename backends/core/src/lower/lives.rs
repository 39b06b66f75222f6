//! From which statement to which the buffers of a kernel are needed, so that some may share memory.
//!
//! Statements are counted in the order of the text. What a turn of a loop makes and uses for itself has its place within the
//! turn; what it finds from the turn before, or hands out of the loop, is needed throughout the loop.

use crate::kernel::{BufferId, Statement};
use crate::plan::Lifetime;
use std::collections::{BTreeMap, BTreeSet};

/// The lives of all buffers of a body.
pub(crate) fn lives(body: &[Statement]) -> BTreeMap<BufferId, Lifetime> {
    let mut level = Level::default();
    level.add(body, 0);
    level.lives
}

/// The statements of one body.
#[derive(Default)]
struct Level {
    lives: BTreeMap<BufferId, Lifetime>,
    /// What is read before it is written.
    found: BTreeSet<BufferId>,
    /// The loops so far: what is needed after one may be made by all of its turns.
    loops: Vec<Lifetime>,
}

impl Level {
    /// Adds statements that begin with number `at`, and returns the number after the last one.
    fn add(&mut self, body: &[Statement], mut at: usize) -> usize {
        for statement in body {
            let Statement::Loop { body, .. } = statement else {
                statement.visit_reads(&mut |buffer| self.read(buffer));
                let here = Lifetime { first: at, last: at };
                statement.visit_reads(&mut |buffer| self.see(buffer, here));
                statement.visit_writes(&mut |buffer| self.see(buffer, here));
                at += 1;
                continue;
            };
            let mut turn = Level::default();
            let end = turn.add(body, at).max(at + 1);
            let whole = Lifetime { first: at, last: end - 1 };
            for (buffer, life) in turn.lives {
                let is_carried = turn.found.contains(&buffer);
                if is_carried {
                    self.read(buffer);
                }
                let is_older = self.lives.contains_key(&buffer);
                self.see(buffer, if is_carried || is_older { whole } else { life });
            }
            self.loops.push(whole);
            at = end;
        }
        at
    }

    fn read(&mut self, buffer: BufferId) {
        if !self.lives.contains_key(&buffer) {
            self.found.insert(buffer);
        }
    }

    fn see(&mut self, buffer: BufferId, here: Lifetime) {
        let life = self.lives.entry(buffer).or_insert(here);
        if let Some(made) = self.loops.iter().find(|l| (l.first..=l.last).contains(&life.first)) {
            life.first = made.first;
        }
        life.last = life.last.max(here.last);
    }
}
