//! What rules of forms call: lines, axes and values that are made from the line of a linear scan.
//!
//! Names of new axes follow from the axis that they are made from (`step@s`, `chunk@s`), so that the same function of
//! the same line is the same term, and rules come to an end. Values are built as graphs and then become terms: how
//! weights are computed is said in `weights` alone. Rules say what the forms are made of; nothing here knows.

use super::weights::{self, Edges, Flows, Steps};
use crate::analysis::{Terms, add_op};
use crate::canonical::insert_replacing;
use crate::language::Leaf;
use carousel_ir::{
    Axes, Axis, AxisTable, Builder, DType, Edge, Line, OpKind, Read, Role, Scan, Size, Type, ValueId,
};
use egg::Id;

/// Attributes made from a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LineFunction {
    /// The line within each chunk.
    Steps,
    /// The line from chunk to chunk: a state is read before it decays and is written to.
    Chunks,
    /// The line from its other end.
    Adjoint,
    /// The line that reads what is about to decay.
    Decayed,
    /// Another name of the line's axis, for the steps that are read from.
    Writes,
}

impl LineFunction {
    /// All, with their names in rules.
    pub(crate) const ALL: [(&'static str, LineFunction); 5] = [
        ("steps", LineFunction::Steps),
        ("chunks", LineFunction::Chunks),
        ("adjoint", LineFunction::Adjoint),
        ("decayed", LineFunction::Decayed),
        ("writes", LineFunction::Writes),
    ];
}

/// Values made from a line, or chosen among others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    /// The weight of a step's write in another step's read.
    Between,
    /// The weight of the state before the line in a step's read.
    Inward,
    /// The weight of a step's write in the state after the line.
    Outward,
    /// 1 where a step reads what another one wrote, however little of it is left.
    Seen,
    /// The read's factor of the weights, where all of the line's decays add up to little.
    Toward,
    /// The write's factor of them.
    Away,
    /// The logarithm of the weight of the state before the line in the one after it.
    LogTotal,
    /// The gradient by the decays, from those by the logarithms of the four weights.
    Through,
    /// A sequence, chunk by chunk.
    Lay,
    /// A sequence that was laid out so as it was.
    Back,
    /// The one of two values that has fewer elements when it is multiplied by a first one.
    Lighter,
    /// The other one.
    Heavier,
    /// What the strictly lower triangular matrix of weights between steps makes of itself: x = z + M x.
    Solve,
    /// A value with other names for axes, so that they are not those of another one.
    Aside,
    /// Such a value with its own names.
    Beside,
}

