//! Inlined values as expressions: a value is a function of the indices of its axes, and views are substitutions of
//! these indices.
//!
//! Where an operation yields zeros outside a range, the indices inside may be out of bounds: every load there is
//! guarded by the range, and so is every index that comes from data.

use super::Context;
use super::builder::{Env, KernelBuilder, canonical};
use super::frame::{Frame, view_of};
use super::view::{Storage, row_major};
use crate::kernel::{Atom, Expr, ExprId, Guard, Linear, Region};
use carousel_ir::philox::stream_hash;
use carousel_ir::{Axis, DType, Number, Op, OpKind, Size, ValueId};
use std::collections::HashMap;

/// What a load gives as a value of dtype `to`, from memory whose elements are stored as `from`.
pub(crate) fn loaded(region: &mut Region, load: Expr, from: DType, to: DType) -> ExprId {
    let value = region.push(load, from);
    if from == to { value } else { region.push(Expr::Cast { value, from, to }, to) }
}

/// A value of dtype `from` as it is stored in memory whose elements are `to`.
pub(crate) fn stored(region: &mut Region, value: ExprId, from: DType, to: DType) -> ExprId {
    if from == to { value } else { region.push(Expr::Cast { value, from, to }, to) }
}

/// Makes the region of one statement.
pub(crate) struct Emitter<'a, 'm> {
    pub(crate) frames: &'a [Frame<'m>],
    storages: &'a [Storage],
    pub(crate) kernel: &'a mut KernelBuilder,
    pub(crate) region: Region,
    memo: HashMap<(usize, ValueId, Vec<Linear>, Vec<Guard>), ExprId>,
}

impl<'a, 'm> Emitter<'a, 'm> {
    pub(crate) fn new(cx: &'a Context<'m>, kernel: &'a mut KernelBuilder) -> Emitter<'a, 'm> {
        let Context { frames, storages, .. } = cx;
        Emitter { frames, storages, kernel, region: Region::default(), memo: HashMap::new() }
    }

    /// The value at the indices `env`.
    pub(crate) fn value(&mut self, frame: usize, value: ValueId, env: &Env, guards: &[Guard]) -> ExprId {
        let ty = self.frames[frame].graph.ty(value);
        let indices = ty.axes.iter().map(|a| index(env, a).clone()).collect();
        let key = (frame, value, indices, guards.to_vec());
        if let Some(done) = self.memo.get(&key) {
            return *done;
        }
        let expr = match view_of(self.frames, frame, value) {
            Some(view) => {
                let buffer = self.kernel.buffer(view.storage);
                let index = self.kernel.address(&view, env);
                let load = Expr::Load { buffer, index, guards: guards.to_vec() };
                let (from, to) = (self.storages[view.storage.0 as usize].dtype, ty.dtype);
                loaded(&mut self.region, load, from, to)
            }
            None => self.definition(frame, value, env, guards),
        };
        self.memo.insert(key, expr);
        expr
    }

