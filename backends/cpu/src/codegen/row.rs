//! The innermost loop: a run of points along one axis, some vectors at a time.
//!
//! Invariant: whatever the width, a point computes the same bits. What is contiguous is loaded and stored as vectors,
//! what is constant was computed outside, everything else goes lane by lane; an access that guards forbid reads zeros
//! from the header or writes to its waste.

mod access;
mod points;
mod sinks;

use super::emitter::{Count, Emitter, bytes_of, flags};
use super::nest::{Nest, scaled};
use super::prefetch::{Next, ask};
use super::stages::{Plan, Slot, Stage, TileFunction};
use super::values::{self, LANES, Shape, register};
use access::{Prepared, prepare};
use carousel_core::kernel::{Combine, Expr, ExprId, Store, Update};
use carousel_ir::DType;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::Variable;
use points::{compute, operand};
use sinks::pour;
use std::collections::HashMap;

pub(super) use sinks::put;

/// In which order and how wide the points are done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Vectors.
    Any,
    /// One by one.
    Ascending,
    /// One by one, from the end.
    Descending,
}

/// Running results in registers: one for each vector of an iteration, and one for single points.
pub(super) struct Accumulators {
    pub(super) vectors: Vec<Variable>,
    pub(super) scalar: Variable,
}

/// What is done with values.
pub(super) enum Sink<'k, 's> {
    /// Written or added to memory.
    Store { store: &'k Store, update: Update },
    /// Combined into registers.
    Accumulate { value: ExprId, combine: Combine, into: &'s Accumulators },
    /// `a * b` added to registers with one rounding.
    AccumulateProduct { a: ExprId, b: ExprId, into: &'s Accumulators },
    /// Combined into a temporary row; the result may be stored as well.
    Fold { value: ExprId, combine: Combine, row: Slot, store: Option<&'k Store> },
    /// Combined into a register, which is stored at every point.
    Running { value: ExprId, combine: Combine, carry: Variable, store: &'k Store },
}

/// A run of points: from `start` (0 if there is none), `count` of them.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) start: Option<Value>,
    pub(super) count: Count,
}

/// What one loop over a run needs.
struct Row<'k> {
    loads: HashMap<u32, Prepared<'k>>,
    stores: HashMap<*const Store, Prepared<'k>>,
    splats: HashMap<u32, Value>,
    temporaries: HashMap<Slot, Value>,
}

/// Values of one iteration.
struct Body {
    shape: Shape,
    parts: usize,
    position: Value,
    values: Vec<Option<Vec<Value>>>,
}

fn store_of<'k>(sink: &Sink<'k, '_>) -> Option<&'k Store> {
    match sink {
        Sink::Store { store, .. } | Sink::Running { store, .. } => Some(store),
        Sink::Fold { store, .. } => *store,
        Sink::Accumulate { .. } | Sink::AccumulateProduct { .. } => None,
    }
}

/// Runs all stages over a run; the last one ends in `sinks`.
pub(super) fn run_stages<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    plan: &Plan,
    run: Run,
    order: Order,
    sinks: &[Sink<'k, '_>],
) {
    let last = plan.stages.len() - 1;
    for (at, stage) in plan.stages.iter().enumerate() {
        if at == last {
            run_stage(e, nest, stage, run, order, sinks);
        } else {
            run_stage(e, nest, stage, run, Order::Any, &[]);
        }
        for call in &stage.calls {
            let to = e.temporary(call.to);
            match call.function {
                TileFunction::OfTemporary { name, from } => {
                    let from = e.temporary(from);
                    e.call(name, &[to, from, run.count.value], None);
                }
                TileFunction::OfMemory { name, from } => {
                    let Expr::Load { buffer, index, .. } = &nest.region.exprs[from.0 as usize] else {
                        unreachable!("only loads are read where they are");
                    };
                    let access = prepare(e, nest, *buffer, index, &[], run, None);
                    e.call(name, &[to, access.pointer, run.count.value], None);
                }
                TileFunction::Uniform(id) => {
                    let Expr::Uniform { seed, step, stream, index } = &nest.region.exprs[id.0 as usize]
                    else {
                        unreachable!("a call for random numbers");
                    };
                    let (base, _) = nest.base(e, index);
                    let first = match (base, run.start) {
                        (Some(base), Some(start)) => e.b.ins().iadd(base, start),
                        (Some(first), None) | (None, Some(first)) => first,
                        (None, None) => e.int(0),
                    };
                    let hoisted = |id: ExprId| nest.hoisted[id.0 as usize].expect("constant along the row");
                    let (seed, step) = (hoisted(*seed), hoisted(*step));
                    let ty = register(DType::U32, Shape::Scalar);
                    let stream = e.b.ins().iconst(ty, i64::from(*stream));
                    e.call("tile_uniform_f32", &[to, run.count.value, seed, stream, step, first], None);
                }
            }
        }
    }
}

/// Runs all stages over several rows of `columns` points each, whose temporaries lie one after the other; the last stage
/// ends in `sinks`. All loops but those over rows and their points are open.
pub(super) fn run_rows<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    plan: &Plan,
    rows: Run,
    columns: u64,
    sinks: &[Sink<'k, '_>],
    next: &[Next],
) {
    let around = nest.open_loops();
    let last = plan.stages.len() - 1;
    // All at once would keep the memory busy, and the stages waiting.
    let mut shares = next.chunks(next.len().div_ceil(plan.stages.len()).max(1));
    for (at, stage) in plan.stages.iter().enumerate() {
        shares.next().unwrap_or_default().iter().for_each(|next| ask(e, next, Some(rows)));
        let sinks = if at == last { sinks } else { &[] };
        if !(sinks.is_empty() && stage.keep.is_empty()) {
            let row = nest.enter_part(e, rows.start, rows.count.value);
            let bytes = columns as i64 * bytes_of(DType::F32);
            let shift = scaled(e, row, bytes);
            e.shift_temporaries(shift);
            let count = e.known_count(columns);
            run_stage(e, nest, stage, Run { start: None, count }, Order::Any, sinks);
            e.unshift_temporaries();
            nest.exit_to(e, around);
        }
        let count = scaled(e, rows.count.value, columns as i64);
        for call in &stage.calls {
            let TileFunction::OfTemporary { name, from } = call.function else {
                unreachable!("several rows are in temporaries");
            };
            let (to, from) = (e.temporary(call.to), e.temporary(from));
            e.call(name, &[to, from, count], None);
        }
    }
}

/// One loop over a run.
pub(super) fn run_stage<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    stage: &Stage,
    run: Run,
    order: Order,
    sinks: &[Sink<'k, '_>],
) {
    if sinks.is_empty() && stage.keep.is_empty() {
        return;
    }
    let vectorizable = order == Order::Any && super::stages::is_vectorizable(e, nest);
    let row = prepare_row(e, nest, stage, run, sinks, vectorizable);
    if !vectorizable {
        points_loop(e, nest, stage, run, order, sinks, &row);
        return;
    }
    let parts = interleaving(stage.compute.len());
    let wide = LANES * parts as u64;
    let none = e.known_count(0);
    let mut done = vector_loop(e, nest, stage, run, sinks, &row, none, wide, parts);
    if parts > 1 {
        done = vector_loop(e, nest, stage, run, sinks, &row, done, LANES, 1);
    }
    if run.count.known.is_some_and(|known| done.known == Some(known)) {
        return;
    }
    let (open, position) = e.begin_loop("rest", done.value, run.count.value, 1);
    body(e, nest, stage, run, sinks, &row, Shape::Scalar, 1, position);
    e.end_loop(open);
}

