//! The innermost loop: a run of points along one axis, some vectors at a time.
//!
//! Invariant: whatever the width, a point computes the same bits. What is contiguous is loaded and stored as vectors,
//! what is constant was computed outside, everything else goes lane by lane; an access that guards forbid reads zeros
//! from the header or writes to its waste.

mod sinks;

use super::emitter::{Count, Emitter, bytes_of, flags};
use super::nest::{Lane, Nest, permission, scaled};
use super::stages::{Plan, Slot, Stage, TileFunction};
use super::values::{self, LANES, Shape, register};
use carousel_core::kernel::{BufferId, Combine, Dim, Expr, ExprId, Guard, Linear, Store, Update};
use carousel_ir::DType;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::Variable;
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

/// How an access moves along the row.
enum Move {
    /// Element after element.
    Contiguous,
    /// By so many bytes.
    Strided(Value),
    /// Computed anew at each point.
    Free,
}

/// An access that was prepared outside of the innermost loop.
struct Prepared<'k> {
    buffer: BufferId,
    index: &'k Linear,
    guards: &'k [Guard],
    pointer: Value,
    /// All ones where the row may be touched, else 0; `None` if it always may.
    mask: Option<Value>,
    movement: Move,
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
) {
    let around = nest.open_loops();
    let last = plan.stages.len() - 1;
    for (at, stage) in plan.stages.iter().enumerate() {
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

/// Computes outside of the innermost loop what an access needs; `otherwise` is where it goes if it is not allowed.
fn prepare<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    buffer: BufferId,
    index: &'k Linear,
    guards: &'k [Guard],
    run: Run,
    otherwise: Option<Value>,
) -> Prepared<'k> {
    let start = e.buffer(buffer);
    let inner = nest.inner_depth();
    let strides = nest.strides_along_inner(index);
    let steady = guards.iter().all(|guard| nest.depth_of_linear(&guard.index) < inner);
    let Some(strides) = strides.filter(|_| steady) else {
        return Prepared { buffer, index, guards, pointer: start, mask: None, movement: Move::Free };
    };
    let bytes = bytes_of(e.dtype(buffer));
    let contiguous = nest.is_contiguous(index);
    let mut stride = None;
    if !contiguous {
        for (coefficient, dim) in strides {
            let part = match dim {
                Dim::Known(n) => e.int(coefficient * n as i64 * bytes),
                dim @ Dim::Argument(_) => {
                    let dim = e.dim(dim);
                    scaled(e, dim, coefficient * bytes)
                }
            };
            stride = Some(match stride {
                None => part,
                Some(sum) => e.b.ins().iadd(sum, part),
            });
        }
    }
    let movement = match (contiguous, stride) {
        (true, _) => Move::Contiguous,
        (false, Some(stride)) => Move::Strided(stride),
        (false, None) => Move::Strided(e.int(0)),
    };
    let (base, fine) = nest.base(e, index);
    let holds = nest.all_hold(e, guards, Lane::NONE);
    let mut pointer = start;
    if let Some(base) = base {
        let offset = scaled(e, base, bytes);
        pointer = e.b.ins().iadd(pointer, offset);
    }
    if let Some(first) = run.start {
        let offset = match &movement {
            Move::Strided(stride) => e.b.ins().imul(first, *stride),
            Move::Contiguous | Move::Free => scaled(e, first, bytes),
        };
        pointer = e.b.ins().iadd(pointer, offset);
    }
    let mut mask = None;
    if let (Some(allowed), Some(otherwise)) = (permission(e, holds, fine), otherwise) {
        pointer = e.b.ins().select(allowed, pointer, otherwise);
        let ty = cranelift_codegen::ir::types::I64;
        mask = Some(e.b.ins().bmask(ty, allowed));
    }
    Prepared { buffer, index, guards, pointer, mask, movement }
}

