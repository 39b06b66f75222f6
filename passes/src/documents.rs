//! Functions of sequences that hold several documents, one behind the other.
//!
//! A function gets one more input, [`STARTS`], that is true where a document begins. Loops start afresh there, and delays
//! do not reach across: what comes out of each document is what it would be alone. Called functions are treated alike.
//!
//! Invariant: results of a document do not depend on the others. A function that looks at all of the sequence and at its
//! steps again, or at places in it, is refused with the operation that does so.

use crate::carry::{looks_again, needed};
use carousel_ir::scan::normalize;
use carousel_ir::{
    Axes, Axis, Builder, DType, Diagnostic, Direction, Function, FunctionId, Graph, Module, Node, Op, OpKind,
    Role, Scan, Span, Type, ValueId,
};
use std::collections::HashMap;

/// The input that says where a document begins; the first step of a sequence begins one anyhow.
pub const STARTS: &str = "starts";
/// The code of the diagnostics.
pub const NOT_IN_DOCUMENTS: &str = "documents";

/// The module of `root`, and all that it calls, as functions of documents along `axis`. `rows` are the other axes of
/// [`STARTS`], which is the last input where a function needs it: sequences side by side have documents of their own.
///
/// # Errors
/// Every operation by which a document could see another one.
pub fn documents(
    module: &Module,
    root: FunctionId,
    axis: Axis,
    rows: &Axes,
) -> Result<(Module, FunctionId), Vec<Diagnostic>> {
    let mut apart = Apart { module: Module::default(), made: HashMap::new(), axis, rows };
    let mut problems = Vec::new();
    let needed = needed(module, root);
    for (id, function) in module.iter().filter(|(id, _)| needed[id.index()]) {
        let graph = apart.function(function, &mut problems);
        let has_starts = graph.inputs.len() > function.graph.inputs.len();
        let new = apart.module.push(Function { graph, ..function.clone() });
        apart.made.insert(id, (new, has_starts));
    }
    if problems.is_empty() { Ok((apart.module, apart.made[&root].0)) } else { Err(problems) }
}

fn problem(function: &Function, span: Span, what: &str) -> Diagnostic {
    let message = format!("`{}` {what}, so that documents would see each other", function.name);
    Diagnostic::error(NOT_IN_DOCUMENTS, span, message)
}

struct Apart<'a> {
    module: Module,
    /// The new number of each function, and whether it takes [`STARTS`].
    made: HashMap<FunctionId, (FunctionId, bool)>,
    axis: Axis,
    rows: &'a Axes,
}

