//! The line of a linear scan: when a step reads, writes and decays.
//!
//! A linear scan goes along an axis and at every step writes into a state, reads from it and multiplies it by
//! e^l, or by 0 where it is cut. Invariant: the adjoint of a line is a line, so that the derivative of a linear scan
//! is made of linear scans. Nothing here computes.

use crate::{Axes, Axis, Direction, Name, Op};

/// Whether a step reads the state with its own write or without it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Read {
    /// With it.
    New,
    /// Without it.
    Old,
}

/// On which side of a step its edge lies, seen in the direction of the scan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Edge {
    /// Before it: the first step's edge lies between the initial state and the step.
    Before,
    /// After it: the last step's edge lies between the step and the final state.
    After,
}

impl Read {
    /// The word in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Read::New => "new",
            Read::Old => "old",
        }
    }

    /// The one with that word.
    pub fn parse(name: &str) -> Option<Read> {
        [Read::New, Read::Old].into_iter().find(|r| r.name() == name)
    }
}

impl Edge {
    /// The other side.
    pub fn flipped(self) -> Edge {
        match self {
            Edge::Before => Edge::After,
            Edge::After => Edge::Before,
        }
    }

    /// The word in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Edge::Before => "before",
            Edge::After => "after",
        }
    }

    /// The one with that word.
    pub fn parse(name: &str) -> Option<Edge> {
        [Edge::Before, Edge::After].into_iter().find(|e| e.name() == name)
    }
}

/// The attributes that linear scans share.
///
/// Reading new, the step's edge carries both the decay and the cut. Reading old, the edge carries the cut only, and
/// the decay lies between the read and the write:
///
/// | edge, read | one step |
/// |---|---|
/// | before, new | decay and cut; write; read |
/// | after, new | write; read; decay and cut |
/// | before, old | cut; read; decay; write |
/// | after, old | read; decay; write; cut |
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Line {
    /// Along which axis.
    pub axis: Axis,
    /// From which end.
    pub direction: Direction,
    /// Where the edge of a step lies.
    pub edge: Edge,
    /// What a step reads.
    pub read: Read,
}

impl Line {
    /// The line of an operation that has one.
    pub fn of(op: &Op) -> Option<Line> {
        if let Op::LinRead { axis, direction, edge, read, key: _ }
        | Op::LinReadDecay { axis, direction, edge, read, key: _ } = op
        {
            Some(Line { axis: *axis, direction: *direction, edge: *edge, read: *read })
        } else if let Op::LinSolve { axis, direction, edge, key: _, rank: _ } = op {
            Some(Line { axis: *axis, direction: *direction, edge: *edge, read: Read::Old })
        } else {
            None
        }
    }

    /// The same line from its other end.
    pub fn adjoint(&self) -> Line {
        Line { direction: self.direction.flipped(), edge: self.edge.flipped(), ..self.clone() }
    }

    /// The line whose steps read the state that they are about to decay. Where the whole edge comes before the step, that
    /// is after the cut.
    pub fn decayed(&self) -> Line {
        let read = match self.edge {
            Edge::Before => Read::Old,
            Edge::After => self.read,
        };
        Line { read, ..self.clone() }
    }

    /// The linear scan along this line that contracts `key` when it reads.
    pub fn linread(&self, key: Axes) -> Op {
        let Line { axis, direction, edge, read } = *self;
        Op::LinRead { axis, direction, edge, read, key }
    }

    /// The linear scan along this line that reads itself by `key` and writes along `rank`. A step reads before it writes,
    /// whatever the line says.
    pub fn linsolve(&self, key: Axes, rank: Axes) -> Op {
        Op::LinSolve { axis: self.axis, direction: self.direction, edge: self.edge, key, rank }
    }

    /// Its derivative by the logarithm of the decay.
    pub fn decay_gradient(&self, key: Axes) -> Op {
        let Line { axis, direction, edge, read } = *self;
        Op::LinReadDecay { axis, direction, edge, read, key }
    }
}

impl crate::Attributes for Read {
    fn pack(&self) -> crate::Attribute {
        crate::Attribute::Name(Name::new(self.name()))
    }

    fn unpack(attribute: &crate::Attribute) -> Option<Read> {
        if let crate::Attribute::Name(name) = attribute { Read::parse(name.as_str()) } else { None }
    }
}

impl crate::Attributes for Edge {
    fn pack(&self) -> crate::Attribute {
        crate::Attribute::Name(Name::new(self.name()))
    }

    fn unpack(attribute: &crate::Attribute) -> Option<Edge> {
        if let crate::Attribute::Name(name) = attribute { Edge::parse(name.as_str()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_adjoint_of_its_adjoint_and_survives_packing() {
        let line =
            Line { axis: "s".into(), direction: Direction::Forward, edge: Edge::Before, read: Read::Old };
        assert_ne!(line.adjoint(), line);
        assert_eq!(line.adjoint().adjoint(), line);
        for op in [line.linread(Axes::none()), line.decay_gradient(Axes::new(["k".into()]))] {
            assert_eq!(op.kind().with_attributes(&op.attributes()), Some(op.clone()));
            assert_eq!(Line::of(&op), Some(line.clone()));
        }
    }
}
