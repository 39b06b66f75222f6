//! A scan as statements of one kernel: states in scratch, a sequential loop, yields stored in place.
//!
//! The grid runs over axes that every state, yield and stored step value carries and that the body never reduces or
//! rearranges, so that the points do not meet. An axis that an operand of a contraction lacks (a batch over which
//! weights are shared) stays inside as rows of the product, unless no other axis is left.
//!
//! A state is updated in place if its next value is computed from its old one point by point and everything else that
//! reads the old state can run before; otherwise the next value has memory of its own and is copied at the end of the
//! step.

use super::Context;
use super::builder::KernelBuilder;
use super::frame::{Frame, Origin, Outer, Start, is_statement, live, rearranges, view_of};
use super::settle::{Settling, Unit, dataflow, order_with_first, unit_reads, unit_writes};
use super::statement::{Site, copy, open, value as value_statements};
use super::view::{Position, View, Whereabouts};
use super::{classify, frame, layout, region};
use crate::kernel::{Dim, Expr, Extent, Linear, Loop, Region, Statement, Store};
use carousel_ir::{Axes, Axis, Class, Direction, Graph, Op, Scan, Size, ValueId};
use petgraph::algo::has_path_connecting;
use petgraph::graph::NodeIndex;
use std::collections::HashMap;

/// The axes along which the steps of a scan mix no elements; those of them that an operand of a contraction lacks.
pub(crate) fn separable(cx: &Context<'_>, frame: usize, value: ValueId) -> (Axes, Axes) {
    let outer = cx.frames[frame].graph;
    let Op::Scan { scan } = &outer[value].op else { panic!("not a scan") };
    let needed = (0..scan.body.outputs.len() as u32)
        .filter(|i| *i < scan.states || cx.frames[frame].results.contains_key(&(value, *i)));
    let mut common: Option<Axes> = None;
    for index in needed {
        let axes = &scan.body.ty(scan.body.outputs[index as usize].value).axes;
        common = Some(common.map_or_else(|| axes.clone(), |c| c.intersection(axes)));
    }
    let mut axes = common.unwrap_or_default();
    let mut shared = Axes::none();
    restrict(&scan.body, &mut axes, &mut shared);
    axes = Axes::new(axes.iter().filter(|a| *outer.axes.size(*a) != Size::Known(1)));
    (axes, shared)
}

/// The axes over which a scan's steps are independent, outermost first.
pub(crate) fn grid_axes(cx: &Context<'_>, frame: usize, value: ValueId) -> Vec<Axis> {
    let outer = cx.frames[frame].graph;
    let Op::Scan { scan } = &outer[value].op else { panic!("not a scan") };
    let (axes, shared) = separable(cx, frame, value);
    let separate = axes.without(&shared);
    let chosen = if separate.is_empty() { axes } else { separate };
    let mut chosen: Vec<Axis> = chosen.iter().collect();
    // A point needs something to do at a step: where nothing else is left, the last axis is its vector.
    let is_inner = |axis: Axis| *outer.axes.size(axis) != Size::Known(1) && !chosen.contains(&axis);
    if !scan.body.nodes.iter().flat_map(|n| &n.types).any(|t| t.axes.iter().any(is_inner)) {
        chosen.pop();
    }
    chosen
}

