//! Statements as loops of a block's threads.
//!
//! Threads take the points of a statement in turns; a thread's numbers fit 32 bits, which a launch makes sure of.

use super::linear::{dim, linear, value};
use super::runs::{self, Run};
use super::{Context, Point, THREADS, barriers, steps};
use crate::codegen::expression::{loaded, register_type};
use carousel_core::kernel::{
    Atom, Dim, Expr, ExprId, Extent, Kernel, Linear, Loop, Matrix, Region, Statement, Store, Update, Var,
};
use carousel_ir::{DType, Direction};
use std::collections::HashSet;

/// Who takes the points of a nest of loops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Workers {
    /// The threads of all who do the grid point.
    Threads,
    /// Their warps, all threads of one together.
    Warps,
    /// The threads of a warp.
    Lanes,
    /// Sixteen parts of a block, of which each has sixteen threads.
    Parts,
    /// One point after the other, by whoever is here.
    Sequence,
}

impl Workers {
    /// The first point of a worker, and how far it goes with so many points at a time.
    pub(super) fn first_and_step(self, point: Point, width: u64) -> (&'static str, String) {
        let (first, count) = match (self, point) {
            (Workers::Threads, Point::Block | Point::Share) => ("threadIdx.x", u64::from(THREADS)),
            (Workers::Warps, Point::Block | Point::Share) => ("threadIdx.x / 32", u64::from(THREADS) / 32),
            (Workers::Lanes, _) => ("threadIdx.x % 32", 32),
            (Workers::Parts, _) => ("threadIdx.x / 16", 16),
            (Workers::Sequence, _) => ("0", 1),
            (Workers::Threads, Point::Team) if width == 1 => return ("thread", "threads".to_string()),
            (Workers::Threads, Point::Team) => return ("thread", format!("{width} * threads")),
            (Workers::Warps, Point::Team) => return ("thread / 32", format!("{width} * (threads / 32)")),
        };
        (first, (width * count).to_string())
    }
}

/// A product with a side that is known to be shorter fills too little of a tile.
const SMALL_SIDE: u64 = 8;

/// Fewer columns than this do not fill the runs of sixteen threads.
const WORTH_COLUMNS: u64 = 32;

/// What an axis of unknown size is taken for where alternatives are weighed.
const LIKELY: u64 = 64;

pub(super) fn likely(extent: &Extent) -> u64 {
    match extent {
        Extent::Whole(Dim::Known(n)) => *n,
        Extent::Whole(Dim::Argument(_)) => LIKELY,
        Extent::Tile { whole: Dim::Known(n), tile, .. } => (*n).min(*tile),
        Extent::Tile { whole: Dim::Argument(_), tile, .. } => *tile,
    }
}

/// About how many points a nest has.
pub(super) fn likely_points(loops: &[Loop]) -> u64 {
    loops.iter().map(|over| likely(&over.extent)).fold(1, u64::saturating_mul)
}

/// Fewer runs than this are not worth it: their points are a thread's each.
const FEW_RUNS: u64 = 16;

/// The runs along the last loop of a nest, if there are some.
pub(super) fn some_runs(kernel: &Kernel, loops: &[Loop], region: &Region, stores: &[Store]) -> Option<Run> {
    let run = runs::of(kernel, loops, region, stores)?;
    (likely_points(loops) >= run.width * FEW_RUNS).then_some(run)
}

fn variables(loops: &[Loop]) -> String {
    loops.iter().map(|over| format!("x{}", over.var.0)).collect::<Vec<_>>().join(", ")
}

