//! The loops around a region, and what is computed at which depth of them.
//!
//! Invariant: an expression, and each part of an offset, is emitted at the outermost loop in which all that it depends on
//! is known, once; so the innermost loop contains only what changes in it. Depth 0 is outside of the statement's loops,
//! depth n inside the n-th; the innermost loop's own depth is emitted by [`super::row`].

use super::emitter::{Emitter, OpenAxis, bytes_of};
use super::values::{self, STATUS_INDEX, Shape};
use carousel_core::kernel::{Atom, BufferId, Dim, Expr, ExprId, Guard, Linear, Loop, Region, Term, Var};
use carousel_ir::{DType, Direction};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use std::collections::HashMap;

/// The part of an offset that is known at some depth.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Partial {
    /// The sum of the terms, if there are any.
    sum: Option<Value>,
    /// Whether all integers from data in it are in range, if there are any.
    fine: Option<Value>,
}

/// A region under its loops.
pub(super) struct Nest<'k> {
    pub(super) region: &'k Region,
    /// Outermost first; at least one.
    pub(super) loops: Vec<Loop>,
    depth_of: HashMap<Var, usize>,
    /// For every expression, how deep it must be.
    pub(super) depths: Vec<usize>,
    needed: Vec<bool>,
    linears: Vec<&'k Linear>,
    partials: Vec<HashMap<*const Linear, Partial>>,
    /// The values of expressions outside of the innermost loop.
    pub(super) hoisted: Vec<Option<Value>>,
    open: Vec<OpenAxis>,
}

/// Where the integers from data come from while an offset is computed in the innermost loop.
#[derive(Clone, Copy)]
pub(super) struct Lane<'v> {
    /// The values of this iteration.
    pub(super) values: &'v [Option<Vec<Value>>],
    /// Which vector.
    pub(super) part: usize,
    /// Which lane of it, if it is one.
    pub(super) lane: Option<u8>,
}

impl Lane<'_> {
    /// Outside of the innermost loop.
    pub(super) const NONE: Lane<'static> = Lane { values: &[], part: 0, lane: None };

    fn get(&self, e: &mut Emitter<'_, '_>, nest: &Nest<'_>, id: ExprId) -> Value {
        if let Some(value) = nest.hoisted[id.0 as usize] {
            return value;
        }
        let parts = self.values[id.0 as usize].as_ref().expect("operands precede their users");
        match self.lane {
            Some(lane) => e.b.ins().extractlane(parts[self.part], lane),
            None => parts[self.part],
        }
    }
}

/// The operands of an expression, those inside of its offsets included.
pub(super) fn operands(expr: &Expr) -> Vec<ExprId> {
    let mut found = Vec::new();
    match expr {
        Expr::Load { index, guards, .. } => {
            data_of(index, &mut found);
            guards.iter().for_each(|guard| data_of(&guard.index, &mut found));
        }
        Expr::Const { .. } | Expr::Size { .. } => {}
        Expr::Index { index } => data_of(index, &mut found),
        Expr::Holds { guard } => data_of(&guard.index, &mut found),
        Expr::Apply { operands, .. } => found.extend(operands),
        Expr::Cast { value, .. } => found.push(*value),
        Expr::Uniform { seed, step, index, .. } => {
            found.extend([*seed, *step]);
            data_of(index, &mut found);
        }
        Expr::FoldIn { seed, .. } => found.push(*seed),
    }
    found
}

/// The expressions whose values an offset contains.
pub(super) fn data_of(linear: &Linear, found: &mut Vec<ExprId>) {
    for term in &linear.terms {
        match &term.atom {
            Atom::One | Atom::Var(_) => {}
            Atom::Quotient(inner, _) | Atom::Remainder(inner, _) => data_of(inner, found),
            Atom::Data { value, .. } => found.push(*value),
        }
    }
}