/// Removes from `axes` those along which steps of the body mix elements, and collects in `shared` those that an
/// operand of a contraction lacks.
fn restrict(body: &Graph, axes: &mut Axes, shared: &mut Axes) {
    for (value, node) in body.iter() {
        let mut touched = Axes::none();
        match &node.op {
            Op::Sum { axes } | Op::ReduceMax { axes } => touched = axes.clone(),
            Op::Dot { axes } => {
                touched = axes.clone();
                for operand in &node.operands {
                    *shared = shared.union(&node.ty().axes.without(&body.ty(*operand).axes));
                }
            }
            Op::CumSum { axis, .. } | Op::CumMax { axis, .. } | Op::Shift { axis, .. } => {
                touched.insert(*axis)
            }
            Op::Gather { axis } => touched.insert(*axis),
            Op::ScatterAdd { axis, over } => {
                touched = over.clone();
                touched.insert(*axis);
            }
            Op::Rename { from, to } => touched = Axes::new([*from, *to]),
            Op::Slice { axis, to, .. } | Op::Pad { axis, to, .. } => touched = Axes::new([*axis, *to]),
            Op::Split { axis, into } => {
                touched = into.clone();
                touched.insert(*axis);
            }
            Op::Merge { axes, into } => {
                touched = axes.clone();
                touched.insert(*into);
            }
            Op::Concat { axes, to } => {
                touched = Axes::new(axes.iter().copied());
                touched.insert(*to);
            }
            Op::LinRead { axis, key, .. } | Op::LinReadDecay { axis, key, .. } => {
                touched = key.clone();
                touched.insert(*axis);
            }
            Op::LinSolve { axis, key, rank, .. } => {
                touched = key.union(rank);
                touched.insert(*axis);
            }
            Op::Scan { scan } => {
                touched.insert(scan.axis);
                restrict(&scan.body, axes, shared);
            }
            // Inputs are memory of the grid point or views of the outside; the rest is computed from indices.
            Op::Input { .. } | Op::Proj { .. } | Op::Call { .. } | Op::Broadcast { .. } => {}
            Op::Const { .. } | Op::SizeOf { .. } | Op::Iota { .. } => {}
            Op::Uniform { .. } | Op::FoldIn { .. } => {}
            Op::Neg
            | Op::Abs
            | Op::Sign
            | Op::Floor
            | Op::Ceil
            | Op::Exp
            | Op::Log
            | Op::Log1p
            | Op::Sqrt
            | Op::Tanh
            | Op::Sigmoid
            | Op::Logsigmoid
            | Op::Erf
            | Op::Not
            | Op::Cast { .. }
            | Op::Detach
            | Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Min
            | Op::Max
            | Op::Eq
            | Op::Ne
            | Op::Lt
            | Op::Le
            | Op::And
            | Op::Or
            | Op::Select => {}
        }
        *axes = axes.without(&touched);
        // What is stored at each step must belong to one point of the grid.
        if frame::is_statement(&node.op) && !node.types.is_empty() {
            let own = body.ty(value).axes.clone();
            *axes = axes.intersection(&own);
        }
    }
}

/// Which values of a body change from step to step.
fn varying(scan: &Scan) -> Vec<bool> {
    let mut varies = vec![false; scan.body.nodes.len()];
    for (value, node) in scan.body.iter() {
        let moving = matches!(node.op, Op::Input { index } if index < scan.states + scan.sequences);
        varies[value.index()] = moving || node.operands.iter().any(|o| varies[o.index()]);
    }
    varies
}

/// One state while the scan is lowered.
struct State {
    /// Its memory.
    view: View,
    /// Its next value.
    next: ValueId,
    /// What is to be done at the end of the step.
    end: End,
}

enum End {
    /// Nothing: it does not change, or was changed in place.
    Nothing,
    /// The next value is copied from where it is.
    FromValue,
    /// The next value was put aside in this memory.
    From(View),
}

/// The statements of a scan, by when they are run.
#[derive(Default)]
pub(crate) struct Steps {
    /// Before the loop: states begin.
    pub(crate) before: Vec<Statement>,
    /// At each turn.
    pub(crate) step: Vec<Statement>,
    /// After the loop: states are stored.
    pub(crate) after: Vec<Statement>,
}

/// The statements of a scan at a site of the graph around it.
pub(crate) fn scan(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    value: ValueId,
) -> Vec<Statement> {
    let outer = cx.frames[site.frame].graph;
    let Op::Scan { scan } = &outer[value].op else { panic!("not a scan") };
    let over = Loop { var: kernel.var(), extent: Extent::Whole(kernel.dim(outer.axes.size(scan.axis))) };
    let steps = steps(cx, kernel, site, value, Position::of(over.var));
    in_loop(cx, kernel, site, steps, over, scan.direction)
}