/// Vectors that an iteration works on side by side, so that one's latency is hidden behind the others'; fewer where
/// registers would run out.
pub(super) fn interleaving(expressions: usize) -> usize {
    match expressions {
        0..=6 => 4,
        7..=20 => 2,
        _ => 1,
    }
}

/// The loop over whole vectors from `done` on; returns how many points are done after it.
#[expect(clippy::too_many_arguments, reason = "the context of the innermost loop")]
fn vector_loop<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    stage: &Stage,
    run: Run,
    sinks: &[Sink<'k, '_>],
    row: &Row<'k>,
    done: Count,
    step: u64,
    parts: usize,
) -> Count {
    let end = match run.count.known {
        Some(known) => e.known_count(known / step * step),
        None => Count { known: None, value: e.b.ins().band_imm_s(run.count.value, -(step as i64)) },
    };
    if let (Some(from), Some(to)) = (done.known, end.known) {
        if from >= to {
            return done;
        }
        if to - from == step {
            body(e, nest, stage, run, sinks, row, Shape::Vector, parts, done.value);
            return end;
        }
    }
    let (open, position) = e.begin_loop("row", done.value, end.value, step as i64);
    body(e, nest, stage, run, sinks, row, Shape::Vector, parts, position);
    e.end_loop(open);
    end
}

