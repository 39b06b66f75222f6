//! Reductions and cumulative operations.
//!
//! Either the axis that is combined is innermost, and running results stay in registers (four vectors of them, which are
//! combined in a fixed order at the end), or the results are innermost, and a tile of them is combined row by row.
//! Invariant: the order of combination depends on shapes and strides alone. Deliberately absent: splitting one result
//! among threads.

use super::emitter::{Emitter, flags};
use super::nest::{Lane, Nest, data_of};
use super::row::{Accumulators, Order, Run, Sink, interleaving, put, run_stage, run_stages};
use super::stages::{self, Plan, Slot, Stage, is_vectorizable};
use super::statements::{ONCE, begin_chunk, begin_tiles, end_chunk};
use super::values::{self, LANES, Shape, register};
use carousel_core::kernel::{Combine, Expr, ExprId, Loop, Region, Store, Update};
use carousel_ir::{DType, Direction, OpKind};
use cranelift_codegen::ir::{InstBuilder, Value};

/// Elements of a tile of results.
const RESULT_TILE: u64 = 512;

/// `loops` of results, each combined over `over`.
pub(super) fn reduce(
    e: &mut Emitter<'_, '_>,
    loops: &[Loop],
    over: &[Loop],
    region: &Region,
    combine: Combine,
    store: &Store,
    update: Update,
) {
    let over = if over.is_empty() { vec![ONCE] } else { over.to_vec() };
    e.free_temporaries();
    if let Some((&inner, outer)) = loops.split_last()
        && prefers_results_innermost(region, store, loops, &over)
    {
        let nested: Vec<Loop> = outer.iter().chain(&over).chain([&inner]).copied().collect();
        let mut nest = Nest::new(region, nested, &[store.value], &[&store.index]);
        fold_rows(e, &mut nest, outer.len(), Direction::Forward, combine, store, Some(update));
    } else {
        in_registers(e, loops, &over, region, combine, store, update);
    }
}

/// The running combination along `along`, for every point of `loops`.
pub(super) fn cumulative(
    e: &mut Emitter<'_, '_>,
    loops: &[Loop],
    along: Loop,
    direction: Direction,
    region: &Region,
    combine: Combine,
    store: &Store,
) {
    e.free_temporaries();
    if let Some((&inner, outer)) = loops.split_last()
        && prefers_rows(region, store, inner, along)
    {
        let nested: Vec<Loop> = outer.iter().chain([&along, &inner]).copied().collect();
        let mut nest = Nest::new(region, nested, &[store.value], &[&store.index]);
        fold_rows(e, &mut nest, outer.len(), direction, combine, store, None);
        return;
    }
    let nested: Vec<Loop> = loops.iter().copied().chain([along]).collect();
    let mut nest = Nest::new(region, nested, &[store.value], &[&store.index]);
    let plan = stages::plan(e, &nest, &wanted(store));
    let dtype = region.dtypes[store.value.0 as usize];
    let carry = e.b.declare_var(register(dtype, Shape::Scalar));
    nest.prepare(e);
    nest.enter_to(e, loops.len());
    let start = values::neutral(e, combine, dtype);
    e.b.def_var(carry, start);
    let count = e.count(along.extent);
    let order = match direction {
        Direction::Forward => Order::Ascending,
        Direction::Reverse => Order::Descending,
    };
    let (chunk, run) = begin_chunk(e, &plan, count, order);
    let sink = Sink::Running { value: store.value, combine, carry, store };
    run_stages(e, &mut nest, &plan, run, order, &[sink]);
    end_chunk(e, chunk);
    nest.exit_to(e, 0);
}

/// The value of a store and what its index needs.
fn wanted(store: &Store) -> Vec<ExprId> {
    let mut wanted = vec![store.value];
    data_of(&store.index, &mut wanted);
    wanted
}

/// Whether more accesses are contiguous along the last loop of results than along the last one that vanishes.
fn prefers_results_innermost(region: &Region, store: &Store, loops: &[Loop], over: &[Loop]) -> bool {
    match (loops.last(), over.last()) {
        (Some(&results), Some(&vanishing)) => {
            contiguous_loads(region, store, results) > contiguous_loads(region, store, vanishing)
        }
        _ => false,
    }
}