/// Steps as a loop with what is around it.
pub(crate) fn in_loop(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    steps: Steps,
    over: Loop,
    direction: Direction,
) -> Vec<Statement> {
    let Steps { mut before, mut step, after } = steps;
    super::pack::pack(cx, kernel, site, &mut before, &mut step);
    before.push(Statement::Loop { over, direction, body: step });
    before.extend(after);
    before
}

/// The statements of a scan whose steps are at `time`.
pub(crate) fn steps(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    value: ValueId,
    time: Position,
) -> Steps {
    let outer = cx.frames[site.frame].graph;
    let node = &outer[value];
    let Op::Scan { scan } = &node.op else { panic!("{} is no scan", node.op.kind()) };
    let body = &scan.body;
    let states = scan.states as usize;
    let stacked: Vec<Option<View>> = (0..body.outputs.len() as u32)
        .map(|i| cx.frames[site.frame].results.get(&(value, i)).cloned())
        .collect();

    // The body's frame.
    let needed = body.outputs.iter().enumerate().filter(|(i, _)| *i < states || stacked[*i].is_some());
    let live = live(body, needed.map(|(_, o)| o.value));
    let sequences_end = states + scan.sequences as usize;
    let inputs = node.operands.iter().enumerate().map(|(place, operand)| {
        let along = (place < sequences_end).then_some((scan.axis, time));
        (place >= states).then_some(Outer { value: *operand, along })
    });
    let mut inner = Frame::new(body, site.frame, inputs.collect(), live);
    inner.varies = varying(scan);
    cx.frames.push(inner);
    let at = cx.frames.len() - 1;
    let body_site = Site { frame: at, ..site.clone() };
    let mut settling = Settling {
        frame: at,
        whereabouts: Whereabouts::Scratch,
        grid: site.grid.iter().map(|(a, _)| *a).collect(),
        tiles: site.tiles.clone(),
        claims: HashMap::new(),
        units: Vec::new(),
    };

    // Memory of the states.
    let input_values = body.input_values();
    let mut all_states = Vec::new();
    for (place, old) in input_values.iter().enumerate().take(states) {
        let axes = &body.inputs[place].ty.axes;
        let next = body.outputs[place].value;
        let mut order: Vec<Axis> = axes.iter().collect();
        if let Some(view) = view_of(&cx.frames, site.frame, node.operands[place])
            && view.order().len() == axes.len()
        {
            order = view.order();
        } else if cx.target.is_coalescing {
            let sequences = &node.operands[states..sequences_end];
            order = layout::state(cx, site.frame, axes, sequences, scan.axis);
        }
        let view = settling.place(cx, next, &order);
        cx.storages[view.storage.0 as usize].label.name = body.inputs[place].name.to_string();
        if let Some(old) = old {
            cx.frames[at].home[old.index()] = Some(view.clone());
        }
        all_states.push(State { view, next, end: End::FromValue });
    }
    classify::classify(&mut cx.frames, cx.target);

    claim(cx, &mut settling, scan, &stacked, time, &input_values, &mut all_states);
    settling.run(cx);
    let mut copies = Vec::new();
    for (index, output) in body.outputs.iter().enumerate().skip(states) {
        let Some(view) = stacked[index].clone().map(|v| v.at(scan.axis, time)) else { continue };
        let home = cx.frames[at].home[output.value.index()].as_ref();
        let result = output_result(cx, at, output.value);
        if home != Some(&view) && result.as_ref() != Some(&view) {
            copies.push(Unit::Copy(output.value, view));
        }
    }
    settling.units.extend(copies);
    let units = settling.units;

    // The order of a step.
    let mut flow = dataflow(cx, at, &units);
    for place in 0..states {
        update_in_place(cx, at, &units, &mut flow, input_values[place], &mut all_states[place]);
    }
    // Where factors are kept close, products by them follow each other, and what is computed of them is one statement.
    let is_by_factor = |unit: usize| match &units[unit] {
        Unit::Value(v) if cx.target.keeps_factors && cx.frames[at].products.contains(v) => {
            body[*v].operands.iter().any(|operand| !cx.frames[at].varies[operand.index()])
        }
        Unit::Value(_) | Unit::Copy(..) | Unit::Scan(_) | Unit::Call { .. } => false,
    };
    let order = order_with_first(&flow, is_by_factor);

    // Statements.
    let mut before = Vec::new();
    for (place, state) in all_states.iter().enumerate() {
        before.push(copy(cx, kernel, site, node.operands[place], Start::Value, &state.view));
    }
    let mut step = Vec::new();
    for index in order {
        let statements = match &units[index] {
            Unit::Value(v) => value_statements(cx, kernel, &body_site, *v),
            Unit::Copy(v, to) => vec![copy(cx, kernel, &body_site, *v, Start::Value, to)],
            Unit::Scan(v) => self::scan(cx, kernel, &body_site, *v),
            Unit::Call { .. } => panic!("a scan's body calls no function"),
        };
        let invariant = match &units[index] {
            Unit::Value(v) | Unit::Scan(v) => !cx.frames[at].varies[v.index()],
            Unit::Copy(..) | Unit::Call { .. } => false,
        };
        if invariant { before.extend(statements) } else { step.extend(statements) }
    }
    for state in &all_states {
        step.push(match &state.end {
            End::Nothing => continue,
            End::FromValue => copy(cx, kernel, &body_site, state.next, Start::Value, &state.view),
            End::From(aside) => copy_view(cx, kernel, &body_site, state.next, aside, &state.view),
        });
    }
    let mut after = Vec::new();
    for (state, to) in all_states.iter().zip(&stacked) {
        if let Some(to) = to {
            after.push(copy_view(cx, kernel, &body_site, state.next, &state.view, to));
        }
    }
    cx.frames.pop();
    Steps { before, step, after }
}

