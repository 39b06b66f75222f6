//! Reductions.
//!
//! The order in which values are combined is that of the text, never that in which threads happen to come.

use super::expression::{constant, loaded, register_type, stored};
use super::linear::{linear, value};
use super::runs::{self, Run};
use super::statement::{Workers, likely_points, some_runs};
use super::{Context, Point, THREADS};
use carousel_core::kernel::{Atom, Combine, Dim, Expr, Loop, Region, Store, Update};
use carousel_ir::DType;

/// Fewer results than this do not keep the warps of a block busy.
pub(super) const FEW_RESULTS: u64 = 4;
/// As many points are worth a warp.
const WORTH_WARP: u64 = 32;

/// How values are combined, for comments.
pub(super) fn word(combine: Combine) -> &'static str {
    match combine {
        Combine::Sum => "sum",
        Combine::Max => "largest",
    }
}

/// The type of the combination in the runtime.
pub(super) fn operation(combine: Combine) -> &'static str {
    match combine {
        Combine::Sum => "Sum",
        Combine::Max => "Larger",
    }
}

/// What a combination starts from.
pub(super) fn neutral(combine: Combine, dtype: DType) -> String {
    match (combine, dtype) {
        (Combine::Sum, _) => constant(0.0, dtype),
        (Combine::Max, DType::I32) => constant(f64::from(i32::MIN), dtype),
        (Combine::Max, DType::U32 | DType::Bool) => constant(0.0, dtype),
        (Combine::Max, DType::F32 | DType::F64 | DType::Bf16 | DType::F16) => {
            constant(f64::NEG_INFINITY, dtype)
        }
    }
}

/// Whether neighbouring points of the innermost of `over` lie next to each other in some memory that is read.
fn is_contiguous(region: &Region, over: &[Loop]) -> bool {
    let Some(inner) = over.last() else { return false };
    region.exprs.iter().any(|expr| {
        let Expr::Load { index, .. } = expr else { return false };
        index.terms.iter().any(|term| {
            term.atom == Atom::Var(inner.var) && term.dim == Dim::Known(1) && term.coefficient == 1
        })
    })
}

