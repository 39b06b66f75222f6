//! What is computed element by element, in the rows of a statement's innermost loop.
//!
//! An expression is computed where all that it depends on is known: what changes in the innermost loop only counts for
//! every element, the rest once for each turn of the loop that it changes in. Rows whose elements cannot be vectors (an
//! address or a guard that is not linear along them, f64) are done one by one.

use super::count;
use super::profile::Profile;
use super::statement::{Around, Walk};
use super::traffic::{LINE, Touched};
use crate::kernel::{Atom, BufferId, Dim, Expr, ExprId, Guard, Linear, Loop, Region, Store, Var};
use crate::program::element_bytes;
use carousel_ir::{DType, OpKind};
use std::collections::HashMap;

/// What an element counts as that is loaded or stored alone, at a constant distance from the one before.
const STRIDED: f64 = 5.0;
/// The same where its address is computed anew.
const FREE: f64 = 6.0;

/// Operations on an element.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// In vectors.
    cheap: f64,
    /// One by one whatever surrounds them.
    scalar: f64,
    division: f64,
    transcendental: f64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.cheap += other.cheap;
        self.scalar += other.scalar;
        self.division += other.division;
        self.transcendental += other.transcendental;
    }
}

/// The rows of a statement: its innermost loop and those around it.
pub(super) struct Rows {
    around: Around,
    counts: Vec<f64>,
    vars: Vec<Var>,
    /// For each element.
    inner: Tally,
    /// Seconds of what is computed outside of the innermost loop.
    outer: f64,
    is_vector: bool,
}

impl Rows {
    /// A region under loops, its loads counted and touched.
    pub(super) fn new(walk: &mut Walk<'_>, around: Around, region: &Region, loops: &[Loop]) -> Rows {
        let counts: Vec<f64> = loops.iter().map(|l| count(l, walk.dims)).collect();
        let vars: Vec<Var> = loops.iter().map(|l| l.var).collect();
        let mut rows = Rows { around, counts, vars, inner: Tally::default(), outer: 0.0, is_vector: true };
        let depths = rows.depths(region);
        for (at, expr) in region.exprs.iter().enumerate() {
            let is_inner = depths[at] == rows.vars.len() && !rows.vars.is_empty();
            rows.is_vector &= region.dtypes[at] != DType::F64;
            let mut cost = Tally::default();
            match expr {
                Expr::Load { buffer, index, guards } => {
                    rows.touch(walk, *buffer, index);
                    rows.is_vector &= walk.kernel.buffers[buffer.0 as usize].dtype != DType::F64;
                    let elsewhere = |g: &Guard| {
                        rows.inner_var().is_some_and(|v| mentions(&g.index, v, &depths, rows.vars.len()))
                    };
                    let step =
                        rows.inner_var().map_or(Step::Same, |v| step(index, v, &depths, rows.vars.len()));
                    if is_inner && (step == Step::Free || guards.iter().any(elsewhere)) {
                        cost.scalar = FREE + 2.0 * guards.len() as f64;
                    } else if is_inner && step == Step::Strided {
                        cost.scalar = STRIDED;
                    } else {
                        cost.cheap = 1.0;
                    }
                }
                Expr::Const { .. } | Expr::Size { .. } => {}
                Expr::Index { .. } | Expr::Holds { .. } => {
                    if is_inner {
                        cost.scalar = 1.0;
                    } else {
                        cost.cheap = 1.0;
                    }
                }
                Expr::Cast { .. } => cost.cheap = 1.0,
                Expr::Uniform { .. } => cost.transcendental = 1.5,
                Expr::FoldIn { .. } => cost.cheap = 40.0,
                Expr::Apply { op, .. } => match weight(*op) {
                    Weight::Cheap(n) => cost.cheap = n,
                    Weight::Division => cost.division = 1.0,
                    Weight::Transcendental(n) => {
                        cost.transcendental = n;
                        // Its argument and its result go through memory.
                        cost.cheap = 2.0;
                    }
                },
            }
            if is_inner {
                rows.inner.add(cost);
            } else {
                let turns: f64 = rows.counts[..depths[at]].iter().product();
                let elements = walk.profile.elements;
                let calls = if cost.transcendental > 0.0 { walk.profile.overhead.call } else { 0.0 };
                let once = (cost.cheap + cost.scalar + 4.0 * cost.division) / elements.scalar
                    + cost.transcendental / elements.transcendental
                    + calls;
                rows.outer += turns * once;
            }
        }
        rows
    }