/// The address of the point at `position`, for accesses that are not free.
fn address(e: &mut Emitter<'_, '_>, access: &Prepared<'_>, position: Value, lane: i64) -> Value {
    let mut offset = match access.movement {
        Move::Strided(stride) => {
            let position = if lane == 0 { position } else { e.b.ins().iadd_imm_s(position, lane) };
            e.b.ins().imul(position, stride)
        }
        Move::Contiguous | Move::Free => scaled(e, position, bytes_of(e.dtype(access.buffer))),
    };
    if let Some(mask) = access.mask {
        offset = e.b.ins().band(offset, mask);
    }
    e.b.ins().iadd(access.pointer, offset)
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

/// The value of an expression in all parts.
fn operand(nest: &Nest<'_>, row: &Row<'_>, body: &Body, id: ExprId) -> Vec<Value> {
    if let Some(values) = &body.values[id.0 as usize] {
        return values.clone();
    }
    let value = match body.shape {
        Shape::Scalar => nest.hoisted[id.0 as usize],
        Shape::Vector => row.splats.get(&id.0).copied(),
    };
    vec![value.expect("operands precede their users"); body.parts]
}

/// Binds the innermost variable to a point of the iteration.
fn bind(e: &mut Emitter<'_, '_>, nest: &Nest<'_>, run: Run, body: &Body, offset: i64) {
    let mut index = body.position;
    if let Some(start) = run.start {
        index = e.b.ins().iadd(start, index);
    }
    if offset != 0 {
        index = e.b.ins().iadd_imm_s(index, offset);
    }
    e.variables.insert(nest.inner().var, index);
}

fn compute<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    row: &Row<'k>,
    body: &Body,
    run: Run,
    id: ExprId,
) -> Vec<Value> {
    let region = nest.region;
    let dtype = region.dtypes[id.0 as usize];
    match &region.exprs[id.0 as usize] {
        Expr::Load { buffer, .. } => {
            let access = &row.loads[&id.0];
            match (&access.movement, body.shape) {
                (Move::Contiguous, shape) => {
                    let address = address(e, access, body.position, 0);
                    let (dtype, bytes) = (e.dtype(*buffer), bytes_of(e.dtype(*buffer)) * LANES as i64);
                    (0..body.parts)
                        .map(|part| values::load(e, dtype, shape, address, (part as i64 * bytes) as i32))
                        .collect()
                }
                (Move::Strided(_), _) => by_lanes(e, body, dtype, |e, _, _, offset| {
                    let address = address(e, access, body.position, offset);
                    values::load(e, e.dtype(access.buffer), Shape::Scalar, address, 0)
                }),
                (Move::Free, _) => by_lanes(e, body, dtype, |e, part, lane, offset| {
                    bind(e, nest, run, body, offset);
                    nest.scalar(e, id, Lane { values: &body.values, part, lane })
                }),
            }
        }
        Expr::Apply { op, operands, dtype } => {
            let of = region.dtypes[operands[operands.len().min(2) - 1].0 as usize];
            let operands: Vec<Vec<Value>> = operands.iter().map(|id| operand(nest, row, body, *id)).collect();
            // Side by side, so that the parts' latencies overlap.
            (0..body.parts)
                .map(|part| {
                    let operands: Vec<Value> = operands.iter().map(|values| values[part]).collect();
                    values::apply(e, *op, of, *dtype, body.shape, &operands)
                })
                .collect()
        }
        Expr::Cast { value, from, to } => operand(nest, row, body, *value)
            .into_iter()
            .map(|value| values::cast(e, *from, *to, body.shape, value))
            .collect(),
        Expr::Index { index } if body.shape == Shape::Vector && nest.is_contiguous(index) => {
            ascending(e, nest, run, body, index)
        }
        Expr::Holds { guard } if body.shape == Shape::Vector && nest.is_contiguous(&guard.index) => {
            let bound = e.dim(guard.bound);
            let bound = values::from_index(e, bound, DType::I32);
            let bound = values::splat(e, DType::I32, bound);
            let indices = ascending(e, nest, run, body, &guard.index);
            indices
                .into_iter()
                .map(|index| {
                    let below = cranelift_codegen::ir::condcodes::IntCC::UnsignedLessThan;
                    e.b.ins().icmp(below, index, bound)
                })
                .collect()
        }
        Expr::Const { .. }
        | Expr::Size { .. }
        | Expr::Index { .. }
        | Expr::Holds { .. }
        | Expr::Uniform { .. }
        | Expr::FoldIn { .. } => by_lanes(e, body, dtype, |e, part, lane, offset| {
            bind(e, nest, run, body, offset);
            nest.scalar(e, id, Lane { values: &body.values, part, lane })
        }),
    }
}

/// An index that grows by one from lane to lane, as i32.
fn ascending<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    run: Run,
    body: &Body,
    index: &'k Linear,
) -> Vec<Value> {
    bind(e, nest, run, body, 0);
    let (first, _) = nest.whole(e, index, Lane::NONE);
    let first = values::from_index(e, first, DType::I32);
    let ty = register(DType::I32, Shape::Scalar);
    let lanes = [0, 1, 2, 3].map(|lane| e.b.ins().iconst(ty, lane));
    let lanes = values::gather_lanes(e, DType::I32, lanes);
    (0..body.parts)
        .map(|part| {
            let first = e.b.ins().iadd_imm_s(first, part as i64 * LANES as i64);
            let first = values::splat(e, DType::I32, first);
            e.b.ins().iadd(first, lanes)
        })
        .collect()
}

/// Scalars from a function of (part, lane, offset in points), as scalars or gathered into vectors.
fn by_lanes(
    e: &mut Emitter<'_, '_>,
    body: &Body,
    dtype: DType,
    mut function: impl FnMut(&mut Emitter<'_, '_>, usize, Option<u8>, i64) -> Value,
) -> Vec<Value> {
    match body.shape {
        Shape::Scalar => vec![function(e, 0, None, 0)],
        Shape::Vector => (0..body.parts)
            .map(|part| {
                let lanes = [0u8, 1, 2, 3]
                    .map(|lane| function(e, part, Some(lane), part as i64 * LANES as i64 + i64::from(lane)));
                values::gather_lanes(e, dtype, lanes)
            })
            .collect(),
    }
}