impl Context<'_> {
    pub(super) fn statement(&mut self, statement: &Statement, plan: &barriers::Plan) {
        match statement {
            Statement::Loop { over, direction, body } => {
                if let Some(running) = steps::of(self.kernel, over, *direction, body) {
                    return self.running(&running);
                }
                let extent = self.extent(&over.extent);
                let var = over.var.0;
                match direction {
                    Direction::Forward => {
                        self.out.open(format!("for (i64 x{var} = 0; x{var} < {extent}; ++x{var})"));
                    }
                    Direction::Reverse => {
                        self.out.open(format!("for (i64 x{var} = {extent} - 1; x{var} >= 0; --x{var})"));
                    }
                }
                self.statements(body, plan);
                self.turn(over.var);
                self.out.close();
            }
            Statement::Map { loops, region, stores } => {
                let names: Vec<&str> = stores.iter().map(|store| self.buffer(store.buffer)).collect();
                let title = format!("// {} at every [{}]", names.join(", "), variables(loops));
                let Some(run) = some_runs(self.kernel, loops, region, stores) else {
                    self.out.line(title);
                    let ends = self.points(Workers::Threads, loops);
                    self.region(region);
                    stores.iter().for_each(|store| self.store_value(store, &value(store.value)));
                    self.end(ends);
                    return;
                };
                self.out.line(format!("{title}, {} along x{} at a time", run.width, run.var.0));
                let ends = self.runs(Workers::Threads, loops, run);
                self.run(run, region, stores, |_| ());
                self.end(ends);
            }
            Statement::Reduce { loops, over, region, combine, store, update } => {
                let name = self.buffer(store.buffer).to_string();
                self.out.line(format!(
                    "// {name} at every [{}]: {} over [{}]",
                    variables(loops),
                    super::reduce::word(*combine),
                    variables(over)
                ));
                self.reduce((loops, over), region, *combine, store, *update);
            }
            Statement::Cumulative { loops, along, direction, region, combine, store } => {
                let name = self.buffer(store.buffer).to_string();
                self.out.line(format!(
                    "// {name} at every [{}]: running {} along x{}",
                    variables(loops),
                    super::reduce::word(*combine),
                    along.var.0
                ));
                self.cumulative(loops, (along, *direction), region, *combine, store);
            }
            Statement::ScatterAdd { loops, region, store } => self.scatter(loops, region, store),
            // A triangle is computed whole.
            Statement::Product { m, n, k, a, b, c, update, dtype, triangle: _ } => {
                self.product([m, n, k], [a, b, c], *update, *dtype);
            }
        }
    }

    /// Begins a nest whose points workers take in turns, and tells how many braces end it.
    pub(super) fn points(&mut self, workers: Workers, loops: &[Loop]) -> usize {
        self.nest(workers, loops, None)
    }

    /// The same whose runs workers take: `f` and the number of the variable is the first point of a run.
    pub(super) fn runs(&mut self, workers: Workers, loops: &[Loop], run: Run) -> usize {
        let ends = self.nest(workers, loops, Some(run));
        let (width, extent) = (run.width, loops.last().map_or(String::new(), |l| self.extent(&l.extent)));
        self.out.line(format!("const i32 left = elements_left<{width}>({extent} - f{});", run.var.0));
        ends
    }

    fn nest(&mut self, workers: Workers, loops: &[Loop], run: Option<Run>) -> usize {
        let by = |width| workers.first_and_step(self.workers, width).1;
        let (first, count) = workers.first_and_step(self.workers, 1);
        // The name of a loop's variable, and by how many points it goes.
        let step = |over: &Loop| match run {
            Some(run) if run.var == over.var => (format!("f{}", over.var.0), run.width),
            Some(_) | None => (format!("x{}", over.var.0), 1),
        };
        match (workers, loops) {
            (Workers::Sequence, loops) => {
                for over in loops {
                    let ((x, width), extent) = (step(over), self.extent(&over.extent));
                    let next = if width == 1 { format!("++{x}") } else { format!("{x} += {width}") };
                    self.out.open(format!("for (i64 {x} = 0; {x} < {extent}; {next})"));
                }
                loops.len()
            }
            (_, []) => {
                // There is one point: the first worker's.
                self.out.open(format!("if ({first} == 0)"));
                1
            }
            (_, [over]) => {
                let ((x, width), extent) = (step(over), self.extent(&over.extent));
                let from = match (width, first.contains(' ')) {
                    (1, _) => first.to_string(),
                    (_, true) => format!("{width} * ({first})"),
                    (_, false) => format!("{width} * {first}"),
                };
                let by = by(width);
                self.out.open(format!("for (i64 {x} = {from}; {x} < {extent}; {x} += {by})"));
                1
            }
            (_, [outer, rest @ ..]) => {
                self.out.open("");
                let mut names = Vec::new();
                for over in loops {
                    let name = format!("n{}", over.var.0);
                    let (extent, (_, width)) = (self.extent(&over.extent), step(over));
                    self.out.line(match width {
                        1 => format!("const u32 {name} = (u32){extent};"),
                        _ => format!("const u32 {name} = (u32)(({extent} + {}) / {width});", width - 1),
                    });
                    names.push(name);
                }
                let all = names.join(" * ");
                // A number of its own for each nest: nests lie in one another.
                let t = format!("t{}", outer.var.0);
                self.out.open(format!("for (u32 {t} = {first}; {t} < {all}; {t} += {count})"));
                let mut above = t;
                for over in rest.iter().rev() {
                    let (var, (x, width)) = (over.var.0, step(over));
                    self.out.line(match width {
                        1 => format!("const i64 {x} = {above} % n{var};"),
                        _ => format!("const i64 {x} = (i64)({above} % n{var}) * {width};"),
                    });
                    above = format!("{above} / n{var}");
                }
                self.out.line(format!("const i64 x{} = {above};", outer.var.0));
                2
            }
        }
    }

    pub(super) fn end(&mut self, braces: usize) {
        (0..braces).for_each(|_| self.out.close());
    }

    /// Sums at places that data names. Points that may meet are one thread's, in order; what distinguishes places
    /// anyway is shared out.
    fn scatter(&mut self, loops: &[Loop], region: &Region, store: &Store) {
        let name = self.buffer(store.buffer).to_string();
        let (shared, own): (Vec<Loop>, Vec<Loop>) =
            loops.iter().partition(|over| separates(over.var, region, &store.index));
        let (outer, inner) = (variables(&shared), variables(&own));
        self.out.line(format!(
            "// {name}: sums at places from data; one thread for each [{outer}] goes over [{inner}]"
        ));
        let ends = self.points(Workers::Threads, &shared) + self.points(Workers::Sequence, &own);
        self.region(region);
        let element = format!("{name}[{}]", linear(&store.index));
        let dtype = self.dtype(store.buffer);
        // The place is looked up once: looking it up reports what is wrong with it.
        self.out.line(format!("auto& place = {element};"));
        let sum = format!("{} + {}", loaded(dtype, "place"), value(store.value));
        let line = format!("place = {};", super::expression::stored(dtype, &format!("({sum})")));
        self.out.line(line);
        self.end(ends);
    }

    fn product(&mut self, [m, n, k]: [&Extent; 3], [a, b, c]: [&Matrix; 3], update: Update, dtype: DType) {
        let (ty, adds) = (register_type(dtype), update == Update::Add);
        let (rows, columns, depth) = (likely(m), likely(n), likely(k));
        let along_k = if rows == 1 { b.row } else { a.column };
        let is_block = self.workers != Point::Team;
        let is_rounded = dtype == DType::F32 && self.kernel.factors == DType::Bf16;
        let way = match (rows.min(columns), along_k) {
            (1, Dim::Known(1)) => format!("product_by_warps<{ty}, {adds}>"),
            _ if is_block && rows < SMALL_SIDE && columns >= WORTH_COLUMNS && b.column == Dim::Known(1) => {
                format!("product_by_columns<{ty}, {adds}>")
            }
            (0..SMALL_SIDE, _) => format!("product_by_threads<{ty}, {adds}>"),
            _ if depth < SMALL_SIDE => format!("product_by_threads<{ty}, {adds}>"),
            _ if dtype == DType::F64 => format!("product_in_tiles<{ty}, {adds}>"),
            _ => format!("product_on_tensor_cores<{adds}, {is_rounded}>"),
        };
        let [m, n, k] = [m, n, k].map(|extent| self.extent(extent));
        let (a_name, b_name, c_name) = (self.buffer(a.buffer), self.buffer(b.buffer), self.buffer(c.buffer));
        let sign = if update == Update::Add { "+=" } else { "=" };
        let title = format!("// {c_name} {sign} {a_name} {b_name}, [{m}, {k}] times [{k}, {n}]");
        let matrix = |name: &str, matrix: &Matrix| {
            let (base, row, column) = (linear(&matrix.base), dim(matrix.row), dim(matrix.column));
            format!("{name} + {base}, {row}, {column}")
        };
        let [of_a, of_b, of_c] = [matrix(a_name, a), matrix(b_name, b), matrix(c_name, c)];
        let call = match (self.shares, self.workers) {
            (Some(shares), _) if !is_rounded && matches!(dtype, DType::F32 | DType::F64) => {
                let width = shares.width;
                format!("product_of_share<{ty}, {adds}, {width}>({m}, {n}, {k}, {of_a}, {b_name}, {of_c});")
            }
            (_, Point::Team) => format!("{way}({m}, {n}, {k}, {of_a}, {of_b}, {of_c}, rank, team_size);"),
            (_, Point::Block | Point::Share) => format!("{way}({m}, {n}, {k}, {of_a}, {of_b}, {of_c});"),
        };
        self.out.line(title);
        self.out.line(call);
    }
}

