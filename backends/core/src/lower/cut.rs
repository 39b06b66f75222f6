//! Axes that others cut into pieces: the steps of a sequence by its chunks.
//!
//! Where a graph splits an axis into an outer and an inner one, index `i` of the axis lies in piece `i / length`. A
//! kernel whose grid runs over the pieces can compute what runs over the whole axis, too: each point has a tile of it.
//! Found from splits, merges and the padding around them; names mean nothing.

use carousel_ir::{Axis, Graph, Op, Size};

/// An axis and the axis that counts its pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    /// What is cut.
    pub(crate) long: Axis,
    /// Which piece.
    pub(crate) piece: Axis,
    /// Elements of a piece; the last one may have fewer.
    pub(crate) length: u64,
}

/// All cuts of a graph.
pub(crate) fn cuts(graph: &Graph) -> Vec<Cut> {
    let mut found: Vec<Cut> = Vec::new();
    let mut note = |cut: Cut| {
        if !found.contains(&cut) {
            found.push(cut);
        }
    };
    for node in &graph.nodes {
        if let Op::Split { axis, into: parts } | Op::Merge { axes: parts, into: axis } = &node.op
            && let [piece, inner] = parts.as_slice()
            && let Some(length) = graph.axes.size(*inner).known()
        {
            note(Cut { long: *axis, piece: *piece, length });
        }
    }
    // What is filled up to whole pieces is cut at the same places.
    for node in &graph.nodes {
        let Op::Pad { axis: short, to: long, before: Size::Known(0) } = &node.op else { continue };
        let whole = found.iter().find(|c| c.long == *long).copied();
        if let Some(cut) = whole {
            let pieces = graph.axes.size(*short).clone().ceil_div(Size::Known(cut.length));
            let cut = Cut { long: *short, ..cut };
            if pieces == *graph.axes.size(cut.piece) && !found.contains(&cut) {
                found.push(cut);
            }
        }
    }
    found
}

/// The cut of one of these axes, if there is one.
pub(crate) fn of(cuts: &[Cut], axes: &[Axis]) -> Option<Cut> {
    cuts.iter().find(|c| axes.contains(&c.long)).copied()
}

/// The axes with what is cut replaced by its pieces.
pub(crate) fn through(cuts: &[Cut], axes: &[Axis]) -> Vec<Axis> {
    axes.iter().map(|a| cuts.iter().find(|c| c.long == *a).map_or(*a, |c| c.piece)).collect()
}
