//! Runs: neighbouring points that a thread takes together, with accesses of 16 bytes.
//!
//! A run goes along the last loop of a nest. What lies next to each other for its points is loaded before any of them is
//! computed, and stored after all of them; what is the same for all is computed once; the rest is done for each. Whether
//! a run is whole and where it begins in memory is only known when it is reached: see `runtime/runs.cuh`.

use super::Context;
use super::expression::{loaded, memory_type, stored};
use super::linear::{dim, guard, linear_at, value};
use super::statement::{collect, variables_of};
use carousel_core::kernel::{
    Atom, BufferId, Dim, Expr, ExprId, Extent, Guard, Kernel, Linear, Loop, Region, Store, Var,
};
use carousel_core::program::element_bytes;
use std::collections::HashSet;

/// Bytes of the widest access of a thread.
const WIDEST: u64 = 16;
/// A body with more expressions than this computes more than it loads, and would be repeated for each point of a run.
const LARGEST_BODY: usize = 48;

/// A run along a loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// The loop's variable.
    pub(super) var: Var,
    /// Points of a run.
    pub(super) width: u64,
}

/// What an index is for the points of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Along {
    /// The same place.
    Same,
    /// One place after the other.
    Next,
    /// Other places.
    Elsewhere,
}

fn depends(linear: &Linear, region: &Region, var: Var) -> bool {
    let mut found = HashSet::new();
    collect(linear, region, &mut found);
    found.contains(&var)
}

pub(super) fn along(index: &Linear, region: &Region, var: Var) -> Along {
    let mut result = Along::Same;
    for term in &index.terms {
        let own = Linear { terms: vec![term.clone()] };
        if term.atom == Atom::Var(var) && term.coefficient == 1 && term.dim == Dim::Known(1) {
            result = Along::Next;
        } else if depends(&own, region, var) {
            return Along::Elsewhere;
        }
    }
    result
}

/// What a load of a run loads from. All of the neighbours are there or none, or those whose number is below a bound.
fn loaded_run(expr: &Expr, region: &Region, var: Var) -> Option<BufferId> {
    let Expr::Load { buffer, index, guards } = expr else { return None };
    let mut own = guards.iter().filter(|g| depends(&g.index, region, var));
    let is_bounded = own.next().is_none_or(|guard| along(&guard.index, region, var) == Along::Next);
    (along(index, region, var) == Along::Next && is_bounded && own.next().is_none()).then_some(*buffer)
}

/// The runs of a nest's points, if there are any neighbours in memory, all that is stored among them, and whole runs are
/// likely.
pub(super) fn of(kernel: &Kernel, loops: &[Loop], region: &Region, stores: &[Store]) -> Option<Run> {
    let over = loops.last()?;
    let loads = region.exprs.iter().filter_map(|expr| loaded_run(expr, region, over.var));
    if stores.iter().any(|s| along(&s.index, region, over.var) != Along::Next) {
        return None;
    }
    let stores = stores.iter().map(|store| store.buffer);
    let bytes = |buffer: BufferId| element_bytes(kernel.buffers[buffer.0 as usize].dtype);
    let width = WIDEST / loads.chain(stores).map(bytes).min()?;
    let is_short = match over.extent {
        Extent::Whole(Dim::Known(n)) => n < width,
        Extent::Tile { tile, .. } => tile < width,
        Extent::Whole(Dim::Argument(_)) => false,
    };
    (!is_short && region.exprs.len() <= LARGEST_BODY).then_some(Run { var: over.var, width })
}

/// The part of a region that is evaluated for the points of a run.
pub(super) struct Part {
    /// Which expressions.
    pub(super) wanted: Vec<bool>,
    /// Which differ from point to point.
    pub(super) varying: Vec<bool>,
    /// Lines that come first at each point.
    pub(super) before: Vec<String>,
}

impl Part {
    /// All of it.
    pub(super) fn whole(region: &Region, var: Var) -> Part {
        let varies = |number: usize| {
            let mut found = HashSet::new();
            variables_of(ExprId(number as u32), region, &mut found);
            found.contains(&var)
        };
        let count = region.exprs.len();
        Part { wanted: vec![true; count], varying: (0..count).map(varies).collect(), before: Vec::new() }
    }
}