/// Whether running results are combined row by row: what goes along the running axis is done one by one, so that it pays
/// even where no more accesses are contiguous along the rows.
fn prefers_rows(region: &Region, store: &Store, inner: Loop, along: Loop) -> bool {
    let contiguous = |last: Loop| {
        let nest = Nest::new(region, vec![last], &[store.value], &[&store.index]);
        contiguous_loads(region, store, last) + usize::from(nest.is_contiguous(&store.index))
    };
    let rows = contiguous(inner);
    rows > 0 && rows >= contiguous(along)
}

/// How many loads are contiguous along a loop.
fn contiguous_loads(region: &Region, store: &Store, last: Loop) -> usize {
    let nest = Nest::new(region, vec![last], &[store.value], &[&store.index]);
    let loads = region.exprs.iter().filter(|expr| match expr {
        Expr::Load { index, .. } => nest.is_contiguous(index),
        Expr::Const { .. }
        | Expr::Size { .. }
        | Expr::Index { .. }
        | Expr::Holds { .. }
        | Expr::Apply { .. }
        | Expr::Cast { .. }
        | Expr::Uniform { .. }
        | Expr::FoldIn { .. } => false,
    });
    loads.count()
}

/// Running results in registers.
fn in_registers(
    e: &mut Emitter<'_, '_>,
    loops: &[Loop],
    over: &[Loop],
    region: &Region,
    combine: Combine,
    store: &Store,
    update: Update,
) {
    let nested: Vec<Loop> = loops.iter().chain(over).copied().collect();
    let mut nest = Nest::new(region, nested, &[store.value], &[&store.index]);
    let factors = product_of(e, &nest, store.value, combine);
    let roots = factors.map_or(vec![store.value], |(a, b)| vec![a, b]);
    let plan = stages::plan(e, &nest, &roots);
    let dtype = region.dtypes[store.value.0 as usize];
    let last = plan.stages.last().map_or(0, |stage| stage.compute.len());
    let vectors = if is_vectorizable(e, &nest) { interleaving(last) } else { 0 };
    let into = Accumulators {
        vectors: (0..vectors).map(|_| e.b.declare_var(register(dtype, Shape::Vector))).collect(),
        scalar: e.b.declare_var(register(dtype, Shape::Scalar)),
    };
    nest.prepare(e);
    nest.enter_to(e, loops.len());
    let start = values::neutral(e, combine, dtype);
    e.b.def_var(into.scalar, start);
    if vectors > 0 {
        let start = values::splat(e, dtype, start);
        into.vectors.iter().for_each(|&variable| e.b.def_var(variable, start));
    }
    let outer = nest.inner_depth() - 1;
    nest.enter_to(e, outer);
    let count = e.count(nest.inner().extent);
    let (chunk, run) = begin_chunk(e, &plan, count, Order::Any);
    let sink = match factors {
        Some((a, b)) => Sink::AccumulateProduct { a, b, into: &into },
        None => Sink::Accumulate { value: store.value, combine, into: &into },
    };
    run_stages(e, &mut nest, &plan, run, Order::Any, &[sink]);
    end_chunk(e, chunk);
    nest.exit_to(e, loops.len());
    let result = together(e, &into, combine, dtype);
    let trash = e.trash();
    let address = nest.address(e, store.buffer, &store.index, &[], Lane::NONE, trash);
    let to = e.dtype(store.buffer);
    put(e, to, Shape::Scalar, update, result, address, 0);
    nest.exit_to(e, 0);
}