    fn inner_var(&self) -> Option<Var> {
        self.vars.last().copied()
    }

    pub(super) fn elements(&self) -> f64 {
        self.counts.iter().product()
    }

    /// Elements depend on each other: none are done side by side.
    pub(super) fn one_by_one(&mut self) {
        self.is_vector = false;
    }

    /// So many more cheap operations on each element.
    pub(super) fn innermost(&mut self, operations: f64) {
        self.inner.cheap += operations;
    }

    /// A store at every element.
    pub(super) fn store(&mut self, walk: &mut Walk<'_>, store: &Store) {
        self.touch(walk, store.buffer, &store.index);
        let step = self.inner_var().map_or(Step::Same, |v| step(&store.index, v, &[], 0));
        match step {
            Step::Same | Step::Contiguous => self.inner.cheap += 1.0,
            Step::Strided => self.inner.scalar += STRIDED,
            Step::Free => self.inner.scalar += FREE,
        }
    }

    /// Bytes that one run of the statement touches at `index`.
    pub(super) fn touch(&self, walk: &mut Walk<'_>, buffer: BufferId, index: &Linear) {
        let elements: f64 = self
            .vars
            .iter()
            .zip(&self.counts)
            .filter(|(var, _)| mentions(index, **var, &[], 0))
            .map(|(_, count)| count)
            .product();
        let each = element_bytes(walk.kernel.buffers[buffer.0 as usize].dtype) as f64;
        // Along one of the loops a line holds as many elements as follow each other.
        let neighbours = self
            .vars
            .iter()
            .zip(&self.counts)
            .map(|(var, count)| if step(index, *var, &[], 0) == Step::Contiguous { *count } else { 1.0 });
        let neighbours: f64 = neighbours.fold(1.0, f64::max);
        let bytes = elements * each;
        let lines = bytes.max(elements / neighbours.min(LINE / each) * LINE);
        let touched = Touched { bytes, lines };
        walk.traffic.touch(self.around.scope, walk.statements.len(), buffer, index, touched);
    }

    /// For each expression, how many of the loops it must be inside of.
    fn depths(&self, region: &Region) -> Vec<usize> {
        let places: HashMap<Var, usize> = self.vars.iter().enumerate().map(|(at, v)| (*v, at + 1)).collect();
        let mut depths: Vec<usize> = Vec::with_capacity(region.exprs.len());
        for expr in &region.exprs {
            let of = |linear: &Linear| depth_of(linear, &places, &depths);
            let known = |id: &ExprId| depths[id.0 as usize];
            let depth = match expr {
                Expr::Load { index, guards, .. } => {
                    guards.iter().map(|g| of(&g.index)).fold(of(index), usize::max)
                }
                Expr::Const { .. } | Expr::Size { .. } => 0,
                Expr::Index { index } => of(index),
                Expr::Holds { guard } => of(&guard.index),
                Expr::Apply { operands, .. } => operands.iter().map(known).max().unwrap_or(0),
                Expr::Cast { value, .. } => known(value),
                Expr::Uniform { seed, step, index, .. } => of(index).max(known(seed)).max(known(step)),
                Expr::FoldIn { seed, .. } => known(seed),
            };
            depths.push(depth);
        }
        depths
    }

    /// One run of the statement.
    pub(super) fn seconds(&self, walk: &Walk<'_>) -> f64 {
        let Profile { elements: rate, overhead, .. } = walk.profile;
        let Tally { cheap, scalar, division, transcendental } = self.inner;
        let each = if self.is_vector {
            cheap / rate.vector + scalar / rate.scalar + division / rate.division
        } else {
            (cheap + scalar + 4.0 * division) / rate.scalar
        };
        let each = each + transcendental / rate.transcendental;
        let rows: f64 = self.counts.iter().rev().skip(1).product();
        // Every call of the tile runtime ends a loop over the row and begins another one.
        let calls = transcendental.ceil();
        let row = overhead.row + calls * (overhead.call + overhead.row);
        self.elements() * each + rows * row + self.outer
    }
}

/// How an offset moves along a loop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Same,
    Contiguous,
    Strided,
    Free,
}