/// Whether points that differ in a variable have different places, whatever the data.
fn separates(var: Var, region: &Region, index: &Linear) -> bool {
    let mut in_data = HashSet::new();
    let mut nested = HashSet::new();
    for term in &index.terms {
        match &term.atom {
            Atom::Data { value, .. } => variables_of(*value, region, &mut in_data),
            Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => collect(inside, region, &mut nested),
            Atom::One | Atom::Var(_) => {}
        }
    }
    let is_direct = index.terms.iter().any(|term| term.atom == Atom::Var(var));
    is_direct && !in_data.contains(&var) && !nested.contains(&var)
}

pub(super) fn collect(linear: &Linear, region: &Region, found: &mut HashSet<Var>) {
    for term in &linear.terms {
        match &term.atom {
            Atom::One => {}
            Atom::Var(var) => {
                found.insert(*var);
            }
            Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => collect(inside, region, found),
            Atom::Data { value, .. } => variables_of(*value, region, found),
        }
    }
}

/// The variables on which an expression depends.
pub(super) fn variables_of(id: ExprId, region: &Region, found: &mut HashSet<Var>) {
    match &region.exprs[id.0 as usize] {
        Expr::Load { index, guards, .. } => {
            collect(index, region, found);
            guards.iter().for_each(|guard| collect(&guard.index, region, found));
        }
        Expr::Const { .. } | Expr::Size { .. } => {}
        Expr::Index { index } => collect(index, region, found),
        Expr::Holds { guard } => collect(&guard.index, region, found),
        Expr::Apply { operands, .. } => operands.iter().for_each(|id| variables_of(*id, region, found)),
        Expr::Cast { value, .. } => variables_of(*value, region, found),
        Expr::Uniform { seed, step, index, .. } => {
            variables_of(*seed, region, found);
            variables_of(*step, region, found);
            collect(index, region, found);
        }
        Expr::FoldIn { seed, .. } => variables_of(*seed, region, found),
    }
}
