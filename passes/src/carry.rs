//! Functions that go on where they stopped: what a function remembers along an axis is passed in and out.
//!
//! A function of a whole sequence becomes one of a piece of it, of any length. The initial states of its loops come in and
//! their final states go out; of a delay the last elements do. One more input, `fresh`, says that the piece is a
//! sequence's first: then the states start as the function says, whatever is passed in. Called functions are treated alike.
//!
//! Invariant: for any cuts of a sequence, the pieces one after the other give what the whole sequence gives. A function
//! that looks ahead, or at all of the sequence, or at places in it, is refused with the operation that does so.

use carousel_ir::{
    Axes, Axis, AxisTable, Builder, DType, Diagnostic, Direction, Function, FunctionId, Graph, Module, Op,
    OpKind, Role, Size, Type, ValueId,
};
use std::collections::{BTreeMap, HashMap};

/// The input that says whether a sequence begins.
pub const FRESH: &str = "fresh";
/// What the names of inputs for states begin with.
pub const STATE: &str = "state.";
/// The code of the diagnostics.
pub const NOT_IN_PIECES: &str = "carry";
/// What the names of outputs for states begin with; the rest is that of the input.
pub const NEXT: &str = "next.";

/// What becomes of a sum or maximum over all of the sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Summaries {
    /// It is refused: a piece does not suffice for it.
    Refused,
    /// It is that of the piece, as the loss of a piece is, and refused where steps look at it again. Random numbers along the
    /// sequence are drawn anew for each piece.
    OfPieces,
}

/// The module of `root`, and all that it calls, as functions of a piece along `axis`. States are the inputs that begin with
/// [`STATE`] and the outputs that begin with [`NEXT`], in the same order.
///
/// # Errors
/// Every operation that does not only look back.
pub fn carry(
    module: &Module,
    root: FunctionId,
    axis: Axis,
    summaries: Summaries,
) -> Result<(Module, FunctionId), Vec<Diagnostic>> {
    let needed = needed(module, root);
    let mut pieces =
        Pieces { module: Module::default(), made: HashMap::new(), problems: Vec::new(), axis, summaries };
    for (id, function) in module.iter().filter(|(id, _)| needed[id.index()]) {
        pieces.add(id, function);
    }
    match pieces.made.get(&root) {
        Some(made) if pieces.problems.is_empty() => Ok((pieces.module, made.id)),
        Some(_) | None => Err(pieces.problems),
    }
}

/// Which functions the root needs, itself included.
pub(crate) fn needed(module: &Module, root: FunctionId) -> Vec<bool> {
    let mut needed = vec![false; module.functions.len()];
    needed[root.index()] = true;
    for (id, function) in module.iter().rev().filter(|(id, _)| id.index() <= root.index()) {
        if needed[id.index()] {
            callees(&function.graph).for_each(|callee| needed[callee.index()] = true);
        }
    }
    needed
}

fn callees(graph: &Graph) -> impl Iterator<Item = FunctionId> {
    graph
        .nodes
        .iter()
        .filter_map(|node| if let Op::Call { function } = node.op { Some(function) } else { None })
}

/// A state: its name without what it begins with, and its type outside.
type State = (String, Type);

/// The axes of a state that have other names outside: outside, inside.
type Renamed = Vec<(Axis, Axis)>;

/// A function that has been made.
struct Made {
    id: FunctionId,
    /// How many results it had.
    results: u32,
    states: Vec<State>,
    /// Sizes of the axes of the states.
    sizes: BTreeMap<Axis, Size>,
}

struct Pieces {
    module: Module,
    made: HashMap<FunctionId, Made>,
    problems: Vec<Diagnostic>,
    axis: Axis,
    summaries: Summaries,
}

/// What a node remembers, as numbers of states of its function.
#[derive(Default)]
struct Memory {
    /// Of each loop or call, its states.
    of_node: HashMap<ValueId, Vec<usize>>,
    /// Of each value that is delayed: its state, and the axis of its last elements.
    tails: HashMap<ValueId, (usize, Axis, u64)>,
    states: Vec<State>,
    renamed: Vec<Renamed>,
}

impl Memory {
    /// Adds a state that has this type inside. Axes that are not those of inputs or outputs are named after their size
    /// outside, since a caller may have another axis of that name.
    fn add(&mut self, hint: &str, ty: Type, interface: &Axes, table: &mut AxisTable) -> usize {
        let mut outside = Axes::none();
        let mut renamed = Vec::new();
        for axis in ty.axes.iter() {
            if interface.contains(axis) {
                outside.insert(axis);
                continue;
            }
            let size = table.size(axis).clone();
            let name = |n: u32| Axis::new(&format!("{size} elements {n}"));
            let name = (0..).map(name).find(|name| !outside.contains(*name)).expect("there are more numbers");
            table.declare(name, size.clone());
            outside.insert(name);
            renamed.push((name, axis));
        }
        self.states.push((format!("{}.{hint}", self.states.len()), Type { dtype: ty.dtype, axes: outside }));
        self.renamed.push(renamed);
        self.states.len() - 1
    }

