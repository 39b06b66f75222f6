//! Graphs, functions and modules.
//!
//! Invariants (checked by [`verify`](crate::verify)): operands precede users, so that a pass is one loop; callees precede
//! callers; within one graph an axis name has one size; a scan's body is closed, its captures stand in the order of
//! their first use.

use crate::{Axes, Axis, Init, Name, Op, OpKind, Size, Span, Type};
use indexmap::IndexMap;
use smallvec::SmallVec;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::{Index, IndexMut};
use ustr::IdentityHasher;

/// A value of a graph: the number of the node that makes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ValueId(pub u32);

/// A function of a module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FunctionId(pub u32);

impl ValueId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl FunctionId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which end a loop starts from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Direction {
    /// From the first element to the last.
    Forward,
    /// From the last element to the first.
    Reverse,
}

impl Direction {
    /// The other one.
    pub fn flipped(self) -> Direction {
        match self {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }
}

/// Sizes of the axes of a graph, in the order of declaration.
#[derive(Clone, Default, Debug)]
pub struct AxisTable(IndexMap<Axis, Size, InternedHash>);

/// Interned names have their hash with them.
type InternedHash = BuildHasherDefault<IdentityHasher>;

impl AxisTable {
    /// The size of `axis`, if it is declared.
    pub fn get(&self, axis: Axis) -> Option<&Size> {
        self.0.get(&axis)
    }

    /// The size of an axis that is declared.
    ///
    /// # Panics
    /// If it is not: in a verified graph every axis is.
    pub fn size(&self, axis: Axis) -> &Size {
        self.0.get(&axis).unwrap_or_else(|| panic!("axis `{axis}` is not declared in this graph"))
    }

    /// Declares `axis`. Returns the size that it had, if it was declared with another one (which then stays).
    pub fn declare(&mut self, axis: Axis, size: Size) -> Option<&Size> {
        let known = self.0.entry(axis).or_insert_with(|| size.clone());
        (*known != size).then_some(&*known)
    }

    /// An axis of this size under a name that is free here: `base`, `base.1`, `base.2`, ..
    pub fn fresh(&mut self, base: Axis, size: Size) -> Axis {
        let stem = base.as_str().split('.').next().unwrap_or_default();
        let axis = (0..)
            .map(|n| if n == 0 { Axis::new(stem) } else { Axis::new(&format!("{stem}.{n}")) })
            .find(|a| !self.0.contains_key(a))
            .expect("there are more names than axes");
        self.0.insert(axis, size);
        axis
    }

    /// All, in the order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = (Axis, &Size)> {
        self.0.iter().map(|(a, s)| (*a, s))
    }

    /// The place of `axis` in the order of declaration, if it is declared.
    pub fn position(&self, axis: Axis) -> Option<usize> {
        self.0.get_index_of(&axis)
    }

    /// The number of elements of a tensor with these axes.
    pub fn elements(&self, axes: &Axes) -> Size {
        Size::product(axes.iter().map(|a| self.size(a).clone()))
    }
}

impl PartialEq for AxisTable {
    fn eq(&self, other: &AxisTable) -> bool {
        self.0 == other.0
    }
}

impl Eq for AxisTable {}

/// The result types of a node; nearly always one.
pub type Types = SmallVec<[Type; 1]>;

/// One operation applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// To what.
    pub operands: SmallVec<[ValueId; 3]>,
    /// Types of the results: one, except for scans and calls.
    pub types: Types,
    /// Where it came from.
    pub span: Span,
    /// The author's name for it; only a hint for people.
    pub name: Option<Name>,
}

impl Node {
    /// The type of a node with one result.
    ///
    /// # Panics
    /// If the node is a scan or a call; use [`Op::Proj`] to take one of their results.
    pub fn ty(&self) -> &Type {
        match self.types.as_slice() {
            [one] => one,
            many => panic!("{} has {} results, not one", self.op.kind(), many.len()),
        }
    }
}

/// What a graph input is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Given by the caller.
    Argument,
    /// Learned; its name is its path.
    Parameter {
        /// Starting values.
        init: Init,
        /// Whether weight decay applies.
        decay: Decay,
    },
}

/// Whether weight decay applies to a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Decay {
    /// It does.
    Yes,
    /// It does not: biases, norms, recurrent weights.
    No,
}

/// An input of a graph. Its type's order of axes is the declared order, which holds at the boundary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Its name; for parameters the path of blocks, `layer.3.mlstm.up`.
    pub name: Name,
    /// Its type.
    pub ty: Type,
    /// What it is for.
    pub role: Role,
}

/// An output of a graph. The order of the value's axes is the declared order at the boundary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// Its name.
    pub name: Name,
    /// The value.
    pub value: ValueId,
    /// The declared order of axes.
    pub axes: Axes,
}

/// A closed dataflow graph.
#[derive(Clone, Default, Debug)]
pub struct Graph {
    /// Sizes of all axes that occur.
    pub axes: AxisTable,
    /// What comes in. `Op::Input { index }` refers to it.
    pub inputs: Vec<Input>,
    /// Operations; operands precede users.
    pub nodes: Vec<Node>,
    /// What goes out.
    pub outputs: Vec<Output>,
}