impl Function {
    /// All, with their names in rules and how many values they take.
    pub(crate) const ALL: [(&'static str, Function, usize); 15] = [
        ("between", Function::Between, 2),
        ("seen", Function::Seen, 2),
        ("toward", Function::Toward, 1),
        ("away", Function::Away, 1),
        ("inward", Function::Inward, 2),
        ("outward", Function::Outward, 2),
        ("log_total", Function::LogTotal, 2),
        ("through", Function::Through, 6),
        ("lay", Function::Lay, 1),
        ("back", Function::Back, 1),
        ("lighter", Function::Lighter, 3),
        ("heavier", Function::Heavier, 3),
        ("solve", Function::Solve, 2),
        ("aside", Function::Aside, 1),
        ("beside", Function::Beside, 1),
    ];

    /// Whether a line, or axes, come before the values.
    pub(crate) fn has_attribute(self) -> bool {
        !matches!(self, Function::Lighter | Function::Heavier)
    }
}

/// What separates the word for a new axis from the axis that it is made from.
const OF: char = '@';

/// The name of the axis that is `word` of `axis`.
fn derived(word: &str, axis: Axis) -> Axis {
    Axis::new(&format!("{word}{OF}{axis}"))
}

/// The word and the axis that a new axis was made from.
pub(super) fn origin(axis: Axis) -> Option<(&'static str, Axis)> {
    axis.as_str().split_once(OF).map(|(word, of)| (word, Axis::new(of)))
}

/// The steps of a chunk.
pub(super) fn steps_of(axis: Axis) -> Axis {
    derived("step", axis)
}

/// The axes that a sequence is laid out along.
struct Layout {
    chunk: Axis,
    step: Axis,
    /// The steps and those that fill up the last chunk, where there are such.
    padded: Option<Axis>,
}

/// How `axis` is cut into chunks of `length` steps; the axes are declared.
fn layout(axes: &mut AxisTable, axis: Axis, length: u64) -> Option<Layout> {
    let size = axes.get(axis)?.clone();
    let length = Size::Known(length);
    let count = size.clone().ceil_div(length.clone());
    let total = Size::product([count.clone(), length.clone()]);
    let padded = (total != size).then(|| derived("padded", axis));
    let (chunk, step) = (derived("chunk", axis), steps_of(axis));
    for (new, size) in [(chunk, count), (step, length)].into_iter().chain(padded.map(|p| (p, total))) {
        if axes.declare(new, size).is_some() {
            return None;
        }
    }
    Some(Layout { chunk, step, padded })
}

fn layout_of(terms: &mut Terms, line: &Line) -> Option<Layout> {
    let length = *terms.analysis.chunks.get(&line.axis)?;
    layout(&mut terms.analysis.axes, line.axis, length)
}

/// The axis of the steps that are read from; it is declared.
fn writes(axes: &mut AxisTable, axis: Axis) -> Option<Axis> {
    let (new, size) = (derived("written", axis), axes.get(axis)?.clone());
    axes.declare(new, size).is_none().then_some(new)
}

/// The attribute that a function makes of a line; `None` if it cannot.
pub(crate) fn attribute(terms: &mut Terms, function: LineFunction, line: &Line) -> Option<Leaf> {
    Some(match function {
        LineFunction::Steps => Leaf::Line(Line { axis: layout_of(terms, line)?.step, ..line.clone() }),
        LineFunction::Chunks => {
            let axis = layout_of(terms, line)?.chunk;
            Leaf::Line(Line { axis, direction: line.direction, edge: Edge::After, read: Read::Old })
        }
        LineFunction::Adjoint => Leaf::Line(line.adjoint()),
        LineFunction::Decayed => Leaf::Line(line.decayed()),
        LineFunction::Writes => Leaf::Axis(writes(&mut terms.analysis.axes, line.axis)?),
    })
}

/// The value that a function makes; `None` if it is ill-typed.
pub(crate) fn value(
    terms: &mut Terms,
    function: Function,
    attribute: Option<&Leaf>,
    values: &[Id],
) -> Option<Id> {
    if let (Function::Lighter | Function::Heavier, [factor, a, b]) = (function, values) {
        let first = weight(terms, *factor, *a)? <= weight(terms, *factor, *b)?;
        return Some(if first == (function == Function::Lighter) { *a } else { *b });
    }
    if let (Function::Aside | Function::Beside, Leaf::Axes(axes)) = (function, attribute?) {
        return renamed(terms, function, axes, *values.first()?);
    }
    let Leaf::Line(line) = attribute? else { return None };
    let layout = match function {
        Function::Lay | Function::Back => Some(layout_of(terms, line)?),
        Function::Between
        | Function::Seen
        | Function::Toward
        | Function::Away
        | Function::Inward
        | Function::Outward
        | Function::LogTotal
        | Function::Through
        | Function::Solve
        | Function::Lighter
        | Function::Heavier
        | Function::Aside
        | Function::Beside => None,
    };
    let u = writes(&mut terms.analysis.axes, line.axis)?;
    let mut b = Builder::body(terms.analysis.axes.clone());
    let inputs: Option<Vec<ValueId>> =
        values.iter().map(|v| Some(b.input("x", terms[*v].data.ty()?.clone(), Role::Argument))).collect();
    let inputs = inputs?;
    let steps = Steps::new(line, line.axis, u);
    let edges = |b: &mut Builder<'_>| -> Edges { weights::edges(b, line, inputs[0], inputs[1]) };
    let result = match (function, layout) {
        (Function::Between, _) => {
            let edges = edges(&mut b);
            steps.between(&mut b, &edges)
        }
        (Function::Seen, _) => {
            // Nothing fades.
            let none = b.constant(0.0, b.ty(inputs[0]).dtype);
            let none = b.broadcast(none, &line.axis.into());
            let edges = weights::edges(&mut b, line, none, inputs[1]);
            steps.seen(&mut b, &edges)
        }
        (Function::Toward, _) => steps.toward(&mut b, inputs[0]),
        (Function::Away, _) => steps.away(&mut b, inputs[0]),
        (Function::Inward, _) => {
            let edges = edges(&mut b);
            steps.inward(&mut b, &edges)
        }
        (Function::Outward, _) => {
            let edges = edges(&mut b);
            steps.outward(&mut b, &edges)
        }
        (Function::LogTotal, _) => {
            let edges = edges(&mut b);
            steps.log_total(&mut b, &edges)
        }
        (Function::Through, _) => {
            let edges = edges(&mut b);
            let flows = Flows { between: inputs[2], inward: inputs[3], outward: inputs[4], total: inputs[5] };
            through(&mut b, &steps, inputs[0], &edges, flows)
        }
        (Function::Solve, _) => solve(&mut b, line, u, inputs[0], inputs[1])?,
        (Function::Lay, Some(layout)) => layout.lay(&mut b, line.axis, inputs[0]),
        (Function::Back, Some(layout)) => layout.back(&mut b, line.axis, inputs[0]),
        (Function::Lay | Function::Back, None)
        | (Function::Lighter | Function::Heavier | Function::Aside | Function::Beside, _) => return None,
    };
    b.output("result", result);
    let graph = b.finish().ok()?;
    let inserted = insert_replacing(terms, &graph, &mut |_, index| Some(values[index as usize]));
    inserted[graph.outputs[0].value.index()].as_ref().map(|i| i.class)
}

/// A value with other names for some axes, or with their own again.
fn renamed(terms: &mut Terms, function: Function, axes: &[Axis], value: Id) -> Option<Id> {
    let mut value = value;
    for axis in axes {
        let other = derived("other", *axis);
        let size = terms.analysis.axes.get(*axis)?.clone();
        if terms.analysis.axes.declare(other, size).is_some() {
            return None;
        }
        let (from, to) = if function == Function::Aside { (*axis, other) } else { (other, *axis) };
        value = add_op(terms, OpKind::Rename, vec![Leaf::Axis(from), Leaf::Axis(to)], &[value])?;
    }
    Some(value)
}

/// Forward substitution, `None` if it is ill-typed: the `x` with `x_t = z_t + sum over u of matrix_tu x_u`, where the matrix is 0 but for steps u before t.
fn solve(b: &mut Builder<'_>, line: &Line, u: Axis, matrix: ValueId, z: ValueId) -> Option<ValueId> {
    let t = line.axis;
    let Type { dtype, axes } = b.ty(z).clone();
    let found = axes.without(&t.into());
    let all = found.union(&u.into());
    let zero = b.constant(0.0, dtype);
    let (start, number) = (b.broadcast(zero, &all), b.iota(t));
    let mut body = Builder::body(b.axes().clone());
    let row = b.ty(matrix).axes.without(&t.into());
    let inputs = [
        ("found", Type { dtype, axes: all.clone() }),
        ("row", Type { dtype, axes: row }),
        ("z", Type { dtype, axes: found.clone() }),
        ("number", Type { dtype: DType::I32, axes: Axes::none() }),
    ];
    let [before, row, own, at] = inputs.map(|(name, ty)| body.input(name, ty, Role::Argument));
    let seen = body.dot(row, before, u.into());
    let x = body.add(own, seen);
    let x = body.broadcast(x, &found);
    let place = body.iota(u);
    let here = body.eq(place, at);
    let after = body.select(here, x, before);
    let after = body.broadcast(after, &all);
    body.output("found", after);
    body.output("x", x);
    let scan = Scan { axis: t, direction: line.direction, states: 1, sequences: 3, body: body.finish_pass() };
    b.scan(scan, &[start, matrix, z, number]).get(1).copied()
}

/// How large the product of a factor and a value is, with the places of the value's axes so that no two values with
/// different axes are equally large, and so that no name decides.
fn weight(terms: &Terms, factor: Id, value: Id) -> Option<(u64, u64, Vec<usize>)> {
    // A guess for sizes that are not known: it need only be the same everywhere.
    const DYNAMIC: u64 = 64;
    let axes = &terms[value].data.ty()?.axes;
    let count = |axes: &Axes| terms.analysis.axes.elements(axes).evaluate(&|_| Some(DYNAMIC));
    let product = count(&axes.union(&terms[factor].data.ty()?.axes))?;
    let mut places: Vec<usize> = axes.iter().filter_map(|a| terms.analysis.axes.position(a)).collect();
    places.sort_unstable();
    Some((product, count(axes)?, places))
}

impl Layout {
    fn parts(&self) -> Axes {
        Axes::new([self.chunk, self.step])
    }

