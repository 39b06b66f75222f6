//! Building graphs from Rust: one method per operation, types inferred as it goes.
//!
//! A mistake does not stop the builder: it is kept, and [`Builder::finish`] returns all of them.

use crate::infer::{Context, infer};
use crate::{
    Axes, Axis, AxisTable, DType, Decay, Diagnostic, Direction, Function, FunctionId, Graph, Init, Input,
    Line, Module, Name, Node, Number, Op, Output, Role, Scan, Size, Span, Type, TypeError, ValueId,
};
use smallvec::{SmallVec, smallvec};

/// Makes one graph. Functions that it may call are those of the module that it was given.
#[derive(Debug)]
pub struct Builder<'m> {
    module: &'m [Function],
    graph: Graph,
    problems: Vec<Diagnostic>,
    /// Where the operations that follow come from.
    pub span: Span,
}

impl<'m> Builder<'m> {
    /// An empty graph that may call the functions of `module`.
    pub fn new(module: &'m Module) -> Builder<'m> {
        Builder::with_axes(module, AxisTable::default())
    }

    /// An empty graph with these axes.
    pub fn with_axes(module: &'m Module, axes: AxisTable) -> Builder<'m> {
        let graph = Graph { axes, ..Graph::default() };
        Builder { module: &module.functions, graph, problems: Vec::new(), span: Span::default() }
    }

    /// An empty graph with these axes that calls nothing, such as a scan's body.
    pub fn body(axes: AxisTable) -> Builder<'static> {
        let graph = Graph { axes, ..Graph::default() };
        Builder { module: &[], graph, problems: Vec::new(), span: Span::default() }
    }

    /// Goes on with a graph that calls functions of `module`.
    pub fn resume(module: &'m Module, graph: Graph) -> Builder<'m> {
        Builder { module: &module.functions, graph, problems: Vec::new(), span: Span::default() }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The sizes of axes, to look at.
    pub fn axes(&self) -> &AxisTable {
        &self.graph.axes
    }

    /// The sizes of axes, to add to.
    pub fn axes_mut(&mut self) -> &mut AxisTable {
        &mut self.graph.axes
    }

    /// Declares an axis.
    pub fn axis(&mut self, name: &str, size: Size) -> Axis {
        let axis = Axis::new(name);
        if let Some(other) = self.graph.axes.declare(axis, size.clone()) {
            let message = format!("axis `{axis}` has size {other} and cannot also have size {size}");
            self.problems.push(Diagnostic::error("size", self.span, message));
        }
        axis
    }

    /// The type of a value.
    pub fn ty(&self, value: ValueId) -> &Type {
        self.graph.ty(value)
    }

    /// Adds an input and its value.
    pub fn input(&mut self, name: &str, ty: Type, role: Role) -> ValueId {
        let index = self.graph.inputs.len() as u32;
        self.graph.inputs.push(Input { name: Name::new(name), ty, role });
        let value = self.push(Op::Input { index }, &[]);
        self.graph[value].name = Some(Name::new(name));
        value
    }

    /// Adds an argument with axes in the declared order.
    pub fn argument(&mut self, name: &str, dtype: DType, axes: &[Axis]) -> ValueId {
        self.input(name, Type::new(dtype, axes.iter().copied()), Role::Argument)
    }

    /// Adds a parameter with axes in the declared order.
    pub fn parameter(
        &mut self,
        name: &str,
        dtype: DType,
        axes: &[Axis],
        init: Init,
        decay: Decay,
    ) -> ValueId {
        self.input(name, Type::new(dtype, axes.iter().copied()), Role::Parameter { init, decay })
    }

    /// Adds an output; its value's order of axes is the declared one.
    pub fn output(&mut self, name: &str, value: ValueId) {
        let axes = self.graph.ty(value).axes.clone();
        self.output_as(name, value, axes);
    }

    /// Adds an output with axes in the order of `axes`.
    pub fn output_as(&mut self, name: &str, value: ValueId, axes: Axes) {
        if axes != self.graph.ty(value).axes {
            let message =
                format!("output `{name}` is declared [{axes}], but its value is {}", self.graph.ty(value));
            self.problems.push(Diagnostic::error("output", self.span, message));
        }
        self.graph.outputs.push(Output { name: Name::new(name), value, axes });
    }

    /// Adds a node if the operation accepts the operands.
    pub fn try_push(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, TypeError> {
        let nodes: SmallVec<[&Node; 3]> = operands.iter().map(|v| &self.graph[*v]).collect();
        let context = Context { axes: &self.graph.axes, inputs: &self.graph.inputs, functions: self.module };
        let types = infer(context, &op, &nodes)?;
        drop(nodes);
        let node = Node { op, operands: operands.into(), types, span: self.span, name: None };
        self.graph.nodes.push(node);
        Ok(ValueId(self.graph.nodes.len() as u32 - 1))
    }

    /// Adds a node. If the operation does not accept the operands, that is noted for [`Builder::finish`], and the
    /// value is a scalar 0.
    pub fn push(&mut self, op: Op, operands: &[ValueId]) -> ValueId {
        match self.try_push(op, operands) {
            Ok(value) => value,
            Err(error) => {
                self.problem(error);
                let op = Op::Const { value: Number::new(0.0), dtype: DType::F32 };
                let types = smallvec![Type::scalar(DType::F32)];
                self.graph.nodes.push(Node { op, operands: smallvec![], types, span: self.span, name: None });
                ValueId(self.graph.nodes.len() as u32 - 1)
            }
        }
    }

    /// Adds what a node of `graph` computes. Its types are inferred again only where the axes of an operand lie in another
    /// order than there, or where that is to look one up: a tuple has as many results as a model has parameters.
    pub fn push_copy(&mut self, graph: &Graph, node: &Node, op: Op, operands: &[ValueId]) -> ValueId {
        let alike = |a: &Type, b: &Type| a.dtype == b.dtype && a.axes.same_order(&b.axes);
        let operands_alike = || {
            node.operands
                .iter()
                .zip(operands)
                .all(|(there, here)| alike(graph.ty(*there), self.graph.ty(*here)))
        };
        let is_looked_up = matches!(op, Op::Proj { .. });
        if is_looked_up || node.operands.len() != operands.len() || !operands_alike() {
            return self.push(op, operands);
        }
        let types = node.types.clone();
        self.graph.nodes.push(Node { op, operands: operands.into(), types, span: self.span, name: None });
        ValueId(self.graph.nodes.len() as u32 - 1)
    }

    /// Notes a type error at the current span.
    pub fn problem(&mut self, error: TypeError) {
        let diagnostic = Diagnostic::error(error.code, self.span, error.message);
        self.problems.push(Diagnostic { help: error.help, ..diagnostic });
    }

    /// Gives a value a name for people.
    pub fn name(&mut self, value: ValueId, name: Name) {
        self.graph[value].name.get_or_insert(name);
    }

    /// The graph, or everything that was wrong.
    pub fn finish(self) -> Result<Graph, Vec<Diagnostic>> {
        if self.problems.is_empty() { Ok(self.graph) } else { Err(self.problems) }
    }

    /// The graph of a compiler pass, which makes no mistakes.
    ///
    /// # Panics
    /// If it made one.
    pub fn finish_pass(self) -> Graph {
        match self.finish() {
            Ok(graph) => graph,
            Err(problems) => panic!("a pass built an ill-typed graph: {}", problems[0]),
        }
    }
}

macro_rules! methods {
    ($( $(#[doc = $doc:literal])+ $method:ident($($operand:ident),+) => $op:ident; )+) => {
        /// Elementwise operations; operands broadcast by name.
        impl Builder<'_> {
            $( $(#[doc = $doc])+ pub fn $method(&mut self, $($operand: ValueId),+) -> ValueId {
                self.push(Op::$op, &[$($operand),+])
            } )+
        }
    };
}

#[rustfmt::skip]
methods! {
    /// `-x`.
    neg(x) => Neg;
    /// Absolute value.
    abs(x) => Abs;
    /// -1, 0 or 1.
    sign(x) => Sign;
    /// The largest whole number that is not above x.
    floor(x) => Floor;
    /// The smallest whole number that is not below x.
    ceil(x) => Ceil;
    /// Exponential.
    exp(x) => Exp;
    /// Natural logarithm.
    log(x) => Log;
    /// `log(1 + x)`.
    log1p(x) => Log1p;
    /// Square root.
    sqrt(x) => Sqrt;
    /// Hyperbolic tangent.
    tanh(x) => Tanh;
    /// Logistic function.
    sigmoid(x) => Sigmoid;
    /// `log(sigmoid(x))`.
    logsigmoid(x) => Logsigmoid;
    /// Error function.
    erf(x) => Erf;
    /// Logical negation.
    not(x) => Not;
    /// No gradient flows through it.
    detach(x) => Detach;
    /// `a + b`.
    add(a, b) => Add;
    /// `a - b`.
    sub(a, b) => Sub;
    /// `a * b`.
    mul(a, b) => Mul;
    /// `a / b`.
    div(a, b) => Div;
    /// The smaller.
    min(a, b) => Min;
    /// The larger.
    max(a, b) => Max;
    /// `a == b`.
    eq(a, b) => Eq;
    /// `a != b`.
    ne(a, b) => Ne;
    /// `a < b`.
    lt(a, b) => Lt;
    /// `a <= b`.
    le(a, b) => Le;
    /// Both.
    and(a, b) => And;
    /// At least one.
    or(a, b) => Or;
    /// `condition ? a : b`.
    select(condition, a, b) => Select;
}

/// Everything else.
impl Builder<'_> {
    /// A scalar constant.
    pub fn constant(&mut self, value: f64, dtype: DType) -> ValueId {
        self.push(Op::Const { value: Number::new(value), dtype }, &[])
    }

    /// The size of an axis as a scalar.
    pub fn size_of(&mut self, axis: Axis, dtype: DType) -> ValueId {
        self.push(Op::SizeOf { axis, dtype }, &[])
    }

    /// The index along an axis.
    pub fn iota(&mut self, axis: Axis) -> ValueId {
        self.push(Op::Iota { axis }, &[])
    }

    /// Another dtype; `x` itself if it has it.
    pub fn cast(&mut self, x: ValueId, dtype: DType) -> ValueId {
        if self.ty(x).dtype == dtype { x } else { self.push(Op::Cast { dtype }, &[x]) }
    }

    /// Sum over `axes`; `x` itself if there are none.
    pub fn sum(&mut self, x: ValueId, axes: Axes) -> ValueId {
        if axes.is_empty() { x } else { self.push(Op::Sum { axes }, &[x]) }
    }

    /// Maximum over `axes`.
    pub fn rmax(&mut self, x: ValueId, axes: Axes) -> ValueId {
        self.push(Op::ReduceMax { axes }, &[x])
    }

    /// Contraction over `axes`; the product if there are none.
    pub fn dot(&mut self, a: ValueId, b: ValueId, axes: Axes) -> ValueId {
        if axes.is_empty() { self.mul(a, b) } else { self.push(Op::Dot { axes }, &[a, b]) }
    }

    /// Running sum.
    pub fn cumsum(&mut self, x: ValueId, axis: Axis, direction: Direction) -> ValueId {
        self.push(Op::CumSum { axis, direction }, &[x])
    }

    /// Running maximum.
    pub fn cummax(&mut self, x: ValueId, axis: Axis, direction: Direction) -> ValueId {
        self.push(Op::CumMax { axis, direction }, &[x])
    }

    /// One axis under another name.
    pub fn rename(&mut self, x: ValueId, from: Axis, to: Axis) -> ValueId {
        if from == to { x } else { self.push(Op::Rename { from, to }, &[x]) }
    }

    /// One axis as several.
    pub fn split(&mut self, x: ValueId, axis: Axis, into: Axes) -> ValueId {
        self.push(Op::Split { axis, into }, &[x])
    }

    /// Several axes as one.
    pub fn merge(&mut self, x: ValueId, axes: Axes, into: Axis) -> ValueId {
        self.push(Op::Merge { axes, into }, &[x])
    }

    /// Repetition along those of `axes` that `x` lacks; `x` itself if it has all.
    pub fn broadcast(&mut self, x: ValueId, axes: &Axes) -> ValueId {
        let axes = axes.without(&self.ty(x).axes);
        if axes.is_empty() { x } else { self.push(Op::Broadcast { axes }, &[x]) }
    }

    /// Elements of an axis from `start` on, as many as `to` has.
    pub fn slice(&mut self, x: ValueId, axis: Axis, to: Axis, start: Size) -> ValueId {
        self.push(Op::Slice { axis, to, start }, &[x])
    }

    /// Zeros around the elements of an axis.
    pub fn pad(&mut self, x: ValueId, axis: Axis, to: Axis, before: Size) -> ValueId {
        self.push(Op::Pad { axis, to, before }, &[x])
    }

    /// One after the other.
    pub fn concat(&mut self, parts: &[(ValueId, Axis)], to: Axis) -> ValueId {
        let (operands, axes): (Vec<_>, Vec<_>) = parts.iter().copied().unzip();
        self.push(Op::Concat { axes, to }, &operands)
    }

    /// Delay along an axis.
    pub fn shift(&mut self, x: ValueId, axis: Axis, by: i64) -> ValueId {
        if by == 0 { x } else { self.push(Op::Shift { axis, by }, &[x]) }
    }

    /// Rows of a table.
    pub fn gather(&mut self, table: ValueId, axis: Axis, index: ValueId) -> ValueId {
        self.push(Op::Gather { axis }, &[table, index])
    }

    /// Adds updates into a zero table.
    pub fn scatter_add(&mut self, updates: ValueId, index: ValueId, axis: Axis, over: Axes) -> ValueId {
        self.push(Op::ScatterAdd { axis, over }, &[updates, index])
    }

    /// A call; one value per output of the callee. The callee's output axes are declared here if they are new.
    pub fn call(&mut self, function: FunctionId, operands: &[ValueId]) -> Vec<ValueId> {
        if let Some(callee) = self.module.get(function.index()) {
            match crate::infer::callee_sizes(&self.graph.axes, &callee.graph) {
                Ok(sizes) => {
                    for axis in callee.graph.outputs.iter().flat_map(|o| o.axes.iter()) {
                        let size = callee.graph.axes.size(axis).substitute(&|name| sizes.get(&name).cloned());
                        self.axis(axis.as_str(), size);
                    }
                }
                Err(error) => self.problem(error),
            }
        }
        let call = self.push(Op::Call { function }, operands);
        self.results(call)
    }

    /// A loop; final states, then stacked yields. `body` must fit as [`Scan`] says. Captures of the body that it does
    /// not use are dropped, and those left are put in the order of first use.
    pub fn scan(&mut self, scan: Scan, operands: &[ValueId]) -> Vec<ValueId> {
        let (scan, operands) = crate::scan::normalize(scan, operands);
        let loop_ = self.push(Op::Scan { scan: Box::new(scan) }, &operands);
        self.results(loop_)
    }

    /// A linear scan: what was read, and the final state. Operands: q, x, w, l, cut, initial state.
    pub fn linread(&mut self, line: &Line, key: Axes, operands: [ValueId; 6]) -> (ValueId, ValueId) {
        let scan = self.push(line.linread(key), &operands);
        match self.results(scan).as_slice() {
            [read, state] => (*read, *state),
            // After a mistake.
            _ => (scan, scan),
        }
    }

    fn results(&mut self, tuple: ValueId) -> Vec<ValueId> {
        // After a mistake the node is a scalar constant, not a tuple.
        if !matches!(self.graph[tuple].op, Op::Scan { .. } | Op::Call { .. } | Op::LinRead { .. }) {
            return vec![tuple];
        }
        (0..self.graph[tuple].types.len() as u32)
            .map(|index| self.push(Op::Proj { index }, &[tuple]))
            .collect()
    }
}