/// The offsets of an expression.
fn linears_of(expr: &Expr) -> Vec<&Linear> {
    match expr {
        Expr::Load { index, guards, .. } => {
            std::iter::once(index).chain(guards.iter().map(|guard| &guard.index)).collect()
        }
        Expr::Index { index } | Expr::Uniform { index, .. } => vec![index],
        Expr::Holds { guard } => vec![&guard.index],
        Expr::Const { .. }
        | Expr::Size { .. }
        | Expr::Apply { .. }
        | Expr::Cast { .. }
        | Expr::FoldIn { .. } => Vec::new(),
    }
}

impl<'k> Nest<'k> {
    /// A region under `loops`, of which `roots` are wanted and whose results go to `targets`.
    pub(super) fn new(
        region: &'k Region,
        loops: Vec<Loop>,
        roots: &[ExprId],
        targets: &[&'k Linear],
    ) -> Nest<'k> {
        let depth_of = loops.iter().enumerate().map(|(at, over)| (over.var, at + 1)).collect();
        let mut needed = vec![false; region.exprs.len()];
        let mut open: Vec<ExprId> = roots.to_vec();
        targets.iter().for_each(|target| data_of(target, &mut open));
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut needed[id.0 as usize], true) {
                open.extend(operands(&region.exprs[id.0 as usize]));
            }
        }
        let mut nest = Nest {
            region,
            loops,
            depth_of,
            depths: Vec::new(),
            needed,
            linears: targets.to_vec(),
            partials: Vec::new(),
            hoisted: vec![None; region.exprs.len()],
            open: Vec::new(),
        };
        for (at, expr) in region.exprs.iter().enumerate() {
            let linears = linears_of(expr);
            let by_index = linears.iter().map(|linear| nest.depth_of_linear(linear)).max().unwrap_or(0);
            let by_operands = operands(expr).iter().map(|id| nest.depths[id.0 as usize]).max().unwrap_or(0);
            nest.depths.push(by_index.max(by_operands));
            if nest.needed[at] {
                nest.linears.extend(linears);
            }
        }
        nest
    }

    /// The depth of the innermost loop.
    pub(super) fn inner_depth(&self) -> usize {
        self.loops.len()
    }

    /// The innermost loop.
    pub(super) fn inner(&self) -> Loop {
        self.loops[self.loops.len() - 1]
    }

    /// Whether an expression changes in the innermost loop.
    pub(super) fn is_inner(&self, id: ExprId) -> bool {
        self.depths[id.0 as usize] == self.inner_depth()
    }

    fn depth_of_term(&self, term: &Term) -> usize {
        match &term.atom {
            Atom::One => 0,
            Atom::Var(var) => self.depth_of.get(var).copied().unwrap_or(0),
            Atom::Quotient(inner, _) | Atom::Remainder(inner, _) => self.depth_of_linear(inner),
            Atom::Data { value, .. } => self.depths[value.0 as usize],
        }
    }

    /// The depth at which all of an offset is known.
    pub(super) fn depth_of_linear(&self, linear: &Linear) -> usize {
        linear.terms.iter().map(|term| self.depth_of_term(term)).max().unwrap_or(0)
    }

    /// The strides of an offset along the innermost loop, as products; `None` if it is not linear there.
    pub(super) fn strides_along_inner(&self, linear: &Linear) -> Option<Vec<(i64, Dim)>> {
        let inner = linear.terms.iter().filter(|term| self.depth_of_term(term) == self.inner_depth());
        inner.map(|term| matches!(term.atom, Atom::Var(_)).then_some((term.coefficient, term.dim))).collect()
    }

    /// Whether consecutive elements follow each other along the innermost loop.
    pub(super) fn is_contiguous(&self, linear: &Linear) -> bool {
        self.strides_along_inner(linear).is_some_and(|strides| strides == [(1, Dim::Known(1))])
    }

    /// Emits what depends on nothing in the loops.
    pub(super) fn prepare(&mut self, e: &mut Emitter<'_, '_>) {
        self.hoist(e);
    }

    /// Begins the next loop.
    pub(super) fn enter(&mut self, e: &mut Emitter<'_, '_>, direction: Direction) {
        let over = self.loops[self.open.len()];
        let open = e.begin_axis(over, direction);
        self.open.push(open);
        self.hoist(e);
    }

    /// Begins the next loop, of which only a part is done: `count` turns from `start` on (0 if there is none). Returns
    /// the turn.
    pub(super) fn enter_part(
        &mut self,
        e: &mut Emitter<'_, '_>,
        start: Option<Value>,
        count: Value,
    ) -> Value {
        let over = self.loops[self.open.len()];
        let (open, turn) = e.begin_part(over, start, count);
        self.open.push(open);
        self.hoist(e);
        turn
    }

    /// How many loops are open.
    pub(super) fn open_loops(&self) -> usize {
        self.open.len()
    }

    /// The value of a term outside of all loops.
    pub(super) fn outer_term(&self, e: &mut Emitter<'_, '_>, term: &Term) -> Value {
        let partial = self.add_term(e, Partial::default(), term, Lane::NONE);
        partial.sum.expect("it has a term")
    }

    /// Begins loops until `depth` of them are open.
    pub(super) fn enter_to(&mut self, e: &mut Emitter<'_, '_>, depth: usize) {
        while self.open.len() < depth {
            self.enter(e, Direction::Forward);
        }
    }

    /// Ends loops until `depth` of them are open.
    pub(super) fn exit_to(&mut self, e: &mut Emitter<'_, '_>, depth: usize) {
        while self.open.len() > depth {
            self.partials.pop();
            let open = self.open.pop().expect("it is open");
            e.end_axis(open);
        }
        // What was computed in loops that are closed dominates nothing any more.
        for (value, &own) in self.hoisted.iter_mut().zip(&self.depths) {
            if own > depth {
                *value = None;
            }
        }
    }

    fn hoist(&mut self, e: &mut Emitter<'_, '_>) {
        let depth = self.open.len();
        self.partials.push(HashMap::new());
        for at in 0..self.region.exprs.len() {
            if self.needed[at] && self.depths[at] == depth && depth < self.inner_depth() {
                let value = self.scalar(e, ExprId(at as u32), Lane::NONE);
                self.hoisted[at] = Some(value);
            }
        }
        for at in 0..self.linears.len() {
            self.partial(e, self.linears[at]);
        }
    }

    /// The part of an offset that is known where loops are open now.
    fn partial(&mut self, e: &mut Emitter<'_, '_>, linear: &'k Linear) -> Partial {
        let key = std::ptr::from_ref(linear);
        let depth = self.open.len();
        if let Some(&known) = self.partials[depth].get(&key) {
            return known;
        }
        let outer = depth.checked_sub(1).and_then(|outer| self.partials[outer].get(&key).copied());
        let mut partial = outer.unwrap_or_default();
        // What lies deeper than a loop that another statement's text skips has no terms there.
        for term in linear.terms.iter().filter(|term| {
            let own = self.depth_of_term(term);
            own == depth && own < self.inner_depth().max(1)
        }) {
            partial = self.add_term(e, partial, term, Lane::NONE);
        }
        self.partials[depth].insert(key, partial);
        partial
    }

    fn add_term(&self, e: &mut Emitter<'_, '_>, partial: Partial, term: &Term, lane: Lane<'_>) -> Partial {
        let (atom, fine) = self.atom(e, &term.atom, lane);
        let mut value = match (atom, term.dim, term.coefficient) {
            (None, Dim::Known(n), c) => e.int(c * n as i64),
            (None, dim, c) => {
                let dim = e.dim(dim);
                scaled(e, dim, c)
            }
            (Some(value), Dim::Known(n), c) => scaled(e, value, c * n as i64),
            (Some(value), dim, c) => {
                let dim = e.dim(dim);
                let product = e.b.ins().imul(value, dim);
                scaled(e, product, c)
            }
        };
        if let Some(sum) = partial.sum {
            value = e.b.ins().iadd(sum, value);
        }
        let fine = match (partial.fine, fine) {
            (Some(a), Some(b)) => Some(e.b.ins().band(a, b)),
            (a, b) => a.or(b),
        };
        Partial { sum: Some(value), fine }
    }

    /// The value of an atom, `None` for one, and whether it is in range if it comes from data.
    fn atom(&self, e: &mut Emitter<'_, '_>, atom: &Atom, lane: Lane<'_>) -> (Option<Value>, Option<Value>) {
        match atom {
            Atom::One => (None, None),
            Atom::Var(var) => (Some(e.variables[var]), None),
            Atom::Quotient(inner, dim) | Atom::Remainder(inner, dim) => {
                let mut partial = Partial::default();
                for term in &inner.terms {
                    partial = self.add_term(e, partial, term, lane);
                }
                let value = partial.sum.unwrap_or_else(|| e.int(0));
                let quotient = matches!(atom, Atom::Quotient(..));
                let result = match dim {
                    Dim::Known(n) if n.is_power_of_two() && quotient => {
                        e.b.ins().ushr_imm_u(value, i64::from(n.trailing_zeros()))
                    }
                    Dim::Known(n) if n.is_power_of_two() => e.b.ins().band_imm_s(value, *n as i64 - 1),
                    dim @ (Dim::Known(_) | Dim::Argument(_)) => {
                        // A divisor of 0 is the size of an empty axis: there is no element to address.
                        let divisor = e.dim(*dim);
                        let one = e.int(1);
                        let divisor = match dim {
                            Dim::Known(n) if *n > 0 => divisor,
                            Dim::Known(_) | Dim::Argument(_) => e.b.ins().umax(divisor, one),
                        };
                        if quotient { e.b.ins().udiv(value, divisor) } else { e.b.ins().urem(value, divisor) }
                    }
                };
                (Some(result), partial.fine)
            }
            Atom::Data { value, bound } => {
                let value = lane.get(e, self, *value);
                let wide = e.b.ins().uextend(types::I64, value);
                let bound = e.dim(*bound);
                let fine = e.b.ins().icmp(IntCC::UnsignedLessThan, wide, bound);
                let zero = e.int(0);
                (Some(e.b.ins().select(fine, wide, zero)), Some(fine))
            }
        }
    }

    /// The whole of an offset: its variables are bound, its data in `lane`; and whether its data is in range.
    pub(super) fn whole(
        &mut self,
        e: &mut Emitter<'_, '_>,
        linear: &'k Linear,
        lane: Lane<'_>,
    ) -> (Value, Option<Value>) {
        let mut partial = self.partial(e, linear);
        for term in &linear.terms {
            if self.depth_of_term(term) == self.inner_depth() {
                partial = self.add_term(e, partial, term, lane);
            }
        }
        (partial.sum.unwrap_or_else(|| e.int(0)), partial.fine)
    }

    /// The part of an offset outside of the innermost loop, and whether its data is in range.
    pub(super) fn base(
        &mut self,
        e: &mut Emitter<'_, '_>,
        linear: &'k Linear,
    ) -> (Option<Value>, Option<Value>) {
        let partial = self.partial(e, linear);
        (partial.sum, partial.fine)
    }

    /// Whether a guard holds.
    pub(super) fn holds(&mut self, e: &mut Emitter<'_, '_>, guard: &'k Guard, lane: Lane<'_>) -> Value {
        let (index, _) = self.whole(e, &guard.index, lane);
        let bound = e.dim(guard.bound);
        e.b.ins().icmp(IntCC::UnsignedLessThan, index, bound)
    }

    /// Whether all guards hold; `None` if there are none.
    pub(super) fn all_hold(
        &mut self,
        e: &mut Emitter<'_, '_>,
        guards: &'k [Guard],
        lane: Lane<'_>,
    ) -> Option<Value> {
        let mut all = None;
        for guard in guards {
            let holds = self.holds(e, guard, lane);
            all = Some(match all {
                None => holds,
                Some(all) => e.b.ins().band(all, holds),
            });
        }
        all
    }

    /// The address of an element, or of the header where there is none.
    pub(super) fn address(
        &mut self,
        e: &mut Emitter<'_, '_>,
        buffer: BufferId,
        index: &'k Linear,
        guards: &'k [Guard],
        lane: Lane<'_>,
        otherwise: Value,
    ) -> Value {
        let (offset, fine) = self.whole(e, index, lane);
        let holds = self.all_hold(e, guards, lane);
        let allowed = permission(e, holds, fine);
        let bytes = scaled(e, offset, bytes_of(e.dtype(buffer)));
        let start = e.buffer(buffer);
        let address = e.b.ins().iadd(start, bytes);
        match allowed {
            None => address,
            Some(allowed) => e.b.ins().select(allowed, address, otherwise),
        }
    }

    /// A scalar expression whose operands are there.
    pub(super) fn scalar(&mut self, e: &mut Emitter<'_, '_>, id: ExprId, lane: Lane<'_>) -> Value {
        let region = self.region;
        let dtype = region.dtypes[id.0 as usize];
        match &region.exprs[id.0 as usize] {
            Expr::Load { buffer, index, guards } => {
                let zeros = e.zeros();
                let address = self.address(e, *buffer, index, guards, lane, zeros);
                values::load(e, e.dtype(*buffer), Shape::Scalar, address, 0)
            }
            Expr::Const { value, dtype } => values::constant(e, *value, *dtype),
            Expr::Size { dim, dtype } => {
                let value = e.dim(*dim);
                values::from_index(e, value, *dtype)
            }
            Expr::Index { index } => {
                let (value, fine) = self.whole(e, index, lane);
                if let Some(fine) = fine {
                    e.report_unless(fine, STATUS_INDEX);
                }
                values::from_index(e, value, DType::I32)
            }
            Expr::Holds { guard } => {
                let holds = self.holds(e, guard, lane);
                e.b.ins().bmask(types::I32, holds)
            }
            Expr::Apply { op, operands, dtype } => {
                let of = region.dtypes[operands[operands.len().min(2) - 1].0 as usize];
                let values: Vec<Value> = operands.iter().map(|id| lane.get(e, self, *id)).collect();
                values::apply(e, *op, of, *dtype, Shape::Scalar, &values)
            }
            Expr::Cast { value, from, to } => {
                let value = lane.get(e, self, *value);
                values::cast(e, *from, *to, Shape::Scalar, value)
            }
            Expr::Uniform { seed, step, stream, index } => {
                let (seed, step) = (lane.get(e, self, *seed), lane.get(e, self, *step));
                let (index, _) = self.whole(e, index, lane);
                let stream = e.b.ins().iconst(types::I32, i64::from(*stream));
                let value = e
                    .call("philox_uniform", &[seed, stream, step, index], Some(types::F32))
                    .expect("it has a result");
                values::cast(e, DType::F32, dtype, Shape::Scalar, value)
            }
            Expr::FoldIn { seed, number } => {
                let seed = lane.get(e, self, *seed);
                let number = e.b.ins().iconst(types::I32, i64::from(*number));
                e.call("philox_fold_in", &[seed, number], Some(types::I32)).expect("it has a result")
            }
        }
    }
}

/// Whether an access may happen, `None` if it always may; data that is out of range where guards hold is reported.
pub(super) fn permission(
    e: &mut Emitter<'_, '_>,
    holds: Option<Value>,
    fine: Option<Value>,
) -> Option<Value> {
    match (holds, fine) {
        (holds, None) => holds,
        (None, Some(fine)) => {
            e.report_unless(fine, STATUS_INDEX);
            Some(fine)
        }
        (Some(holds), Some(fine)) => {
            let absent = e.b.ins().bxor_imm_s(holds, 1);
            let silent = e.b.ins().bor(absent, fine);
            e.report_unless(silent, STATUS_INDEX);
            Some(e.b.ins().band(holds, fine))
        }
    }
}

/// `value * factor`, by a shift where that does it.
pub(super) fn scaled(e: &mut Emitter<'_, '_>, value: Value, factor: i64) -> Value {
    match factor {
        1 => value,
        f if f > 1 && (f as u64).is_power_of_two() => {
            e.b.ins().ishl_imm_u(value, i64::from(f.trailing_zeros()))
        }
        f => e.b.ins().imul_imm_s(value, f),
    }
}
