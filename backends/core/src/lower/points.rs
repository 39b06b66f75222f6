//! Memory in the order of the points that fill it.
//!
//! A layout is chosen before it is known which values share a kernel. What the points of a group make for other kernels is
//! laid out anew here, the axes of the grid outermost: each point then has its part in one piece. Rows of a tile that lie
//! a power of two apart fall into few sets of the cache, and push each other out.
//!
//! Left alone is what has a layout of its own (inputs, outputs, arguments of calls), and what is read with axes merged, for
//! which strides must compose.

use super::Context;
use super::frame::{Origin, origin};
use super::group::Group;
use super::settle::Unit;
use super::view::{View, Whereabouts};
use carousel_ir::{Axis, Op, ValueId};
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::HashSet;

/// Lays out what groups make for others.
pub(crate) fn apart(cx: &mut Context<'_>, units: &[Unit], groups: &[Group], flow: &DiGraph<(), ()>) {
    let merged = merged(cx);
    for group in groups.iter().filter(|g| g.is_cut() && g.tiled.is_none()) {
        for unit in &group.units {
            let is_free = |reader: NodeIndex| match units[reader.index()] {
                Unit::Value(_) | Unit::Scan(_) => true,
                Unit::Copy(..) | Unit::Call { .. } => false,
            };
            if let Unit::Value(value) = units[*unit]
                && !merged.contains(&value)
                && flow.neighbors(NodeIndex::new(*unit)).all(is_free)
            {
                lay_out(cx, value, group);
            }
        }
    }
}

/// The values that are read with axes merged.
fn merged(cx: &Context<'_>) -> HashSet<ValueId> {
    let graph = cx.frames[0].graph;
    let merges = graph.nodes.iter().filter(|node| matches!(node.op, Op::Merge { .. }));
    let of = |value: ValueId| match origin(&cx.frames, 0, value) {
        Origin::Value(_, value) => Some(value),
        Origin::Copy(_) => None,
    };
    merges.filter_map(|node| of(node.operands[0])).collect()
}

/// Puts a grid's axes first, or what they cut, if the value has all of them and its memory is its own.
fn lay_out(cx: &mut Context<'_>, value: ValueId, group: &Group) {
    let Some(home) = cx.frames[0].home[value.index()].clone() else { return };
    let old = home.order();
    let long = |axis: &Axis| group.cuts.iter().find(|c| c.piece == *axis && old.contains(&c.long));
    let grid: Vec<Axis> = group.axes.iter().map(|axis| long(axis).map_or(*axis, |c| c.long)).collect();
    let is_own = matches!(cx.storages[home.storage.0 as usize].whereabouts, Whereabouts::Frame);
    if !is_own || !cx.is_whole(&home, &old, 0) || !grid.iter().all(|a| old.contains(a)) {
        return;
    }
    let rest = old.iter().filter(|a| !grid.contains(a));
    let order: Vec<Axis> = grid.iter().chain(rest).copied().collect();
    cx.frames[0].home[value.index()] = Some(View::whole(home.storage, &order, &cx.frames[0].graph.axes));
}