impl Context<'_> {
    /// The points of a run: the region and what `each` does with it, for each of them; then what is stored.
    pub(super) fn run(
        &mut self,
        run: Run,
        region: &Region,
        stores: &[Store],
        each: impl FnOnce(&mut Context<'_>),
    ) {
        self.run_part(run, (region, &Part::whole(region, run.var)), stores, each);
    }

    /// The same of a part of the region.
    pub(super) fn run_part(
        &mut self,
        run: Run,
        (region, part): (&Region, &Part),
        stores: &[Store],
        each: impl FnOnce(&mut Context<'_>),
    ) {
        let Run { var, width } = run;
        let (first, at) = (format!("f{}", var.0), format!("x{}", var.0));
        let Part { wanted, varying, before } = part;
        let wanted = |number: &usize| wanted[*number];
        for number in (0..region.exprs.len()).filter(wanted).filter(|number| !varying[*number]) {
            self.evaluate(region, number);
        }
        // Whether something has to know which point it is at.
        let mut needs_place = false;
        for number in (0..region.exprs.len()).filter(wanted).filter(|number| varying[*number]) {
            let expr = &region.exprs[number];
            let (Some(buffer), Expr::Load { index, guards, .. }) = (loaded_run(expr, region, var), expr)
            else {
                needs_place |= !matches!(expr, Expr::Apply { .. } | Expr::Cast { .. });
                continue;
            };
            let (ty, name) = (memory_type(self.dtype(buffer)), self.buffer(buffer).to_string());
            self.out.line(format!("__align__(16) {ty} r{number}[{width}];"));
            let from = format!("r{number}, &{name}[{}], left", linear_at(index, var, &first));
            let (bounds, guards): (Vec<&Guard>, Vec<&Guard>) =
                guards.iter().partition(|guard| depends(&guard.index, region, var));
            let load = match bounds.first() {
                None => format!("load_run({from});"),
                Some(Guard { index, bound }) => {
                    format!("load_run_inside({from}, {}, {});", linear_at(index, var, &first), dim(*bound))
                }
            };
            let all: Vec<String> = guards.into_iter().map(guard).collect();
            if all.is_empty() {
                self.out.line(load);
            } else {
                self.out.line(format!("if ({}) {load}", all.join(" && ")));
                self.out.line(format!("else no_run(r{number});"));
            }
        }
        for (number, store) in stores.iter().enumerate() {
            let ty = memory_type(self.dtype(store.buffer));
            self.out.line(format!("__align__(16) {ty} s{number}[{width}];"));
        }
        self.out.line("#pragma unroll");
        self.out.open(format!("for (i32 at = 0; at < {width}; ++at)"));
        if needs_place {
            self.out.line(format!("const i64 {at} = {first} + point_of_run(at, left);"));
        }
        before.iter().for_each(|line| self.out.line(line));
        for number in (0..region.exprs.len()).filter(wanted).filter(|number| varying[*number]) {
            match loaded_run(&region.exprs[number], region, var) {
                Some(buffer) => {
                    let element = loaded(self.dtype(buffer), &format!("r{number}[at]"));
                    self.define(region, number, &element);
                }
                None => self.evaluate(region, number),
            }
        }
        for (number, store) in stores.iter().enumerate() {
            let text = stored(self.dtype(store.buffer), &value(store.value));
            self.out.line(format!("s{number}[at] = {text};"));
        }
        each(self);
        self.out.close();
        for (number, store) in stores.iter().enumerate() {
            self.store_run(store, var, number);
        }
    }

    /// Stores the run of values that is in the array of this number.
    pub(super) fn store_run(&mut self, store: &Store, var: Var, number: usize) {
        let index = linear_at(&store.index, var, &format!("f{}", var.0));
        let is_shared = self.memory.shared(store.buffer).is_some();
        let line =
            format!("store_run<{is_shared}>(&{}[{index}], s{number}, left);", self.buffer(store.buffer));
        self.origin_of(store.buffer);
        self.out.line(line);
    }
}
