//! Statements: sequential loops, maps and scatters; the others have files of their own.
//!
//! Invariant: statements run in order, each complete before the next begins.

use super::emitter::{Count, Emitter, OpenLoop};
use super::nest::Nest;
use super::prefetch::{self, Next};
use super::row::{Order, Run, Sink, run_rows, run_stages};
use super::stages::{self, Plan, Tiling};
use super::{product, reduce};
use carousel_core::kernel::{Dim, Extent, Loop, Region, Statement, Store, Update, Var};
use cranelift_codegen::ir::{InstBuilder, Value};

/// A loop that runs once, for statements without loops.
pub(super) const ONCE: Loop = Loop { var: Var(u32::MAX), extent: Extent::Whole(Dim::Known(1)) };

/// Emits statements one after the other.
pub(super) fn emit(e: &mut Emitter<'_, '_>, statements: &[Statement]) {
    for statement in statements {
        match statement {
            Statement::Loop { over, body, .. } if product::products(e, *over, body) => {}
            Statement::Loop { over, direction, body } => {
                let axis = e.begin_axis(*over, *direction);
                for (statement, next) in prefetch::next_turn(e, *over, *direction, body) {
                    if let Statement::Map { loops, region, stores } = statement {
                        map(e, loops, region, stores, Update::Set, &next);
                    } else {
                        next.iter().for_each(|next| prefetch::ask(e, next, None));
                        emit(e, std::slice::from_ref(statement));
                    }
                }
                e.end_axis(axis);
            }
            Statement::Map { loops, region, stores } => map(e, loops, region, stores, Update::Set, &[]),
            Statement::ScatterAdd { loops, region, store } => {
                map(e, loops, region, std::slice::from_ref(store), Update::Add, &[]);
            }
            Statement::Reduce { loops, over, region, combine, store, update } => {
                reduce::reduce(e, loops, over, region, *combine, store, *update);
            }
            Statement::Cumulative { loops, along, direction, region, combine, store } => {
                reduce::cumulative(e, loops, *along, *direction, region, *combine, store);
            }
            Statement::Product { m, n, k, a, b, c, update, dtype, triangle } => {
                product::product(e, [*m, *n, *k], [a, b, c], *update, *dtype, *triangle);
            }
        }
    }
}

/// The points in order, the last loop innermost; a scatter's additions come in that order, too.
fn map(
    e: &mut Emitter<'_, '_>,
    loops: &[Loop],
    region: &Region,
    stores: &[Store],
    update: Update,
    next: &[Next],
) {
    let loops = if loops.is_empty() { vec![ONCE] } else { loops.to_vec() };
    let roots: Vec<_> = stores.iter().map(|store| store.value).collect();
    let targets: Vec<_> = stores.iter().map(|store| &store.index).collect();
    let mut nest = Nest::new(region, loops, &roots, &targets);
    e.free_temporaries();
    let mut wanted = roots.clone();
    targets.iter().for_each(|target| super::nest::data_of(target, &mut wanted));
    let tiling = stages::tiling(&nest);
    let plan = stages::plan_tiles(e, &nest, &wanted, tiling);
    let sinks: Vec<_> = stores.iter().map(|store| Sink::Store { store, update }).collect();
    nest.prepare(e);
    let outer = nest.inner_depth() - 1;
    match (tiling, plan.tile) {
        (Tiling::Rows(columns), Some(tile)) if tile >= 2 * columns => {
            nest.enter_to(e, outer - 1);
            let rows = e.count(nest.loops[outer - 1].extent);
            let (chunk, run) = begin_tiles(e, tile / columns, rows, Order::Any);
            run_rows(e, &mut nest, &plan, run, columns, &sinks, next);
            end_chunk(e, chunk);
        }
        (Tiling::Rows(_) | Tiling::PartOfRow, _) => {
            next.iter().for_each(|next| prefetch::ask(e, next, None));
            nest.enter_to(e, outer);
            let count = e.count(nest.inner().extent);
            let (chunk, run) = begin_chunk(e, &plan, count, Order::Any);
            run_stages(e, &mut nest, &plan, run, Order::Any, &sinks);
            end_chunk(e, chunk);
        }
    }
    nest.exit_to(e, 0);
}

/// Begins the loop over the tiles of a row, if the plan has tiles and the row may have several.
pub(super) fn begin_chunk(
    e: &mut Emitter<'_, '_>,
    plan: &Plan,
    count: Count,
    order: Order,
) -> (Option<OpenLoop>, Run) {
    match plan.tile {
        None => (None, Run { start: None, count }),
        Some(tile) => begin_tiles(e, tile, count, order),
    }
}

/// Begins the loop over tiles of that many elements.
pub(super) fn begin_tiles(
    e: &mut Emitter<'_, '_>,
    tile: u64,
    count: Count,
    order: Order,
) -> (Option<OpenLoop>, Run) {
    if count.known.is_some_and(|known| known <= tile) {
        return (None, Run { start: None, count });
    }
    let zero = e.int(0);
    let (open, position) = e.begin_loop("tile", zero, count.value, tile as i64);
    let start = match order {
        Order::Any | Order::Ascending => position,
        Order::Descending => {
            // The last tile, which may be short, first.
            let last = e.b.ins().iadd_imm_s(count.value, -1);
            let last = e.b.ins().band_imm_s(last, -(tile as i64));
            e.b.ins().isub(last, position)
        }
    };
    (Some(open), Run { start: Some(start), count: length(e, tile, count, start) })
}

fn length(e: &mut Emitter<'_, '_>, tile: u64, count: Count, start: Value) -> Count {
    if count.known.is_some_and(|known| known % tile == 0) {
        return e.known_count(tile);
    }
    let left = e.b.ins().isub(count.value, start);
    let tile = e.int(tile as i64);
    Count { known: None, value: e.smaller(left, tile) }
}

/// Ends the loop over tiles.
pub(super) fn end_chunk(e: &mut Emitter<'_, '_>, chunk: Option<OpenLoop>) {
    if let Some(open) = chunk {
        e.end_loop(open);
    }
}
