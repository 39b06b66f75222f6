//! Asking for the rows that a loop's next turn needs, while this turn computes.
//!
//! A recurrent loop touches a few short rows of each array at every step, a batch's rows far apart: no processor
//! foresees that. Only what is contiguous along its last axis is asked for. Results do not depend on it.

use super::emitter::{Emitter, bytes_of};
use super::nest::{Nest, scaled};
use super::row::Run;
use super::statements::ONCE;
use carousel_core::kernel::{
    Atom, BufferId, Dim, Expr, Extent, Linear, Loop, Matrix, Place, Region, Statement, Term,
};
use carousel_ir::Direction;
use cranelift_codegen::ir::{InstBuilder, Value};

/// Longer rows than this many bytes are foreseen by the processor.
const LONGEST_ROW: u64 = 2048;

/// Rows of an array that the next turn of a loop accesses.
pub(super) struct Next {
    over: Loop,
    direction: Direction,
    rows: Rows,
}

/// Rows of an array at a turn of the loop.
#[derive(Clone, PartialEq)]
struct Rows {
    buffer: BufferId,
    /// Where the first row begins.
    start: Linear,
    rows: Extent,
    /// Elements from one row to the next, as products.
    stride: Vec<(i64, Dim)>,
    columns: Extent,
}

/// What the next turn of a loop accesses: for each statement of its body what no statement before it does.
pub(super) fn next_turn<'s>(
    e: &Emitter<'_, '_>,
    over: Loop,
    direction: Direction,
    body: &'s [Statement],
) -> Vec<(&'s Statement, Vec<Next>)> {
    let mut found: Vec<Rows> = Vec::new();
    let mut new = |statement: &Statement| {
        let mut own: Vec<Rows> = accesses(statement);
        own.retain(|rows| {
            let is_new = is_worth_asking(e, over, rows) && !found.contains(rows);
            if is_new {
                found.push(rows.clone());
            }
            is_new
        });
        own.into_iter().map(|rows| Next { over, direction, rows }).collect()
    };
    // The loops around a single product have nothing to wait for.
    let asks = body.len() > 1;
    body.iter().map(|statement| (statement, if asks { new(statement) } else { Vec::new() })).collect()
}

fn accesses(statement: &Statement) -> Vec<Rows> {
    match statement {
        Statement::Map { loops, region, stores } => {
            let loads = region.exprs.iter().filter_map(|expr| match expr {
                Expr::Load { buffer, index, guards } if guards.is_empty() => Some((*buffer, index)),
                Expr::Load { .. }
                | Expr::Const { .. }
                | Expr::Size { .. }
                | Expr::Index { .. }
                | Expr::Holds { .. }
                | Expr::Apply { .. }
                | Expr::Cast { .. }
                | Expr::Uniform { .. }
                | Expr::FoldIn { .. } => None,
            });
            let all = loads.chain(stores.iter().map(|store| (store.buffer, &store.index)));
            all.filter_map(|(buffer, index)| of_access(loops, buffer, index)).collect()
        }
        Statement::Product { m, n, c, .. } => of_matrix(*m, *n, c).into_iter().collect(),
        Statement::Loop { .. }
        | Statement::Reduce { .. }
        | Statement::Cumulative { .. }
        | Statement::ScatterAdd { .. } => Vec::new(),
    }
}

fn is_worth_asking(e: &Emitter<'_, '_>, over: Loop, rows: &Rows) -> bool {
    let is_argument = matches!(e.kernel.buffers[rows.buffer.0 as usize].place, Place::Argument(_));
    let moves = rows.start.terms.iter().any(|t| t.atom == Atom::Var(over.var));
    let is_known = rows.start.terms.iter().all(|t| match t.atom {
        Atom::One => true,
        Atom::Var(var) => e.variables.contains_key(&var),
        Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => false,
    });
    is_argument && moves && is_known
}

/// The rows of an access of a map with one loop or two.
fn of_access(loops: &[Loop], buffer: BufferId, index: &Linear) -> Option<Rows> {
    let (outer, inner) = match loops {
        [inner] => (None, inner),
        [outer, inner] => (Some(outer), inner),
        _ => return None,
    };
    let along = |over: &Loop| -> Vec<(i64, Dim)> {
        let terms = index.terms.iter().filter(|t| t.atom == Atom::Var(over.var));
        terms.map(|t| (t.coefficient, t.dim)).collect()
    };
    let is_own = |t: &Term| loops.iter().any(|l| t.atom == Atom::Var(l.var));
    let start = Linear { terms: index.terms.iter().filter(|t| !is_own(t)).cloned().collect() };
    let one = Extent::Whole(Dim::Known(1));
    let is_contiguous = along(inner) == [(1, Dim::Known(1))];
    is_contiguous.then(|| Rows {
        buffer,
        start,
        rows: outer.map_or(one, |l| l.extent),
        stride: outer.map(along).unwrap_or_default(),
        columns: inner.extent,
    })
}

/// The rows of a product's result.
fn of_matrix(rows: Extent, columns: Extent, c: &Matrix) -> Option<Rows> {
    (c.column == Dim::Known(1)).then(|| Rows {
        buffer: c.buffer,
        start: c.base.clone(),
        rows,
        stride: vec![(1, c.row)],
        columns,
    })
}

/// Asks for the rows, or for some of them.
pub(super) fn ask(e: &mut Emitter<'_, '_>, next: &Next, some: Option<Run>) {
    let Next { over, direction, rows } = next;
    let bytes = bytes_of(e.dtype(rows.buffer));
    let columns = e.count(rows.columns);
    if columns.known.is_none_or(|n| n * bytes as u64 > LONGEST_ROW) {
        return;
    }
    // The same place with the loop's variable one further on.
    let this = e.variables[&over.var];
    let further = match direction {
        Direction::Forward => 1,
        Direction::Reverse => -1,
    };
    let turn = e.b.ins().iadd_imm_s(this, further);
    e.variables.insert(over.var, turn);
    let region = Region::default();
    let nest = Nest::new(&region, vec![ONCE], &[], &[]);
    let terms: Vec<Value> = rows.start.terms.iter().map(|term| nest.outer_term(e, term)).collect();
    e.variables.insert(over.var, this);
    let offset = sum(e, terms);
    let offset = scaled(e, offset, bytes);
    let start = e.buffer(rows.buffer);
    let mut start = e.b.ins().iadd(start, offset);
    let strides = rows.stride.iter().map(|(coefficient, dim)| {
        let dim = e.dim(*dim);
        scaled(e, dim, coefficient * bytes)
    });
    let strides = strides.collect();
    let stride = sum(e, strides);
    if let Some(first) = some.and_then(|run| run.start) {
        let before = e.b.ins().imul(first, stride);
        start = e.b.ins().iadd(start, before);
    }
    let count = some.map_or_else(|| e.count(rows.rows), |run| run.count).value;
    let length = scaled(e, columns.value, bytes);
    e.call("tile_prefetch", &[start, count, stride, length], None);
}

fn sum(e: &mut Emitter<'_, '_>, values: Vec<Value>) -> Value {
    let first = values.first().copied().unwrap_or_else(|| e.int(0));
    values.into_iter().skip(1).fold(first, |sum, value| e.b.ins().iadd(sum, value))
}