impl Apart<'_> {
    fn function(&self, function: &Function, problems: &mut Vec<Diagnostic>) -> Graph {
        let graph = &function.graph;
        self.refuse(function, problems);
        let remembers = |op: &Op| {
            matches!(op, Op::Scan { scan } if scan.axis == self.axis)
                || matches!(op, Op::Shift { axis, by } if *axis == self.axis && *by != 0)
                || matches!(op, Op::Call { function } if self.made[function].1)
        };
        let Some(first) = graph.nodes.iter().find(|node| remembers(&node.op)) else {
            return self.moved(graph);
        };
        let all = Axes::new([self.axis]).union(self.rows);
        if let Some(missing) = all.iter().find(|a| graph.axes.get(*a).is_none()) {
            let what = format!("goes along `{}`, but has no axis `{missing}`", self.axis);
            problems.push(problem(function, first.span, &what));
            return self.moved(graph);
        }
        let mut b = Builder::with_axes(&self.module, graph.axes.clone());
        let inputs: Vec<ValueId> =
            graph.inputs.iter().map(|i| b.input(i.name.as_str(), i.ty.clone(), i.role)).collect();
        let order = self.rows.union(&Axes::new([self.axis]));
        let starts = b.input(STARTS, Type { dtype: DType::Bool, axes: order }, Role::Argument);
        let mut borders = Borders { starts, axis: self.axis, known: HashMap::new() };
        let mut moved: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
        for (_, node) in graph.iter() {
            b.span = node.span;
            let mut operands: Vec<ValueId> = node.operands.iter().map(|v| moved[v.index()]).collect();
            let new = if let Op::Input { index } = node.op {
                inputs[index as usize]
            } else if let Op::Scan { scan } = &node.op
                && scan.axis == self.axis
            {
                let restart = match scan.direction {
                    Direction::Forward => starts,
                    Direction::Reverse => borders.across(&mut b, -1),
                };
                match restarting(&b, scan, &operands, restart) {
                    Some((scan, operands)) => b.push(Op::Scan { scan: Box::new(scan) }, &operands),
                    None => {
                        problems.push(problem(function, node.span, "remembers the same for every row"));
                        b.push(node.op.clone(), &operands)
                    }
                }
            } else if let Op::Shift { axis, by } = node.op
                && axis == self.axis
                && by != 0
            {
                if !self.rows.is_subset(&node.ty().axes) {
                    problems.push(problem(function, node.span, "delays the same for every row"));
                }
                let shifted = b.push(node.op.clone(), &operands);
                let border = borders.across(&mut b, by);
                let zero = b.constant(0.0, node.ty().dtype);
                b.select(border, zero, shifted)
            } else if let Op::Call { function } = node.op {
                let (callee, has_starts) = self.made[&function];
                operands.extend(has_starts.then_some(starts));
                b.push(Op::Call { function: callee }, &operands)
            } else {
                b.push(node.op.clone(), &operands)
            };
            if let Some(name) = node.name {
                b.name(new, name);
            }
            moved.push(new);
        }
        for output in &graph.outputs {
            b.output_as(output.name.as_str(), moved[output.value.index()], output.axes.clone());
        }
        b.finish_pass()
    }

    /// A function that documents do not concern; what it calls has new numbers.
    fn moved(&self, graph: &Graph) -> Graph {
        let mut graph = graph.clone();
        for node in &mut graph.nodes {
            if let Op::Call { function } = &mut node.op {
                *function = self.made[function].0;
            }
        }
        graph
    }

    /// Reports what would carry something from one document to another beside loops and delays.
    fn refuse(&self, function: &Function, problems: &mut Vec<Diagnostic>) {
        let graph = &function.graph;
        let mut report = |node: &Node, what| problems.push(problem(function, node.span, what));
        let again = looks_again(graph, self.axis);
        for (value, node) in graph.iter() {
            let is_inner = |scan: &Scan| scan.axis != self.axis && mentions(&scan.body, self.axis);
            if matches!(&node.op, Op::Scan { scan } if is_inner(scan)) {
                report(node, "goes along the sequence within another loop");
            } else if cuts(&node.op, self.axis) {
                report(node, "takes the sequence apart");
            } else if again.contains(&value) {
                report(node, "looks at the whole sequence and at its steps again");
            }
        }
    }
}

/// What may go along the sequence: loops and delays, which are cut, and what treats each step alike.
const ALLOWED: [OpKind; 8] = [
    OpKind::Scan,
    OpKind::Shift,
    OpKind::Call,
    OpKind::Broadcast,
    OpKind::Uniform,
    OpKind::Sum,
    OpKind::ReduceMax,
    OpKind::Dot,
];

/// Whether an operation takes the steps of the sequence apart, or tells them by their places.
fn cuts(op: &Op, along: Axis) -> bool {
    op.names_axis(along) && !ALLOWED.contains(&op.kind())
}

fn mentions(body: &Graph, axis: Axis) -> bool {
    body.nodes.iter().any(|node| {
        let is_along = node.types.iter().any(|ty| ty.axes.contains(axis)) || cuts(&node.op, axis);
        is_along || matches!(&node.op, Op::Scan { scan } if scan.axis == axis || mentions(&scan.body, axis))
    })
}

/// Where what is so many steps away belongs to another document.
struct Borders {
    starts: ValueId,
    axis: Axis,
    known: HashMap<i64, ValueId>,
}

