//! Numbers that settle choices, in order. When they run out every choice is the first one, the simplest.

use carousel_ir::Axis;

/// Choices that a list of numbers settles.
#[derive(Debug)]
pub struct Choices<'a> {
    rest: std::slice::Iter<'a, u32>,
}

impl<'a> Choices<'a> {
    /// From these numbers.
    pub fn new(numbers: &'a [u32]) -> Choices<'a> {
        Choices { rest: numbers.iter() }
    }

    /// Whether there are any left.
    pub(super) fn remain(&self) -> bool {
        self.rest.len() > 0
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.rest.next().map_or(0, |&n| n as usize % bound)
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of them.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Some of the axes, in their order or backwards.
    pub(super) fn subset(&mut self, of: &[Axis]) -> Vec<Axis> {
        let bits = self.below(1 << (of.len() + 1));
        let chosen = of.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, a)| *a);
        if bits >> of.len() == 1 { chosen.rev().collect() } else { chosen.collect() }
    }

    /// At least one of the axes, of which there is one.
    pub(super) fn some(&mut self, of: &[Axis]) -> Vec<Axis> {
        let chosen = self.subset(of);
        if chosen.is_empty() { vec![of[0]] } else { chosen }
    }
}