impl Context<'_> {
    pub(super) fn reduce(
        &mut self,
        (loops, over): (&[Loop], &[Loop]),
        region: &Region,
        combine: Combine,
        store: &Store,
        update: Update,
    ) {
        let (results, points) = (likely_points(loops), likely_points(over));
        let (operation, ty) = (operation(combine), self.sum_type(region, store));
        // By whole blocks, by warps or by threads alone.
        let is_block = self.workers != Point::Team;
        let (takers, parts, combined) = if is_block && results < FEW_RESULTS && points >= WORTH_WARP {
            (Workers::Sequence, Workers::Threads, Some("combine_block"))
        } else if points >= WORTH_WARP && (results < FEW_RESULTS || is_contiguous(region, over)) {
            (Workers::Warps, Workers::Lanes, Some("combine_warp"))
        } else {
            (Workers::Threads, Workers::Sequence, None)
        };
        if takers == Workers::Threads {
            let run = some_runs(self.kernel, loops, region, std::slice::from_ref(store));
            if let Some(run) = run
                && (points < WORTH_WARP || results >= run.width * u64::from(THREADS))
            {
                return self.neighbours((loops, over), region, combine, (store, update), run);
            }
            if is_block
                && points >= WORTH_WARP
                && let Some(run) = runs::of(self.kernel, loops, region, &[])
            {
                return self.columns((loops, over), region, combine, (store, update), run);
            }
        }
        let run = runs::of(self.kernel, over, region, &[]);
        // Of a nest without loops, all of the warp or of the block do the one point.
        let ends = match (loops, takers) {
            ([], Workers::Warps) => {
                let (first, _) = Workers::Threads.first_and_step(self.workers, 1);
                self.out.open(format!("if ({first} < 32)"));
                1
            }
            ([], Workers::Sequence) => {
                self.out.open("");
                1
            }
            _ => self.points(takers, loops),
        };
        self.out.line(format!("{ty} sum = {};", neutral(combine, region.dtypes[store.value.0 as usize])));
        let inner = match (over, parts) {
            ([], Workers::Sequence) => {
                self.out.open("");
                1
            }
            _ => match run {
                Some(run) => self.runs(parts, over, run),
                None => self.points(parts, over),
            },
        };
        let sum = format!("{operation}::of(sum, {})", value(store.value));
        match run {
            Some(run) => self.run(run, region, &[], |cx| {
                cx.out.line(format!("sum = at < left ? {sum} : sum;"));
            }),
            None => {
                self.region(region);
                self.out.line(format!("sum = {sum};"));
            }
        }
        self.end(inner);
        if let Some(function) = combined {
            self.out.line(format!("sum = {function}<{operation}>(sum);"));
            let first = if function == "combine_warp" { "threadIdx.x % 32" } else { "threadIdx.x" };
            self.out.open(format!("if ({first} == 0)"));
        }
        self.settle(store, update);
        self.end(ends + usize::from(combined.is_some()));
    }

    /// Neighbouring results of what lies in rows: a thread takes a run of them.
    fn neighbours(
        &mut self,
        (loops, over): (&[Loop], &[Loop]),
        region: &Region,
        combine: Combine,
        (store, update): (&Store, Update),
        run: Run,
    ) {
        let ends = self.runs(Workers::Threads, loops, run);
        self.begin_sums(region, combine, store, run);
        self.add_rows((Workers::Sequence, over), region, combine, store, run);
        match update {
            Update::Set => self.store_all(store, run, "sums[at]"),
            Update::Add => {
                let braces = self.each_left(run);
                self.out.line(format!("const {} sum = sums[at];", self.sum_type(region, store)));
                self.settle(store, update);
                self.end(braces);
            }
        }
        self.end(ends);
    }

    /// A sum for each point of a run, of nothing yet.
    fn begin_sums(&mut self, region: &Region, combine: Combine, store: &Store, run: Run) {
        let start = neutral(combine, region.dtypes[store.value.0 as usize]);
        self.out.line(format!("{} sums[{}];", self.sum_type(region, store), run.width));
        self.out.line("#pragma unroll");
        self.out.line(format!("for (i32 at = 0; at < {}; ++at) sums[at] = {start};", run.width));
    }

    /// Adds the rows that workers take to them.
    fn add_rows(
        &mut self,
        (workers, over): (Workers, &[Loop]),
        region: &Region,
        combine: Combine,
        store: &Store,
        run: Run,
    ) {
        let operation = operation(combine);
        let rows = self.points(workers, over);
        self.run(run, region, &[], |cx| {
            cx.out.line(format!("sums[at] = {operation}::of(sums[at], {});", value(store.value)));
        });
        self.end(rows);
    }

    /// Begins the points of a run that are there.
    fn each_left(&mut self, Run { var, width }: Run) -> usize {
        self.out.line("#pragma unroll");
        self.out.open(format!("for (i32 at = 0; at < {width}; ++at)"));
        self.out.open("if (at < left)");
        self.out.line(format!("const i64 x{0} = f{0} + at;", var.0));
        2
    }

    /// The same where results are few: a thread has a sixteenth of the rows.
    fn columns(
        &mut self,
        (loops, over): (&[Loop], &[Loop]),
        region: &Region,
        combine: Combine,
        (store, update): (&Store, Update),
        run: Run,
    ) {
        let Some((inner, outer)) = loops.split_last() else { return };
        let (width, number, extent) = (run.width, run.var.0, self.extent(&inner.extent));
        let ends = self.points(Workers::Sequence, outer);
        self.out.open(format!("for (i64 b{number} = 0; b{number} < {extent}; b{number} += {})", 16 * width));
        self.out.line(format!("const i64 f{number} = b{number} + {width} * (threadIdx.x % 16);"));
        self.out.line(format!("const i32 left = elements_left<{width}>({extent} - f{number});"));
        self.begin_sums(region, combine, store, run);
        // A thread without results would go over the last one again, and harm nobody; it saves that.
        self.out.open("if (left > 0)");
        self.add_rows((Workers::Parts, over), region, combine, store, run);
        self.out.close();
        self.out.line(format!("combine_parts<{}>(sums);", operation(combine)));
        self.out.open("if (threadIdx.x < 16)");
        let braces = self.each_left(run);
        self.out.line(format!("const {} sum = sums[at];", self.sum_type(region, store)));
        self.settle(store, update);
        self.end(ends + braces + 2);
    }

    /// Stores `sum`, or adds it to what is there.
    fn settle(&mut self, store: &Store, update: Update) {
        match update {
            Update::Set => self.store_value(store, "sum"),
            Update::Add => {
                let dtype = self.dtype(store.buffer);
                let element = format!("{}[{}]", self.buffer(store.buffer), linear(&store.index));
                let total = format!("({} + sum)", loaded(dtype, &element));
                self.out.line(format!("{element} = {};", stored(dtype, &total)));
            }
        }
    }

    fn sum_type(&self, region: &Region, store: &Store) -> &'static str {
        register_type(region.dtypes[store.value.0 as usize])
    }
}