    fn inside(&self, state: usize, b: &mut Builder<'_>, value: ValueId) -> ValueId {
        self.renamed[state].iter().fold(value, |value, (outer, inner)| b.rename(value, *outer, *inner))
    }

    fn outside(&self, state: usize, b: &mut Builder<'_>, value: ValueId) -> ValueId {
        self.renamed[state].iter().fold(value, |value, (outer, inner)| b.rename(value, *inner, *outer))
    }
}

impl Pieces {
    fn add(&mut self, id: FunctionId, function: &Function) {
        let graph = &function.graph;
        let before = self.problems.len();
        let of_pieces = self.summaries == Summaries::OfPieces;
        let again = if of_pieces { looks_again(graph, self.axis) } else { Vec::new() };
        for (value, node) in graph.iter() {
            let is_of_piece = of_pieces && (is_reduction(&node.op) || node.op.kind() == OpKind::Uniform);
            let elsewhere = if is_of_piece { None } else { looks_elsewhere(&node.op, self.axis) };
            let is_again =
                again.contains(&value).then_some("looks at the whole sequence and at its steps again");
            if let Some(why) = elsewhere.or(is_again) {
                let message = format!("`{}` {why}, so it cannot go on from piece to piece", function.name);
                self.problems.push(Diagnostic::error(NOT_IN_PIECES, node.span, message));
            }
        }
        let all_callees = callees(graph).all(|callee| self.made.contains_key(&callee));
        if self.problems.len() > before || !all_callees {
            return;
        }
        let mut table = graph.axes.clone();
        let memory = self.memory(graph, &mut table);
        let graph = self.piece(graph, table, &memory);
        let results = function.graph.outputs.len() as u32;
        let axes = memory.states.iter().flat_map(|(_, ty)| ty.axes.iter());
        let sizes = axes.map(|axis| (axis, graph.axes.size(axis).clone())).collect();
        let new = self.module.push(Function { graph, ..function.clone() });
        self.made.insert(id, Made { id: new, results, states: memory.states, sizes });
    }

    fn memory(&self, graph: &Graph, table: &mut AxisTable) -> Memory {
        let mut memory = Memory::default();
        // The longest delay of each value.
        let mut delays: BTreeMap<ValueId, u64> = BTreeMap::new();
        for node in &graph.nodes {
            if let Op::Shift { axis, by } = node.op
                && axis == self.axis
            {
                let longest = delays.entry(node.operands[0]).or_default();
                *longest = (*longest).max(by.unsigned_abs());
            }
        }
        let inputs = graph.inputs.iter().flat_map(|i| i.ty.axes.iter());
        let interface: Axes = inputs.chain(graph.outputs.iter().flat_map(|o| o.axes.iter())).collect();
        for (value, node) in graph.iter() {
            if let Op::Scan { scan } = &node.op
                && scan.axis == self.axis
            {
                let names = scan.body.outputs.iter().zip(&node.types).take(scan.states as usize);
                let states =
                    names.map(|(o, ty)| memory.add(o.name.as_str(), ty.clone(), &interface, table)).collect();
                memory.of_node.insert(value, states);
            } else if let Op::Call { function } = node.op {
                let callee = &self.made[&function];
                for (axis, size) in &callee.sizes {
                    table.declare(*axis, size.clone());
                }
                let all = |ty: &Type| interface.union(&ty.axes);
                let states = callee.states.iter();
                let states = states.map(|(name, ty)| memory.add(name, ty.clone(), &all(ty), table)).collect();
                memory.of_node.insert(value, states);
            }
            if let Some(&longest) = delays.get(&value)
                && longest > 0
            {
                let tail = table.fresh(Axis::new("last"), Size::Known(longest));
                let ty = node.ty();
                let axes = Axes::new([tail]).union(&ty.axes.without(&Axes::new([self.axis])));
                let state = memory.add("last", Type { dtype: ty.dtype, axes }, &interface, table);
                memory.tails.insert(value, (state, tail, longest));
            }
        }
        memory
    }