impl Graph {
    /// The values with their nodes, operands before users.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (ValueId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (ValueId(i as u32), n))
    }

    /// The type of a value that is not a tuple.
    pub fn ty(&self, value: ValueId) -> &Type {
        self[value].ty()
    }

    /// How often each value is used, outputs included.
    pub fn uses(&self) -> Vec<u32> {
        let mut uses = vec![0; self.nodes.len()];
        let operands = self.nodes.iter().flat_map(|n| &n.operands);
        operands.chain(self.outputs.iter().map(|o| &o.value)).for_each(|v| uses[v.index()] += 1);
        uses
    }

    /// The values that `Op::Input` nodes make, by input number; `None` where an input is not used.
    pub fn input_values(&self) -> Vec<Option<ValueId>> {
        let mut found = vec![None; self.inputs.len()];
        for (value, node) in self.iter() {
            if let Op::Input { index } = node.op {
                found[index as usize].get_or_insert(value);
            }
        }
        found
    }

    /// Whether every element of a value is known to be 0.
    pub fn is_zero(&self, value: ValueId) -> bool {
        let node = &self[value];
        if let Op::Const { value, dtype: _ } = node.op {
            return value.get() == 0.0;
        }
        let keeps_zero = [OpKind::Broadcast, OpKind::Rename, OpKind::Detach, OpKind::Neg];
        keeps_zero.contains(&node.op.kind()) && self.is_zero(node.operands[0])
    }
}

impl Graph {
    /// Whether the axes of all values of `self` have the same sizes in `other`.
    fn axes_agree(&self, other: &Graph) -> bool {
        let axes = self.nodes.iter().flat_map(|n| &n.types).flat_map(|t| t.axes.iter());
        axes.into_iter().all(|a| self.axes.get(a) == other.axes.get(a))
    }
}

impl Index<ValueId> for Graph {
    type Output = Node;

    fn index(&self, value: ValueId) -> &Node {
        &self.nodes[value.index()]
    }
}

impl IndexMut<ValueId> for Graph {
    fn index_mut(&mut self, value: ValueId) -> &mut Node {
        &mut self.nodes[value.index()]
    }
}

// Two graphs are equal if they compute the same in the same order: names of inner values, spans, and declared axes
// that no value has, do not count.
impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        self.axes_agree(other)
            && self.inputs == other.inputs
            && self.outputs == other.outputs
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(|(a, b)| {
                a.op == b.op
                    && a.operands == b.operands
                    && a.types.len() == b.types.len()
                    && a.types
                        .iter()
                        .zip(&b.types)
                        .all(|(x, y)| x.dtype == y.dtype && x.axes.same_order(&y.axes))
            })
    }
}

impl Eq for Graph {}

impl Hash for Graph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for node in &self.nodes {
            (&node.op, &node.operands).hash(state);
        }
        for output in &self.outputs {
            (output.name, output.value).hash(state);
        }
    }
}

/// A loop along an axis.
///
/// The node's operands: the initial states, then the sequences (values with `axis`, of which the body sees the
/// current element, without the axis), then the shared values (without `axis`). The body's inputs are the states,
/// the current elements and the shared values, in that order; its outputs the next states, then the yields. The
/// node's results are the final states, then the yields stacked along `axis`. A length of 0 returns the initial
/// states.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scan {
    /// Along which axis; the body does not mention it.
    pub axis: Axis,
    /// From which end; a reverse scan stacks its yields at the index of their step.
    pub direction: Direction,
    /// How many states.
    pub states: u32,
    /// How many sequences.
    pub sequences: u32,
    /// One step. Its axis table is its own, with the same sizes as outside.
    pub body: Graph,
}

/// What a function is in the source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FunctionKind {
    /// `fn`: an equation; its uses are expanded where they stand.
    Fn,
    /// `block`: called, never copied.
    Block,
    /// `model`: the root of a program.
    Model,
}

/// What the backward pass keeps of a function's inside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Residuals {
    /// What it needs is saved.
    Save,
    /// Only the inputs are saved, the rest is computed again (`remat`).
    Recompute,
}

/// A function of a module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Its name, unique in the module.
    pub name: Name,
    /// What it is in the source.
    pub kind: FunctionKind,
    /// What its backward pass keeps.
    pub residuals: Residuals,
    /// What it computes.
    pub graph: Graph,
}

/// A program: functions, callees before callers.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Module {
    /// The functions.
    pub functions: Vec<Function>,
}

impl Module {
    /// Appends a function.
    pub fn push(&mut self, function: Function) -> FunctionId {
        self.functions.push(function);
        FunctionId(self.functions.len() as u32 - 1)
    }

    /// The function called `name`.
    pub fn find(&self, name: &str) -> Option<FunctionId> {
        self.functions.iter().position(|f| f.name.as_str() == name).map(|i| FunctionId(i as u32))
    }

    /// The functions with their ids, callees before callers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (FunctionId, &Function)> {
        self.functions.iter().enumerate().map(|(i, f)| (FunctionId(i as u32), f))
    }

    /// A name that no function has: `base`, or `base` with a number.
    pub fn fresh_name(&self, base: &str) -> Name {
        (0..)
            .map(|n| if n == 0 { base.to_string() } else { format!("{base}.{n}") })
            .find(|name| self.find(name).is_none())
            .map(|name| Name::new(&name))
            .expect("there are more names than functions")
    }
}

impl Index<FunctionId> for Module {
    type Output = Function;

    fn index(&self, function: FunctionId) -> &Function {
        &self.functions[function.index()]
    }
}

impl IndexMut<FunctionId> for Module {
    fn index_mut(&mut self, function: FunctionId) -> &mut Function {
        &mut self.functions[function.index()]
    }
}