    /// The value as computed from its operands, even if it is stored.
    pub(crate) fn definition(&mut self, frame: usize, value: ValueId, env: &Env, guards: &[Guard]) -> ExprId {
        let graph = self.frames[frame].graph;
        let node = &graph[value];
        let dtype = node.ty().dtype;
        let operand = |i: usize| node.operands[i];
        match &node.op {
            Op::Input { index } => {
                let outer = self.frames[frame].outer[*index as usize]
                    .expect("states and function inputs are stored, other inputs have a value outside");
                let mut env = env.clone();
                if let Some((axis, position)) = outer.along {
                    set(&mut env, axis, position.index());
                }
                self.value(self.frames[frame].parent, outer.value, &env, guards)
            }
            Op::Const { value, dtype } => self.constant(*value, *dtype),
            Op::SizeOf { axis, dtype } => {
                let dim = self.kernel.dim(graph.axes.size(*axis));
                self.region.push(Expr::Size { dim, dtype: *dtype }, *dtype)
            }
            Op::Iota { axis } => {
                self.region.push(Expr::Index { index: index(env, *axis).clone() }, DType::I32)
            }
            Op::Cast { dtype } => {
                let from = graph.ty(operand(0)).dtype;
                let value = self.value(frame, operand(0), env, guards);
                if from == *dtype {
                    return value;
                }
                self.region.push(Expr::Cast { value, from, to: *dtype }, *dtype)
            }
            Op::Detach | Op::Broadcast { axes: _ } => self.value(frame, operand(0), env, guards),
            Op::Neg
            | Op::Abs
            | Op::Sign
            | Op::Floor
            | Op::Ceil
            | Op::Exp
            | Op::Log
            | Op::Log1p
            | Op::Sqrt
            | Op::Tanh
            | Op::Sigmoid
            | Op::Logsigmoid
            | Op::Erf
            | Op::Not
            | Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Min
            | Op::Max
            | Op::Eq
            | Op::Ne
            | Op::Lt
            | Op::Le
            | Op::And
            | Op::Or
            | Op::Select => {
                let operands = node.operands.iter().map(|o| self.value(frame, *o, env, guards)).collect();
                self.region.push(Expr::Apply { op: node.op.kind(), operands, dtype }, dtype)
            }
            Op::Rename { from, to } => {
                let mut inner = env.clone();
                set(&mut inner, *from, index(env, *to).clone());
                self.value(frame, operand(0), &inner, guards)
            }
            Op::Split { axis, into } => {
                let sizes: Vec<Size> = into.iter().map(|a| graph.axes.size(a).clone()).collect();
                let mut whole = Linear::zero();
                for (part, stride) in into.iter().zip(row_major(&sizes)) {
                    self.kernel.add_scaled(&mut whole, index(env, part), &stride);
                }
                canonical(&mut whole);
                let mut inner = env.clone();
                set(&mut inner, *axis, whole);
                self.value(frame, operand(0), &inner, guards)
            }
            Op::Merge { axes, into } => {
                let mut inner = env.clone();
                self.merge(&mut inner, index(env, *into), axes.as_slice(), frame);
                self.value(frame, operand(0), &inner, guards)
            }
            Op::Slice { axis, to, start } => {
                let mut at = index(env, *to).clone();
                self.kernel.add_size(&mut at, 1, start);
                canonical(&mut at);
                let mut inner = env.clone();
                set(&mut inner, *axis, at);
                self.value(frame, operand(0), &inner, guards)
            }
            Op::Pad { axis, to, before } => {
                let mut at = index(env, *to).clone();
                self.kernel.add_size(&mut at, -1, before);
                self.within(frame, operand(0), env, *axis, at, guards)
            }
            Op::Shift { axis, by } => {
                let mut at = index(env, *axis).clone();
                at.add_term(-by, crate::kernel::Dim::Known(1), Atom::One);
                self.within(frame, operand(0), env, *axis, at, guards)
            }
            Op::Concat { axes, to } => self.concat(frame, &node.operands, axes, index(env, *to), env, guards),
            Op::Gather { axis } => {
                let bound = self.kernel.dim(graph.axes.size(*axis));
                let row = self.value(frame, operand(1), env, guards);
                let row = self.zero_outside(row, graph.ty(operand(1)).dtype, guards);
                let mut at = Linear::zero();
                at.add_term(1, crate::kernel::Dim::Known(1), Atom::Data { value: row, bound });
                let mut inner = env.clone();
                set(&mut inner, *axis, at);
                self.value(frame, operand(0), &inner, guards)
            }
            Op::Uniform { stream, axes } => {
                let sizes: Vec<Size> = axes.iter().map(|a| graph.axes.size(a).clone()).collect();
                let mut at = Linear::zero();
                for (axis, stride) in axes.iter().zip(row_major(&sizes)) {
                    self.kernel.add_scaled(&mut at, index(env, axis), &stride);
                }
                canonical(&mut at);
                let seed = self.value(frame, operand(0), env, guards);
                let step = self.value(frame, operand(1), env, guards);
                let stream = stream_hash(stream.as_str());
                self.region.push(Expr::Uniform { seed, step, stream, index: at }, DType::F32)
            }
            Op::FoldIn { number } => {
                let seed = self.value(frame, operand(0), env, guards);
                self.region.push(Expr::FoldIn { seed, number: *number }, DType::U32)
            }
            Op::Sum { .. }
            | Op::ReduceMax { .. }
            | Op::Dot { .. }
            | Op::CumSum { .. }
            | Op::CumMax { .. }
            | Op::ScatterAdd { .. }
            | Op::LinRead { .. }
            | Op::LinReadDecay { .. }
            | Op::LinSolve { .. }
            | Op::Scan { .. }
            | Op::Call { .. }
            | Op::Proj { .. } => panic!("`{}` is a statement and has a storage", node.op.kind()),
        }
    }

    fn constant(&mut self, value: Number, dtype: DType) -> ExprId {
        self.region.push(Expr::Const { value, dtype }, dtype)
    }