    fn piece(&self, graph: &Graph, table: AxisTable, memory: &Memory) -> Graph {
        let mut b = Builder::with_axes(&self.module, table);
        let mut moved: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
        let inputs: Vec<ValueId> =
            graph.inputs.iter().map(|i| b.input(i.name.as_str(), i.ty.clone(), i.role)).collect();
        let fresh =
            (!memory.states.is_empty()).then(|| b.input(FRESH, Type::scalar(DType::Bool), Role::Argument));
        let given: Vec<ValueId> = memory
            .states
            .iter()
            .map(|(name, ty)| b.input(&format!("{STATE}{name}"), ty.clone(), Role::Argument))
            .collect();
        let mut next: Vec<Option<ValueId>> = vec![None; memory.states.len()];
        // Of each delayed value, its last elements before the piece and the piece, along one axis.
        let mut joined: HashMap<ValueId, (ValueId, Axis, u64)> = HashMap::new();
        for (value, node) in graph.iter() {
            b.span = node.span;
            let mut operands: Vec<ValueId> = node.operands.iter().map(|v| moved[v.index()]).collect();
            let states = memory.of_node.get(&value);
            let new = match (&node.op, states) {
                (Op::Input { index }, _) => inputs[*index as usize],
                (Op::Scan { .. }, Some(states)) => {
                    for (operand, state) in operands.iter_mut().zip(states) {
                        let fresh = fresh.expect("there are states");
                        let given = memory.inside(*state, &mut b, given[*state]);
                        *operand = b.select(fresh, *operand, given);
                    }
                    let new = b.push(node.op.clone(), &operands);
                    for (index, state) in states.iter().enumerate() {
                        let last = b.push(Op::Proj { index: index as u32 }, &[new]);
                        next[*state] = Some(memory.outside(*state, &mut b, last));
                    }
                    new
                }
                (Op::Call { function }, states) => {
                    let callee = &self.made[function];
                    if !callee.states.is_empty() {
                        operands.extend(fresh);
                    }
                    operands.extend(states.into_iter().flatten().map(|state| given[*state]));
                    let new = b.push(Op::Call { function: callee.id }, &operands);
                    for (place, state) in states.into_iter().flatten().enumerate() {
                        let index = callee.results + place as u32;
                        next[*state] = Some(b.push(Op::Proj { index }, &[new]));
                    }
                    new
                }
                (Op::Shift { axis, by }, _) if *axis == self.axis && *by > 0 => {
                    let (whole, along, longest) = joined[&node.operands[0]];
                    b.slice(whole, along, *axis, Size::Known(longest - by.unsigned_abs()))
                }
                (op, _) => b.push(op.clone(), &operands),
            };
            if let Some(name) = node.name {
                b.name(new, name);
            }
            moved.push(new);
            if let Some(&(state, tail, longest)) = memory.tails.get(&value) {
                let length = b.axes().size(self.axis).clone();
                let along = b
                    .axes_mut()
                    .fresh(Axis::new("joined"), Size::sum([Size::Known(longest), length.clone()]));
                let zero = b.constant(0.0, node.ty().dtype);
                let given = memory.inside(state, &mut b, given[state]);
                let before = b.select(fresh.expect("there are states"), zero, given);
                let whole = b.concat(&[(before, tail), (new, self.axis)], along);
                let last = b.slice(whole, along, tail, length);
                next[state] = Some(memory.outside(state, &mut b, last));
                joined.insert(value, (whole, along, longest));
            }
        }
        for output in &graph.outputs {
            b.output_as(output.name.as_str(), moved[output.value.index()], output.axes.clone());
        }
        for ((name, ty), value) in memory.states.iter().zip(next) {
            let value = value.expect("every state has a successor");
            b.output_as(&format!("{NEXT}{name}"), value, ty.axes.clone());
        }
        b.finish_pass()
    }
}

/// What an operation does that a piece of the sequence does not suffice for.
fn looks_elsewhere(op: &Op, along: Axis) -> Option<&'static str> {
    if let Op::Scan { scan } = op
        && scan.axis == along
        && scan.direction == Direction::Reverse
    {
        return Some("runs backwards through the sequence");
    }
    if let Op::Shift { axis, by } = op
        && *axis == along
        && *by < 0
    {
        return Some("looks ahead in the sequence");
    }
    let is_one_of = |kinds: &[OpKind]| kinds.contains(&op.kind());
    if !op.names_axis(along) || is_one_of(&[OpKind::Scan, OpKind::Shift, OpKind::Broadcast, OpKind::Call]) {
        None
    } else if is_reduction(op) {
        Some("looks at the whole sequence at once")
    } else if is_one_of(&[OpKind::Iota, OpKind::SizeOf, OpKind::Uniform]) {
        Some("depends on places in the sequence")
    } else {
        Some("takes the sequence apart")
    }
}

fn is_reduction(op: &Op) -> bool {
    [OpKind::Sum, OpKind::ReduceMax, OpKind::Dot].contains(&op.kind())
}

/// The values with an axis that depend on a summary along it.
pub(crate) fn looks_again(graph: &Graph, along: Axis) -> Vec<ValueId> {
    let has_axis = |v: &ValueId| graph[*v].types.iter().any(|ty| ty.axes.contains(along));
    let mut is_summary = vec![false; graph.nodes.len()];
    let mut again = Vec::new();
    for (value, node) in graph.iter() {
        let from_summary = node.operands.iter().any(|v| is_summary[v.index()]);
        let sums_up = is_reduction(&node.op) && node.operands.iter().any(has_axis) && !has_axis(&value);
        is_summary[value.index()] = from_summary || sums_up;
        if from_summary && has_axis(&value) {
            again.push(value);
        }
    }
    again
}