    /// Steps that fill up are zeros: they neither decay nor write, and nobody looks at what they read.
    fn lay(&self, b: &mut Builder<'_>, axis: Axis, x: ValueId) -> ValueId {
        match self.padded {
            Some(padded) => {
                let x = b.pad(x, axis, padded, Size::Known(0));
                b.split(x, padded, self.parts())
            }
            None => b.split(x, axis, self.parts()),
        }
    }

    fn back(&self, b: &mut Builder<'_>, axis: Axis, x: ValueId) -> ValueId {
        match self.padded {
            Some(padded) => {
                let x = b.merge(x, self.parts(), padded);
                b.slice(x, padded, axis, Size::Known(0))
            }
            None => b.merge(x, self.parts(), axis),
        }
    }
}

/// The gradient by the decays `l`, with its axes.
fn through(b: &mut Builder<'_>, steps: &Steps, l: ValueId, edges: &Edges, flows: Flows) -> ValueId {
    let own = b.ty(l).axes.clone();
    // Only the axes of the decay are left, and until the end those of the cuts, which close edges one by one.
    let kept = own.union(&b.ty(edges.closed).axes).union(&steps.u.into());
    let mut narrow = |v: ValueId| {
        let rest = b.ty(v).axes.without(&kept);
        b.sum(v, rest)
    };
    let Flows { between, inward, outward, total } = flows;
    let flows = Flows {
        between: narrow(between),
        inward: narrow(inward),
        outward: narrow(outward),
        total: narrow(total),
    };
    let gradient = steps.gradient(b, edges, &flows);
    let rest = b.ty(gradient).axes.without(&own);
    let gradient = b.sum(gradient, rest);
    b.broadcast(gradient, &own)
}
