//! The reverse of a linear scan: three linear scans and the gradient of the decay.
//!
//! With G the cotangent of the state, which runs along the line from its other end:
//!
//! * q gets the read of the states by dy: the scan again with the roles of key and written axes exchanged;
//! * x and w get reads of G, into which q dy is written; the state that this leaves is the initial state's gradient;
//! * l gets, at every step, the sum over the paths from a write to a read that go through the step's decay. How that
//!   is best summed depends on the form, so it is an operation of its own.
//!
//! What a memory reads of itself, `linsolve`, is a linear scan whose written vector is its own result: the cotangent of
//! that vector solves the adjoint line with the vectors exchanged, everything else is as above.
//!
//! Invariant: no value is made that has the line's axis and all axes of the state. Where a step is cut nothing flows.

use crate::expr::{Expr, Tape};
use crate::sweep;
use carousel_ir::{Axes, Diagnostic, FunctionId, Graph, Line, Module, Node, Op, Type, ValueId};

/// The contributions to the operands of a linear scan.
pub(crate) fn vjp(
    tape: &Tape<'_>,
    node: &Node,
    key: &Axes,
    operands: &[ValueId],
    varied: &[bool],
    cotangents: &[Option<ValueId>],
) -> Vec<(usize, ValueId)> {
    let (Some(line), &[q, x, w, l, cut, state]) = (Line::of(&node.op), operands) else {
        unreachable!("a verified linear scan has a line and six operands")
    };
    if cotangents.iter().all(Option::is_none) {
        return Vec::new();
    }
    let full = |given: Option<ValueId>, ty: &Type| match given {
        Some(given) => Expr::new(tape, given).full(&ty.axes).value,
        None => sweep::zeros(tape, ty),
    };
    let (dy, last) = (full(cotangents[0], &node.types[0]), full(cotangents[1], &node.types[1]));
    let varied: Vec<bool> =
        varied.iter().enumerate().map(|(i, v)| *v && (i > 0 || cotangents[0].is_some())).collect();
    contributions(tape, &line, key, [q, x, w, l, cut, state], &varied, [dy, last])
}

/// The contributions to the operands that `varied` names, from the cotangents of both results.
fn contributions(
    tape: &Tape<'_>,
    line: &Line,
    key: &Axes,
    [q, x, w, l, cut, state]: [ValueId; 6],
    varied: &[bool],
    [dy, last]: [ValueId; 2],
) -> Vec<(usize, ValueId)> {
    let own = |v: ValueId| tape.borrow().ty(v).axes.clone();
    let all = own(state);
    // The axes that only the written vector has are the key of the exchanged scans.
    let shared = own(q).union(&own(x)).union(&own(l)).union(&own(cut)).union(key);
    let written = all.without(&shared);
    let w_full = Expr::new(tape, w).full(&written).value;
    let back = line.adjoint();
    let linread = |line: &Line, key: &Axes, operands| tape.borrow_mut().linread(line, key.clone(), operands);
    let reduced = |contribution: ValueId, target: ValueId| {
        let contribution = Expr::new(tape, contribution);
        contribution.onto(&contribution.axes(), &own(target)).value
    };
    let mut given = Vec::new();
    if varied[0] {
        let (dq, _) = linread(line, &written, [dy, w_full, x, l, cut, state]);
        given.push((0, reduced(dq, q)));
    }
    if varied[1] {
        let (dx, _) = linread(&back, &written, [w_full, dy, q, l, cut, last]);
        given.push((1, reduced(dx, x)));
    }
    if varied[2] || varied[5] {
        let (dw, first) = linread(&back, key, [x, q, dy, l, cut, last]);
        given.push((2, reduced(dw, w)));
        given.push((5, first));
    }
    if varied[3] {
        let operands = [q, x, w, l, cut, state, dy, last];
        given.push((3, tape.borrow_mut().push(line.decay_gradient(key.clone()), &operands)));
    }
    given
}

/// The contributions to the operands of what solves a linear scan that reads itself, from its result and the cotangent
/// of that, which may be narrow.
pub(crate) fn solve_vjp(
    tape: &Tape<'_>,
    op: &Op,
    operands: &[ValueId],
    result: ValueId,
    cotangent: ValueId,
) -> Vec<(usize, ValueId)> {
    let (Some(line), Op::LinSolve { key, rank, .. }, &[a, b, _, l, cut]) = (Line::of(op), op, operands)
    else {
        unreachable!("a verified solve has a line and five operands")
    };
    let ty = tape.borrow().ty(result).clone();
    let dr = Expr::new(tape, cotangent).full(&ty.axes).value;
    let adjoint = line.adjoint().linsolve(key.clone(), rank.clone());
    let dz = tape.borrow_mut().push(adjoint, &[b, a, dr, l, cut]);
    let state = Type { axes: key.union(&ty.axes.without(&line.axis.into())), ..ty };
    let zero = sweep::zeros(tape, &state);
    let varied = [true, true, false, true, false, false];
    let given = contributions(tape, &line, key, [a, b, result, l, cut, zero], &varied, [dz, zero]);
    given.into_iter().chain([(2, dz)]).collect()
}

/// What cannot be differentiated: the gradient of a decay, which has no derivative here.
pub(crate) fn second_order(module: &Module, function: FunctionId) -> Vec<Diagnostic> {
    let mut reached = vec![false; module.functions.len()];
    reached[function.index()] = true;
    let mut problems = Vec::new();
    for (id, function) in module.iter().rev() {
        if reached[id.index()] {
            visit(&function.graph, &mut reached, &mut problems);
        }
    }
    problems
}

fn visit(graph: &Graph, reached: &mut [bool], problems: &mut Vec<Diagnostic>) {
    for node in &graph.nodes {
        if let Op::LinReadDecay { .. } = node.op {
            let message = "the derivative of a linear scan by its decay is not differentiated again";
            let problem = Diagnostic::error("gradient", node.span, message);
            problems.push(problem.with_help("expand linear scans first"));
        } else if let Op::LinSolve { rank, .. } = &node.op
            && !rank.is_empty()
        {
            let message = "what solves several reads of a step at once is not differentiated";
            let problem = Diagnostic::error("gradient", node.span, message);
            problems.push(problem.with_help("expand linear scans after differentiation"));
        } else if let Op::Scan { scan } = &node.op {
            visit(&scan.body, reached, problems);
        } else if let Op::Call { function } = node.op {
            reached[function.index()] = true;
        }
    }
}