/// Where a result of a nested scan is stored, if the value is one.
fn output_result(cx: &Context<'_>, frame: usize, value: ValueId) -> Option<View> {
    let f = &cx.frames[frame];
    let Op::Proj { index } = f.graph[value].op else { return None };
    f.results.get(&(f.graph[value].operands[0], index)).cloned()
}

/// Where yields and next states want to be stored.
fn claim(
    cx: &mut Context<'_>,
    settling: &mut Settling,
    scan: &Scan,
    stacked: &[Option<View>],
    time: Position,
    input_values: &[Option<ValueId>],
    states: &mut [State],
) {
    let body = &scan.body;
    let at = settling.frame;
    for (index, output) in body.outputs.iter().enumerate().skip(states.len()) {
        let op = &body[output.value].op;
        let varies = cx.frames[at].varies[output.value.index()];
        if let Some(view) = &stacked[index]
            && varies
            && !matches!(op, Op::Input { .. })
        {
            settling.claims.entry(output.value).or_insert_with(|| view.clone().at(scan.axis, time));
        }
    }
    for place in 0..states.len() {
        let next = states[place].next;
        if Some(next) == input_values[place] {
            states[place].end = End::Nothing;
            continue;
        }
        let aside = |cx: &mut Context<'_>| {
            let view = states[place].view.clone();
            let fresh = settling.place(cx, next, &view.order());
            View { storage: fresh.storage, ..view }
        };
        let op = &body[next].op;
        let is_claimed = settling.claims.contains_key(&next);
        let view_of_state = match frame::origin(&cx.frames, at, next) {
            Origin::Value(frame, v) => frame == at && input_values[..scan.states as usize].contains(&Some(v)),
            Origin::Copy(_) => false,
        };
        if matches!(op, Op::Input { .. } | Op::Proj { .. }) || rearranges(op) {
            // A view of another state must be put aside before that state changes.
            if view_of_state && view_of(&cx.frames, at, next).is_some() {
                let view = aside(cx);
                settling.units.push(Unit::Copy(next, view.clone()));
                states[place].end = End::From(view);
            } else if rearranges(op) && !is_claimed {
                let view = aside(cx);
                settling.claims.insert(next, view);
            }
        } else if !is_claimed {
            let view = aside(cx);
            settling.claims.insert(next, view);
        }
    }
}