fn points_loop<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    stage: &Stage,
    run: Run,
    order: Order,
    sinks: &[Sink<'k, '_>],
    row: &Row<'k>,
) {
    let zero = e.int(0);
    if run.count.known == Some(1) {
        body(e, nest, stage, run, sinks, row, Shape::Scalar, 1, zero);
        return;
    }
    let (open, mut position) = e.begin_loop("point", zero, run.count.value, 1);
    if order == Order::Descending {
        let last = e.b.ins().iadd_imm_s(run.count.value, -1);
        position = e.b.ins().isub(last, position);
    }
    body(e, nest, stage, run, sinks, row, Shape::Scalar, 1, position);
    e.end_loop(open);
}

fn prepare_row<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    stage: &Stage,
    run: Run,
    sinks: &[Sink<'k, '_>],
    vectorizable: bool,
) -> Row<'k> {
    let mut row = Row {
        loads: HashMap::new(),
        stores: HashMap::new(),
        splats: HashMap::new(),
        temporaries: HashMap::new(),
    };
    let region = nest.region;
    for &id in &stage.compute {
        if let Expr::Load { buffer, index, guards } = &region.exprs[id.0 as usize] {
            let zeros = e.zeros();
            let prepared = prepare(e, nest, *buffer, index, guards, run, Some(zeros));
            row.loads.insert(id.0, prepared);
        }
    }
    for store in sinks.iter().filter_map(store_of) {
        let trash = e.trash();
        let prepared = prepare(e, nest, store.buffer, &store.index, &[], run, Some(trash));
        row.stores.insert(std::ptr::from_ref(store), prepared);
    }
    if vectorizable {
        // What is not used is dropped by the compiler.
        for at in 0..region.exprs.len() {
            if let Some(value) = nest.hoisted[at] {
                let splat = values::splat(e, region.dtypes[at], value);
                row.splats.insert(at as u32, splat);
            }
        }
    }
    let folds = sinks.iter().filter_map(|sink| match sink {
        Sink::Fold { row, .. } => Some(*row),
        Sink::Store { .. }
        | Sink::Accumulate { .. }
        | Sink::AccumulateProduct { .. }
        | Sink::Running { .. } => None,
    });
    for slot in stage.read.iter().chain(&stage.keep).map(|(_, slot)| *slot).chain(folds) {
        let pointer = e.temporary(slot);
        row.temporaries.insert(slot, pointer);
    }
    row
}

/// The points of one iteration: reads temporaries, computes, keeps, and feeds the sinks.
#[expect(clippy::too_many_arguments, reason = "the context of the innermost loop")]
fn body<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    stage: &Stage,
    run: Run,
    sinks: &[Sink<'k, '_>],
    row: &Row<'k>,
    shape: Shape,
    parts: usize,
    position: Value,
) {
    let region = nest.region;
    let mut body = Body { shape, parts, position, values: vec![None; region.exprs.len()] };
    for &(id, slot) in &stage.read {
        let values = read_temporary(e, row, &body, region.dtypes[id.0 as usize], slot);
        body.values[id.0 as usize] = Some(values);
    }
    for &id in &stage.compute {
        let values = compute(e, nest, row, &body, run, id);
        body.values[id.0 as usize] = Some(values);
    }
    for &(id, slot) in &stage.keep {
        let values = operand(nest, row, &body, id);
        write_temporary(e, row, &body, region.dtypes[id.0 as usize], slot, &values);
    }
    for sink in sinks {
        pour(e, nest, row, &body, run, sink);
    }
}

/// Bytes of an element in a temporary: as in registers.
fn temporary_bytes(dtype: DType) -> i64 {
    if dtype == DType::F64 { 8 } else { 4 }
}

fn temporary_address(e: &mut Emitter<'_, '_>, row: &Row<'_>, body: &Body, dtype: DType, slot: Slot) -> Value {
    let offset = scaled(e, body.position, temporary_bytes(dtype));
    e.b.ins().iadd(row.temporaries[&slot], offset)
}

fn read_temporary(
    e: &mut Emitter<'_, '_>,
    row: &Row<'_>,
    body: &Body,
    dtype: DType,
    slot: Slot,
) -> Vec<Value> {
    let address = temporary_address(e, row, body, dtype, slot);
    let ty = register(dtype, body.shape);
    (0..body.parts).map(|part| e.b.ins().load(ty, flags(), address, part as i32 * 16)).collect()
}

fn write_temporary(
    e: &mut Emitter<'_, '_>,
    row: &Row<'_>,
    body: &Body,
    dtype: DType,
    slot: Slot,
    values: &[Value],
) {
    let address = temporary_address(e, row, body, dtype, slot);
    for (part, &value) in values.iter().enumerate() {
        e.b.ins().store(flags(), value, address, part as i32 * 16);
    }
}
