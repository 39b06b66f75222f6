//! Running combinations: of a row by the block, of many rows by a thread for each.
//!
//! The order in which values are combined is that of the text, never that in which threads happen to come.

use super::expression::{memory_type, register_type, stored};
use super::linear::value;
use super::reduce::{FEW_RESULTS, neutral, operation};
use super::runs::{self, Run};
use super::statement::{Workers, likely, likely_points, some_runs};
use super::{Context, Point, THREADS};
use carousel_core::kernel::{Combine, Dim, Extent, Loop, Region, Store};
use carousel_ir::Direction;

impl Context<'_> {
    pub(super) fn cumulative(
        &mut self,
        loops: &[Loop],
        (along, direction): (&Loop, Direction),
        region: &Region,
        combine: Combine,
        store: &Store,
    ) {
        let known_few = loops.iter().all(|over| !matches!(over.extent, Extent::Whole(Dim::Argument(_))));
        let by_block = known_few && likely_points(loops) < FEW_RESULTS && self.workers != Point::Team;
        if !by_block {
            return self.of_each_row(loops, (along, direction), region, combine, store);
        }
        let ends = match loops {
            [] => {
                self.out.open("");
                1
            }
            loops => self.points(Workers::Sequence, loops),
        };
        let start = neutral(combine, region.dtypes[store.value.0 as usize]);
        let ty = register_type(region.dtypes[store.value.0 as usize]);
        self.out.line(format!("{ty} sum = {start};"));
        let run = runs::of(self.kernel, std::slice::from_ref(along), region, std::slice::from_ref(store));
        match run.filter(|run| is_in_runs(along, direction, *run)) {
            Some(run) => self.by_runs((along, direction), region, combine, store, run),
            None => self.one_by_one((along, direction), region, combine, store),
        }
        self.end(ends);
    }

    /// A block's width at a time: what came before is in `sum`.
    fn one_by_one(
        &mut self,
        (along, direction): (&Loop, Direction),
        region: &Region,
        combine: Combine,
        store: &Store,
    ) {
        let (operation, dtype) = (operation(combine), region.dtypes[store.value.0 as usize]);
        let (ty, start, extent) = (register_type(dtype), neutral(combine, dtype), self.extent(&along.extent));
        self.out.open(format!("for (i64 first = 0; first < {extent}; first += {THREADS})"));
        self.out.line("const i64 at = first + threadIdx.x;");
        self.out.line(format!("const i64 x{} = {};", along.var.0, place("at", direction, &extent)));
        self.out.line(format!("{ty} mine = {start};"));
        self.out.open(format!("if (at < {extent})"));
        self.region(region);
        self.out.line(format!("mine = {};", value(store.value)));
        self.out.close();
        self.out.line(format!("const {ty} before = combine_before<{operation}>(mine, sum, {start});"));
        self.out.open(format!("if (at < {extent})"));
        self.store_value(store, &format!("{operation}::of(before, mine)"));
        self.out.close();
        self.out.close();
    }

    /// The same by runs of each thread.
    fn by_runs(
        &mut self,
        (along, direction): (&Loop, Direction),
        region: &Region,
        combine: Combine,
        store: &Store,
        run: Run,
    ) {
        let (operation, dtype) = (operation(combine), region.dtypes[store.value.0 as usize]);
        let (ty, start, extent) = (register_type(dtype), neutral(combine, dtype), self.extent(&along.extent));
        let (width, var) = (run.width, run.var.0);
        let step = width * u64::from(THREADS);
        self.out.open(format!("for (i64 first = 0; first < {extent}; first += {step})"));
        match direction {
            Direction::Forward => {
                self.out.line(format!("const i64 f{var} = first + {width} * threadIdx.x;"));
                self.out.line(format!("const i32 left = elements_left<{width}>({extent} - f{var});"));
            }
            Direction::Reverse => {
                let end = format!("{extent} - {width} - first");
                self.out.line(format!("const i64 f{var} = {end} - {width} * (i64)threadIdx.x;"));
                self.out.line(format!("const i32 left = f{var} < 0 ? 0 : {width};"));
            }
        }
        self.out.line(format!("{ty} mine[{width}];"));
        self.out.line("#pragma unroll");
        self.out.line(format!("for (i32 at = 0; at < {width}; ++at) mine[at] = {start};"));
        self.out.open("if (left > 0)");
        self.run(run, region, &[], |cx| {
            cx.out.line(format!("mine[at] = at < left ? {} : {start};", value(store.value)));
        });
        self.out.close();
        self.out.line("#pragma unroll");
        let all = match direction {
            Direction::Forward => {
                let next = format!("mine[at] = {operation}::of(mine[at - 1], mine[at]);");
                self.out.line(format!("for (i32 at = 1; at < {width}; ++at) {next}"));
                width - 1
            }
            Direction::Reverse => {
                let next = format!("mine[at] = {operation}::of(mine[at + 1], mine[at]);");
                self.out.line(format!("for (i32 at = {}; at >= 0; --at) {next}", width - 2));
                0
            }
        };
        self.out.line(format!("const {ty} before = combine_before<{operation}>(mine[{all}], sum, {start});"));
        self.store_all(store, run, &format!("{operation}::of(before, mine[at])"));
        self.out.close();
    }

    /// A thread for each row, or for a run of rows that lie beside each other.
    fn of_each_row(
        &mut self,
        loops: &[Loop],
        (along, direction): (&Loop, Direction),
        region: &Region,
        combine: Combine,
        store: &Store,
    ) {
        let (operation, dtype) = (operation(combine), region.dtypes[store.value.0 as usize]);
        let (ty, start, extent) = (register_type(dtype), neutral(combine, dtype), self.extent(&along.extent));
        let (var, place) = (along.var.0, place("step", direction, &extent));
        let steps = format!("for (i64 step = 0; step < {extent}; ++step)");
        let Some(run) = some_runs(self.kernel, loops, region, std::slice::from_ref(store)) else {
            let ends = self.points(Workers::Threads, loops);
            self.out.line(format!("{ty} sum = {start};"));
            self.out.open(steps);
            self.out.line(format!("const i64 x{var} = {place};"));
            self.region(region);
            self.out.line(format!("sum = {operation}::of(sum, {});", value(store.value)));
            self.store_value(store, "sum");
            return self.end(ends + 1);
        };
        let ends = self.runs(Workers::Threads, loops, run);
        self.out.line(format!("{ty} sums[{}];", run.width));
        self.out.line("#pragma unroll");
        self.out.line(format!("for (i32 at = 0; at < {}; ++at) sums[at] = {start};", run.width));
        self.out.open(steps);
        self.out.line(format!("const i64 x{var} = {place};"));
        self.run(run, region, &[], |cx| {
            cx.out.line(format!("sums[at] = {operation}::of(sums[at], {});", value(store.value)));
        });
        self.store_all(store, run, "sums[at]");
        self.end(ends + 1);
    }

    /// Stores a run of values, of which that at `at` is given.
    pub(super) fn store_all(&mut self, store: &Store, run: Run, text: &str) {
        let (width, dtype) = (run.width, self.dtype(store.buffer));
        self.out.line(format!("__align__(16) {} s0[{width}];", memory_type(dtype)));
        self.out.line("#pragma unroll");
        self.out.line(format!("for (i32 at = 0; at < {width}; ++at) s0[at] = {};", stored(dtype, text)));
        self.store_run(store, run.var, 0);
    }
}

/// Where a step is.
fn place(step: &str, direction: Direction, extent: &str) -> String {
    match direction {
        Direction::Forward => step.to_string(),
        Direction::Reverse => format!("{extent} - 1 - {step}"),
    }
}

/// Whether a row is long enough for some runs; from its end on they begin at their places only if it has no tail.
fn is_in_runs(along: &Loop, direction: Direction, run: Run) -> bool {
    let is_whole = match along.extent {
        Extent::Whole(Dim::Known(n)) => n.is_multiple_of(run.width),
        Extent::Whole(Dim::Argument(_)) | Extent::Tile { .. } => false,
    };
    likely(&along.extent) >= 4 * run.width && (direction == Direction::Forward || is_whole)
}
