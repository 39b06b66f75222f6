//! What rules of forms call: lines, axes and values that are made from the line of a linear scan.
//!
//! Names of new axes follow from the axis that they are made from (`step@s`, `chunk@s`), so that the same function of
//! the same line is the same term, and rules come to an end. Values are built as graphs and then become terms: how
//! weights are computed is said in `weights` alone. Rules say what the forms are made of; nothing here knows.

use super::weights::{Edges, Flows, Steps, edges};
use crate::analysis::Terms;
use crate::canonical::insert_replacing;
use crate::language::Leaf;
use carousel_ir::{Axes, Axis, AxisTable, Builder, Edge, Line, Read, Role, Size, ValueId};
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
    /// Another name of the line's axis, for the steps that are read from.
    Writes,
}

impl LineFunction {
    /// All, with their names in rules.
    pub(crate) const ALL: [(&'static str, LineFunction); 4] = [
        ("steps", LineFunction::Steps),
        ("chunks", LineFunction::Chunks),
        ("adjoint", LineFunction::Adjoint),
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
    /// The logarithm of the weight of the state before the line in the one after it.
    LogTotal,
    /// The gradient by the decays, from those by the logarithms of the four weights.
    Through,
    /// A sequence, chunk by chunk.
    Lay,
    /// A sequence that was laid out so as it was.
    Back,
    /// The one of two values that has fewer elements.
    Lighter,
    /// The other one.
    Heavier,
}

impl Function {
    /// All, with their names in rules and how many values they take.
    pub(crate) const ALL: [(&'static str, Function, usize); 9] = [
        ("between", Function::Between, 2),
        ("inward", Function::Inward, 2),
        ("outward", Function::Outward, 2),
        ("log_total", Function::LogTotal, 2),
        ("through", Function::Through, 6),
        ("lay", Function::Lay, 1),
        ("back", Function::Back, 1),
        ("lighter", Function::Lighter, 2),
        ("heavier", Function::Heavier, 2),
    ];

    /// Whether a line comes before the values.
    pub(crate) fn has_line(self) -> bool {
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
        LineFunction::Writes => Leaf::Axis(writes(&mut terms.analysis.axes, line.axis)?),
    })
}

/// The value that a function makes; `None` if it is ill-typed.
pub(crate) fn value(terms: &mut Terms, function: Function, line: Option<&Line>, values: &[Id]) -> Option<Id> {
    if let (Function::Lighter | Function::Heavier, [a, b]) = (function, values) {
        let first = weight(terms, *a)? <= weight(terms, *b)?;
        return Some(if first == (function == Function::Lighter) { *a } else { *b });
    }
    let line = line?;
    let layout = match function {
        Function::Lay | Function::Back => Some(layout_of(terms, line)?),
        Function::Between
        | Function::Inward
        | Function::Outward
        | Function::LogTotal
        | Function::Through
        | Function::Lighter
        | Function::Heavier => None,
    };
    let u = writes(&mut terms.analysis.axes, line.axis)?;
    let mut b = Builder::body(terms.analysis.axes.clone());
    let inputs: Option<Vec<ValueId>> =
        values.iter().map(|v| Some(b.input("x", terms[*v].data.ty()?.clone(), Role::Argument))).collect();
    let inputs = inputs?;
    let steps = Steps::new(line, line.axis, u);
    let edges = |b: &mut Builder<'_>| -> Edges { edges(b, line, inputs[0], inputs[1]) };
    let result = match (function, layout) {
        (Function::Between, _) => {
            let edges = edges(&mut b);
            steps.between(&mut b, &edges)
        }
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
        (Function::Lay, Some(layout)) => layout.lay(&mut b, line.axis, inputs[0]),
        (Function::Back, Some(layout)) => layout.back(&mut b, line.axis, inputs[0]),
        (Function::Lay | Function::Back, None) | (Function::Lighter | Function::Heavier, _) => return None,
    };
    b.output("result", result);
    let graph = b.finish().ok()?;
    let inserted = insert_replacing(terms, &graph, &mut |_, index| Some(values[index as usize]));
    inserted[graph.outputs[0].value.index()].as_ref().map(|i| i.class)
}

/// How large a value is, with its axes so that no two values with different axes are equally large.
fn weight(terms: &Terms, value: Id) -> Option<(u64, Vec<Axis>)> {
    // A guess for sizes that are not known: it need only be the same everywhere.
    const DYNAMIC: u64 = 64;
    let axes = &terms[value].data.ty()?.axes;
    let elements = terms.analysis.axes.elements(axes).evaluate(&|_| Some(DYNAMIC))?;
    let mut names: Vec<Axis> = axes.iter().collect();
    names.sort_by_key(|a| a.as_str());
    Some((elements, names))
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