    /// Indices of the axes that were merged into one, whose index is `whole`.
    fn merge(&mut self, env: &mut Env, whole: &Linear, axes: &[Axis], frame: usize) {
        let table = &self.frames[frame].graph.axes;
        let real: Vec<Axis> = axes.iter().copied().filter(|a| *table.size(*a) != Size::Known(1)).collect();
        axes.iter().for_each(|a| set(env, *a, Linear::zero()));
        let sizes: Vec<Size> = real.iter().map(|a| table.size(*a).clone()).collect();
        for (place, (axis, stride)) in real.iter().zip(row_major(&sizes)).enumerate() {
            let mut at = whole.clone();
            if stride != Size::Known(1) {
                let dim = self.kernel.dim(&stride);
                at = self.kernel.quotient(at, dim);
            }
            if place > 0 {
                let dim = self.kernel.dim(&sizes[place]);
                at = self.kernel.remainder(at, dim);
            }
            set(env, *axis, at);
        }
    }

    /// The operand at `axis = at`, 0 where that is outside of the axis.
    fn within(
        &mut self,
        frame: usize,
        operand: ValueId,
        env: &Env,
        axis: Axis,
        mut at: Linear,
        guards: &[Guard],
    ) -> ExprId {
        let graph = self.frames[frame].graph;
        canonical(&mut at);
        let bound = self.kernel.dim(graph.axes.size(axis));
        let guard = Guard { index: at.clone(), bound };
        let mut inner = env.clone();
        set(&mut inner, axis, at);
        let mut all = guards.to_vec();
        if !all.contains(&guard) {
            all.push(guard.clone());
        }
        let value = self.value(frame, operand, &inner, &all);
        if matches!(self.region.exprs[value.0 as usize], Expr::Load { .. }) {
            return value;
        }
        self.zero_outside(value, graph.ty(operand).dtype, &[guard])
    }

    /// The value where all guards hold, else 0. Loads under the guards are 0 already.
    fn zero_outside(&mut self, value: ExprId, dtype: DType, guards: &[Guard]) -> ExprId {
        if matches!(&self.region.exprs[value.0 as usize], Expr::Load { guards: g, .. } if guards.iter().all(|x| g.contains(x)))
        {
            return value;
        }
        guards.iter().fold(value, |value, guard| {
            let holds = self.region.push(Expr::Holds { guard: guard.clone() }, DType::Bool);
            let zero = self.constant(Number::new(0.0), dtype);
            self.select(holds, value, zero, dtype)
        })
    }

    fn select(&mut self, condition: ExprId, a: ExprId, b: ExprId, dtype: DType) -> ExprId {
        self.region.push(Expr::Apply { op: OpKind::Select, operands: vec![condition, a, b], dtype }, dtype)
    }

    fn concat(
        &mut self,
        frame: usize,
        operands: &[ValueId],
        axes: &[Axis],
        whole: &Linear,
        env: &Env,
        guards: &[Guard],
    ) -> ExprId {
        let graph = self.frames[frame].graph;
        let dtype = graph.ty(operands[0]).dtype;
        let (mut parts, mut before) = (Vec::new(), Size::Known(0));
        for (operand, axis) in operands.iter().zip(axes) {
            let mut at = whole.clone();
            self.kernel.add_size(&mut at, -1, &before);
            canonical(&mut at);
            let size = graph.axes.size(*axis);
            let guard = Guard { index: at.clone(), bound: self.kernel.dim(size) };
            let mut inner = env.clone();
            set(&mut inner, *axis, at);
            let mut all = guards.to_vec();
            if operands.len() > 1 {
                all.push(guard.clone());
            }
            parts.push((guard, self.value(frame, *operand, &inner, &all)));
            before = Size::sum([before, size.clone()]);
        }
        let (_, last) = parts.pop().expect("a concatenation has operands");
        parts.into_iter().rev().fold(last, |rest, (guard, part)| {
            let holds = self.region.push(Expr::Holds { guard }, DType::Bool);
            self.select(holds, part, rest, dtype)
        })
    }
}

/// The index of an axis.
pub(crate) fn index(env: &Env, axis: Axis) -> &Linear {
    env.iter()
        .find(|(a, _)| *a == axis)
        .map(|(_, i)| i)
        .unwrap_or_else(|| panic!("the axis `{axis}` has no index here"))
}

fn set(env: &mut Env, axis: Axis, index: Linear) {
    match env.iter_mut().find(|(a, _)| *a == axis) {
        Some(slot) => slot.1 = index,
        None => env.push((axis, index)),
    }
}