/// Lets the next value overwrite the old state, if that is right, with the order that it needs.
fn update_in_place(
    cx: &mut Context<'_>,
    at: usize,
    units: &[Unit],
    flow: &mut petgraph::graph::DiGraph<(), ()>,
    old: Option<ValueId>,
    state: &mut State,
) {
    let (End::FromValue, Some(old)) = (&state.end, old) else { return };
    let frame = &cx.frames[at];
    let op = &frame.graph[state.next].op;
    let Some(home) = &frame.home[state.next.index()] else { return };
    let own_memory = home.strides == state.view.strides && home.moves == state.view.moves;
    if !own_memory
        || !frame.varies[state.next.index()]
        || is_statement(op)
        || matches!(op, Op::Input { .. } | Op::Proj { .. })
        || cx.storages[home.storage.0 as usize].whereabouts != Whereabouts::Scratch
        || !pointwise(cx, at, state.next, old)
    {
        return;
    }
    let writer = units.iter().position(|u| unit_writes(at, u) == Origin::Value(at, state.next));
    let Some(writer) = writer else { return };
    let old = Origin::Value(at, old);
    let readers: Vec<usize> =
        (0..units.len()).filter(|i| *i != writer && unit_reads(cx, at, &units[*i]).contains(&old)).collect();
    let node = NodeIndex::new;
    if readers.iter().any(|r| has_path_connecting(&*flow, node(writer), node(*r), None)) {
        return;
    }
    for reader in readers {
        flow.update_edge(node(reader), node(writer), ());
    }
    if let Some(home) = &mut cx.frames[at].home[state.next.index()] {
        home.storage = state.view.storage;
    }
    state.end = End::Nothing;
}

/// Whether `value` reads the state `old` only at its own element.
fn pointwise(cx: &Context<'_>, at: usize, value: ValueId, old: ValueId) -> bool {
    let frame = &cx.frames[at];
    let old_origin = Origin::Value(at, old);
    let mut stack = vec![value];
    let mut seen = std::collections::HashSet::new();
    while let Some(v) = stack.pop() {
        let node = &frame.graph[v];
        for operand in node.operands.iter().filter(|o| **o != old) {
            let stored = frame.home[operand.index()].is_some();
            if stored || !seen.insert(*operand) {
                continue;
            }
            if frame.graph[*operand].op.kind().class() == Class::Elementwise {
                stack.push(*operand);
            } else if frame::reads(&cx.frames, at, *operand, Start::Value).contains(&old_origin) {
                return false;
            }
        }
        if node.op.kind().class() != Class::Elementwise
            && frame::reads(&cx.frames, at, v, Start::Definition).contains(&old_origin)
        {
            return false;
        }
    }
    true
}

/// What lies under one view copied to another; both are views of values of `like`'s type.
pub(crate) fn copy_view(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    like: ValueId,
    from: &View,
    to: &View,
) -> Statement {
    let ty = cx.frames[site.frame].graph.ty(like);
    let mut order = to.order();
    order.retain(|a| ty.axes.contains(*a));
    let mut env = site.grid.clone();
    let loops = open(cx, kernel, site, &order, &mut env);
    let mut region = Region::default();
    let load = Expr::Load {
        buffer: kernel.buffer(from.storage),
        index: kernel.address(from, &env),
        guards: Vec::new(),
    };
    let stored = |view: &View| cx.storages[view.storage.0 as usize].dtype;
    let value = region::loaded(&mut region, load, stored(from), stored(to));
    let store = Store { buffer: kernel.buffer(to.storage), index: kernel.address(to, &env), value };
    Statement::Map { loops, region, stores: vec![store] }
}

/// Grid loops over axes, with the indices they give.
pub(crate) fn grid(
    kernel: &mut KernelBuilder,
    axes: &[Axis],
    table: &carousel_ir::AxisTable,
) -> (Vec<Loop>, Vec<(Axis, Linear)>) {
    let mut env = Vec::new();
    let mut loops = Vec::new();
    for axis in axes {
        let var = kernel.var();
        loops.push(Loop { var, extent: Extent::Whole(kernel.dim(table.size(*axis))) });
        env.push((*axis, Linear::var(var, Dim::Known(1))));
    }
    (loops, env)
}