impl Borders {
    fn across(&mut self, b: &mut Builder<'_>, by: i64) -> ValueId {
        if let Some(known) = self.known.get(&by) {
            return *known;
        }
        // Back by n: a document begins at this step or one of the n - 1 before; ahead by n: at one of the next n.
        let last = if by > 0 { by - 1 } else { by };
        let at = if last == 0 {
            self.starts
        } else {
            // As numbers: so are all states that are carried from piece to piece.
            let number = b.cast(self.starts, DType::F32);
            let shifted = b.shift(number, self.axis, last);
            let half = b.constant(0.5, DType::F32);
            b.lt(half, shifted)
        };
        let nearer = by - by.signum();
        let border = if nearer == 0 {
            at
        } else {
            let nearer = self.across(b, nearer);
            b.or(nearer, at)
        };
        self.known.insert(by, border);
        border
    }
}

/// The loop, starting afresh where `restart` holds, with its operands. `None` if a state lacks axes of `restart`.
fn restarting(
    outer: &Builder<'_>,
    scan: &Scan,
    operands: &[ValueId],
    restart: ValueId,
) -> Option<(Scan, Vec<ValueId>)> {
    let (states, sequences) = (scan.states as usize, scan.sequences as usize);
    let rows = outer.ty(restart).axes.without(&scan.axis.into());
    let old = &scan.body;
    if !old.inputs[..states].iter().all(|state| rows.is_subset(&state.ty.axes)) {
        return None;
    }
    let mut axes = old.axes.clone();
    for axis in rows.iter() {
        axes.declare(axis, outer.axes().size(axis).clone());
    }
    let mut body = Builder::body(axes);
    let mut operands = operands.to_vec();
    let mut inputs = Vec::with_capacity(old.inputs.len());
    for input in &old.inputs[..states + sequences] {
        inputs.push(body.input(input.name.as_str(), input.ty.clone(), input.role));
    }
    operands.insert(states + sequences, restart);
    let restart = body.input("restart", Type { dtype: DType::Bool, axes: rows }, Role::Argument);
    for input in &old.inputs[states + sequences..] {
        inputs.push(body.input(input.name.as_str(), input.ty.clone(), input.role));
    }
    let mut fresh = Vec::with_capacity(states);
    for (place, state) in old.inputs[..states].iter().enumerate() {
        fresh.push(match constant(outer.graph(), operands[place]) {
            Some(value) => body.constant(value, state.ty.dtype),
            None => {
                operands.push(operands[place]);
                body.input(&format!("start.{}", state.name), state.ty.clone(), Role::Argument)
            }
        });
    }
    for place in 0..states {
        inputs[place] = body.select(restart, fresh[place], inputs[place]);
    }
    let mut moved: Vec<ValueId> = Vec::with_capacity(old.nodes.len());
    for (_, node) in old.iter() {
        body.span = node.span;
        if let Op::Input { index } = node.op {
            moved.push(inputs[index as usize]);
            continue;
        }
        let operands: Vec<ValueId> = node.operands.iter().map(|v| moved[v.index()]).collect();
        let new = body.push(node.op.clone(), &operands);
        if let Some(name) = node.name {
            body.name(new, name);
        }
        moved.push(new);
    }
    for output in &old.outputs {
        body.output_as(output.name.as_str(), moved[output.value.index()], output.axes.clone());
    }
    let sequences = scan.sequences + 1;
    let scan = Scan { sequences, body: body.finish_pass(), ..scan.clone() };
    Some(normalize(scan, &operands))
}

/// The number that every element is known to be.
fn constant(graph: &Graph, value: ValueId) -> Option<f64> {
    let node = &graph[value];
    if let Op::Const { value, dtype: _ } = node.op {
        return Some(value.get());
    }
    (node.op.kind() == OpKind::Broadcast).then(|| constant(graph, node.operands[0])).flatten()
}