fn step(linear: &Linear, var: Var, depths: &[usize], inner: usize) -> Step {
    let mut found = Step::Same;
    for term in &linear.terms {
        let moves = match &term.atom {
            Atom::One => Step::Same,
            Atom::Var(v) if *v != var => Step::Same,
            Atom::Var(_) if (term.coefficient, term.dim) == (1, Dim::Known(1)) => Step::Contiguous,
            Atom::Var(_) => Step::Strided,
            Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => {
                if mentions(inside, var, depths, inner) { Step::Free } else { Step::Same }
            }
            Atom::Data { value, .. } => {
                let is_inner = depths.get(value.0 as usize).is_none_or(|depth| *depth == inner);
                if is_inner { Step::Free } else { Step::Same }
            }
        };
        found = match (found, moves) {
            (step, Step::Same) => step,
            (Step::Same, step) => step,
            (Step::Contiguous | Step::Strided | Step::Free, _) => Step::Free,
        };
    }
    found
}

/// Whether an offset changes with a variable, itself or by data that change in the innermost of the loops.
fn mentions(linear: &Linear, var: Var, depths: &[usize], inner: usize) -> bool {
    linear.terms.iter().any(|term| match &term.atom {
        Atom::One => false,
        Atom::Var(v) => *v == var,
        Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => mentions(inside, var, depths, inner),
        Atom::Data { value, .. } => depths.get(value.0 as usize).is_none_or(|depth| *depth == inner),
    })
}

fn depth_of(linear: &Linear, places: &HashMap<Var, usize>, depths: &[usize]) -> usize {
    let of = |atom: &Atom| match atom {
        Atom::One => 0,
        Atom::Var(var) => places.get(var).copied().unwrap_or(0),
        Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => depth_of(inside, places, depths),
        Atom::Data { value, .. } => depths[value.0 as usize],
    };
    linear.terms.iter().map(|term| of(&term.atom)).max().unwrap_or(0)
}

/// Loads that follow each other along a variable.
pub(super) fn contiguous_loads(region: &Region, var: Var) -> usize {
    let is_contiguous = |expr: &&Expr| {
        if let Expr::Load { index, .. } = expr { is_contiguous(index, var) } else { false }
    };
    region.exprs.iter().filter(is_contiguous).count()
}

/// Whether elements follow each other along a variable.
pub(super) fn is_contiguous(index: &Linear, var: Var) -> bool {
    step(index, var, &[], 0) == Step::Contiguous
}

/// What an elementwise operation counts as.
enum Weight {
    Cheap(f64),
    Division,
    Transcendental(f64),
}

fn weight(op: OpKind) -> Weight {
    match op {
        OpKind::Exp | OpKind::Log | OpKind::Log1p | OpKind::Sigmoid | OpKind::Tanh | OpKind::Erf => {
            Weight::Transcendental(1.0)
        }
        // An exponential and a logarithm.
        OpKind::Logsigmoid => Weight::Transcendental(2.0),
        OpKind::Div | OpKind::Sqrt => Weight::Division,
        OpKind::Max | OpKind::Min | OpKind::Sign => Weight::Cheap(2.0),
        OpKind::Neg
        | OpKind::Abs
        | OpKind::Floor
        | OpKind::Ceil
        | OpKind::Not
        | OpKind::Add
        | OpKind::Sub
        | OpKind::Mul
        | OpKind::Eq
        | OpKind::Ne
        | OpKind::Lt
        | OpKind::Le
        | OpKind::And
        | OpKind::Or
        | OpKind::Select => Weight::Cheap(1.0),
        // Not elementwise: no expression of a kernel.
        OpKind::Input
        | OpKind::Const
        | OpKind::SizeOf
        | OpKind::Iota
        | OpKind::Uniform
        | OpKind::FoldIn
        | OpKind::Cast
        | OpKind::Detach
        | OpKind::Sum
        | OpKind::ReduceMax
        | OpKind::Dot
        | OpKind::CumSum
        | OpKind::CumMax
        | OpKind::Broadcast
        | OpKind::Rename
        | OpKind::Split
        | OpKind::Merge
        | OpKind::Slice
        | OpKind::Pad
        | OpKind::Concat
        | OpKind::Shift
        | OpKind::Gather
        | OpKind::ScatterAdd
        | OpKind::LinRead
        | OpKind::LinReadDecay
        | OpKind::LinSolve
        | OpKind::Scan
        | OpKind::Call
        | OpKind::Proj => Weight::Cheap(0.0),
    }
}