/// The factors of a sum of products, where adding a product is one instruction.
fn product_of(
    e: &Emitter<'_, '_>,
    nest: &Nest<'_>,
    value: ExprId,
    combine: Combine,
) -> Option<(ExprId, ExprId)> {
    match &nest.region.exprs[value.0 as usize] {
        Expr::Apply { op: OpKind::Mul, operands, dtype: DType::F32 | DType::F64 }
            if e.fma && combine == Combine::Sum && nest.is_inner(value) =>
        {
            Some((operands[0], operands[1]))
        }
        Expr::Apply { .. }
        | Expr::Load { .. }
        | Expr::Const { .. }
        | Expr::Size { .. }
        | Expr::Index { .. }
        | Expr::Holds { .. }
        | Expr::Cast { .. }
        | Expr::Uniform { .. }
        | Expr::FoldIn { .. } => None,
    }
}

/// All running results as one: vectors pairwise, then lanes pairwise, then the single points.
fn together(e: &mut Emitter<'_, '_>, into: &Accumulators, combine: Combine, dtype: DType) -> Value {
    let scalar = e.b.use_var(into.scalar);
    let mut vectors: Vec<Value> = into.vectors.iter().map(|&variable| e.b.use_var(variable)).collect();
    while vectors.len() > 1 {
        vectors = vectors
            .chunks(2)
            .map(|pair| match *pair {
                [a, b] => values::combine(e, combine, dtype, Shape::Vector, a, b),
                [a, ..] => a,
                [] => unreachable!("chunks are not empty"),
            })
            .collect();
    }
    let Some(&vector) = vectors.first() else {
        return scalar;
    };
    let lanes = [0u8, 1, 2, 3].map(|lane| e.b.ins().extractlane(vector, lane));
    let low = values::combine(e, combine, dtype, Shape::Scalar, lanes[0], lanes[2]);
    let high = values::combine(e, combine, dtype, Shape::Scalar, lanes[1], lanes[3]);
    let all = values::combine(e, combine, dtype, Shape::Scalar, low, high);
    values::combine(e, combine, dtype, Shape::Scalar, all, scalar)
}

/// Tiles of results, combined row by row; `update` says how the results are stored at the end, `None` that every step
/// is stored at its place.
fn fold_rows<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    outer: usize,
    direction: Direction,
    combine: Combine,
    store: &'k Store,
    update: Option<Update>,
) {
    let dtype = nest.region.dtypes[store.value.0 as usize];
    let plan: Plan = stages::plan(e, nest, &wanted(store));
    let tile = plan.tile.unwrap_or(RESULT_TILE);
    let row: Slot = e.allocate_temporary(tile * if dtype == DType::F64 { 8 } else { 4 });
    nest.prepare(e);
    nest.enter_to(e, outer);
    let count = e.count(nest.inner().extent);
    let (chunk, run) = begin_tiles(e, tile, count, Order::Any);
    fill(e, row, dtype, combine, run);
    while nest.open_loops() + 1 < nest.inner_depth() {
        nest.enter(e, direction);
    }
    let stored = if update.is_none() { Some(store) } else { None };
    let sink = Sink::Fold { value: store.value, combine, row, store: stored };
    run_stages(e, nest, &plan, run, Order::Any, &[sink]);
    nest.exit_to(e, outer);
    if let Some(update) = update {
        let stage = Stage { read: vec![(store.value, row)], ..Stage::default() };
        run_stage(e, nest, &stage, run, Order::Any, &[Sink::Store { store, update }]);
    }
    end_chunk(e, chunk);
    nest.exit_to(e, 0);
}

/// Fills a temporary with what the combination starts from; it is as long as a whole tile, so whole vectors do.
fn fill(e: &mut Emitter<'_, '_>, row: Slot, dtype: DType, combine: Combine, run: Run) {
    let pointer = e.temporary(row);
    let start = values::neutral(e, combine, dtype);
    let (value, step, bytes) = match dtype {
        DType::F64 => (start, 1, 3),
        DType::F32 | DType::Bf16 | DType::F16 | DType::I32 | DType::U32 | DType::Bool => {
            (values::splat(e, dtype, start), LANES as i64, 2)
        }
    };
    let zero = e.int(0);
    let (open, position) = e.begin_loop("fill", zero, run.count.value, step);
    let offset = e.b.ins().ishl_imm_u(position, bytes);
    let address = e.b.ins().iadd(pointer, offset);
    e.b.ins().store(flags(), value, address, 0);
    e.end_loop(open);
}
