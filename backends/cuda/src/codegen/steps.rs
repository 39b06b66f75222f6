//! Loops whose step takes a state to the larger of itself plus a number and another number: scans of the block.
//!
//! Such steps compose to one of their kind, as those of a stabiliser do: the states of all steps are found at once. Each
//! step then does what else the loop does, from the state before it to the state after it. Invariant: the state after a step
//! is, bit by bit, the state before the next one. (Steps that multiply the state are left alone: products of factors
//! overflow where the state does not.)

use super::Context;
use super::expression::register_type;
use super::linear::{linear, value};
use super::reduce::{FEW_RESULTS, neutral};
use super::runs::{Along, Part, Run, along, of as runs_of};
use super::statement::{Workers, likely, likely_points};
use super::team::is_for_teams;
use carousel_core::kernel::{
    Atom, Combine, Dim, Expr, ExprId, Extent, Kernel, Linear, Loop, Region, Statement, Store,
};
use carousel_ir::{DType, Direction, OpKind};

/// Fewer steps than this are gone through one by one.
const WORTH_SCAN: u64 = 32;

/// A loop of such steps.
pub(super) struct Running<'k> {
    over: &'k Loop,
    loops: &'k [Loop],
    region: &'k Region,
    stores: &'k [Store],
    /// The store of the next state.
    next: &'k Store,
    /// The load of the state.
    state: ExprId,
    /// What a step adds, and the least that it leaves.
    add: Vec<String>,
    least: Option<String>,
    /// On which expressions what a step does depends.
    pure: Vec<bool>,
    run: Run,
}

/// The loop as a scan of the block, if it is one.
pub(super) fn of<'k>(
    kernel: &'k Kernel,
    over: &'k Loop,
    direction: Direction,
    body: &'k [Statement],
) -> Option<Running<'k>> {
    let [Statement::Map { loops, region, stores }] = body else { return None };
    let is_known = |over: &Loop| !matches!(over.extent, Extent::Whole(Dim::Argument(_)));
    let is_by_block =
        loops.iter().all(is_known) && likely_points(loops) < FEW_RESULTS && !is_for_teams(kernel);
    if direction == Direction::Reverse || !is_by_block || likely(&over.extent) < WORTH_SCAN {
        return None;
    }
    let stays = |store: &&Store| along(&store.index, region, over.var) == Along::Same;
    let mut states = stores.iter().filter(stays);
    let (Some(next), None) = (states.next(), states.next()) else { return None };
    let is_state = |expr: &Expr| {
        matches!(expr, Expr::Load { buffer, index, guards }
            if *buffer == next.buffer && *index == next.index && guards.is_empty())
    };
    let state = ExprId(region.exprs.iter().position(is_state)? as u32);
    let place = |store: &Store| kernel.buffers[store.buffer.0 as usize].place;
    let reads_stored = region.exprs.iter().enumerate().any(|(number, expr)| {
        matches!(expr, Expr::Load { buffer, .. } if number as u32 != state.0
            && stores.iter().any(|store| place(store) == kernel.buffers[buffer.0 as usize].place))
    });
    let others = stores.iter().filter(|store| !stays(store));
    let is_apart = others
        .clone()
        .all(|store| along(&store.index, region, over.var) == Along::Next && place(store) != place(next));
    let is_float = matches!(region.dtypes[state.0 as usize], DType::F32 | DType::F64);
    let is_direct = |store: &Store| operands(&Expr::Index { index: store.index.clone() }).is_empty();
    if reads_stored || !is_apart || !is_float || !stores.iter().all(is_direct) {
        return None;
    }
    let mut pure = vec![false; region.exprs.len()];
    let mut form = Form { region, state, varies: dependents(region, state), pure: &mut pure };
    let (add, least) = form.step(next.value)?;
    let others: Vec<Store> = others.cloned().collect();
    let run = runs_of(kernel, std::slice::from_ref(over), region, &others)?;
    Some(Running { over, loops, region, stores, next, state, add, least, pure, run })
}

/// The expressions that depend on one.
fn dependents(region: &Region, on: ExprId) -> Vec<bool> {
    let mut found = vec![false; region.exprs.len()];
    for number in 0..region.exprs.len() {
        found[number] = number as u32 == on.0
            || operands(&region.exprs[number]).into_iter().any(|operand| found[operand.0 as usize]);
    }
    found
}

/// What an expression is computed from.
fn operands(expr: &Expr) -> Vec<ExprId> {
    fn data(linear: &Linear, found: &mut Vec<ExprId>) {
        for term in &linear.terms {
            match &term.atom {
                Atom::One | Atom::Var(_) => {}
                Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => data(inside, found),
                Atom::Data { value, .. } => found.push(*value),
            }
        }
    }
    let mut found = Vec::new();
    match expr {
        Expr::Load { index, guards, .. } => {
            data(index, &mut found);
            guards.iter().for_each(|guard| data(&guard.index, &mut found));
        }
        Expr::Const { .. } | Expr::Size { .. } => {}
        Expr::Index { index } => data(index, &mut found),
        Expr::Holds { guard } => data(&guard.index, &mut found),
        Expr::Apply { operands, .. } => found.extend(operands),
        Expr::Cast { value, .. } => found.push(*value),
        Expr::Uniform { seed, step, index, .. } => {
            found.extend([*seed, *step]);
            data(index, &mut found);
        }
        Expr::FoldIn { seed, .. } => found.push(*seed),
    }
    found
}

/// Marks an expression and what it is computed from, as far as nothing is known already.
fn mark(region: &Region, id: ExprId, known: &[ExprId], marked: &mut [bool]) {
    if !known.contains(&id) && !std::mem::replace(&mut marked[id.0 as usize], true) {
        operands(&region.exprs[id.0 as usize])
            .into_iter()
            .for_each(|operand| mark(region, operand, known, marked));
    }
}

/// How the next state comes from the state.
struct Form<'a> {
    region: &'a Region,
    state: ExprId,
    /// What depends on the state.
    varies: Vec<bool>,
    /// What the step is computed from.
    pure: &'a mut [bool],
}

impl Form<'_> {
    /// What is added to the state, and the least that is left, if there is one.
    fn step(&mut self, id: ExprId) -> Option<(Vec<String>, Option<String>)> {
        if id == self.state {
            return Some((Vec::new(), None));
        }
        let Expr::Apply { op, operands, .. } = &self.region.exprs[id.0 as usize] else { return None };
        let [a, b] = operands.as_slice() else { return None };
        let (inner, other) = match (self.varies[a.0 as usize], self.varies[b.0 as usize]) {
            (true, false) => (*a, *b),
            (false, true) if *op != OpKind::Sub => (*b, *a),
            (true | false, _) => return None,
        };
        let (mut add, least) = self.step(inner)?;
        mark(self.region, other, &[], self.pure);
        let other = value(other);
        if *op == OpKind::Max {
            let least = least.map_or(other.clone(), |least| format!("larger({least}, {other})"));
            return Some((add, Some(least)));
        }
        let sign = [(OpKind::Add, "+"), (OpKind::Sub, "-")].into_iter().find(|(known, _)| known == op)?.1;
        add.push(format!("{sign} {other}"));
        Some((add, least.map(|least| format!("({least} {sign} {other})"))))
    }
}

impl Context<'_> {
    pub(super) fn running(&mut self, running: &Running<'_>) {
        let Running { over, loops, region, stores, next, state, add, least, pure, run } = running;
        let dtype = region.dtypes[state.0 as usize];
        let (ty, lowest, extent) =
            (register_type(dtype), neutral(Combine::Max, dtype), self.extent(&over.extent));
        let (width, var) = (run.width, run.var.0);
        let name = |cx: &Self, store: &Store| cx.buffer(store.buffer).to_string();
        let place = format!("{}[{}]", name(self, next), linear(&next.index));
        let names: Vec<String> = stores.iter().map(|store| name(self, store)).collect();
        self.out.line(format!("// {}: all steps of x{var} at once, {width} a thread", names.join(", ")));
        let ends = match loops {
            [] => {
                self.out.open("");
                1
            }
            loops => self.points(Workers::Sequence, loops),
        };
        self.out.line(format!("{ty} state = {place};"));
        let step = width * u64::from(super::THREADS);
        self.out.open(format!("for (i64 first = 0; first < {extent}; first += {step})"));
        self.out.line(format!("const i64 f{var} = first + {width} * threadIdx.x;"));
        self.out.line(format!("const i32 left = elements_left<{width}>({extent} - f{var});"));
        self.out.line(format!("Step<{ty}> steps[{width}];"));
        self.out.line("#pragma unroll");
        self.out.line(format!("for (i32 at = 0; at < {width}; ++at) steps[at] = {{0, {lowest}}};"));
        self.out.open("if (left > 0)");
        let part = Part { wanted: pure.clone(), ..Part::whole(region, over.var) };
        self.run_part(*run, (region, &part), &[], |cx| {
            let (add, least) = (add.join(" "), least.as_deref().unwrap_or(&lowest));
            cx.out.line(format!("const Step<{ty}> step = {{0 {add}, {least}}};"));
            cx.out.line("steps[at] = at < left ? step : steps[at];");
        });
        self.out.close();
        self.out.line(format!("{ty} last, before = state_before(steps, state, last);"));
        self.out.open("if (left > 0)");
        let mut part = Part { wanted: vec![false; region.exprs.len()], ..Part::whole(region, over.var) };
        let others: Vec<Store> = stores.iter().filter(|store| store != next).cloned().collect();
        others.iter().for_each(|store| mark(region, store.value, &[*state, next.value], &mut part.wanted));
        part.varying.iter_mut().zip(dependents(region, *state)).for_each(|(own, other)| *own |= other);
        part.before = vec![
            format!("const {ty} {} = before;", value(*state)),
            "before = at + 1 < left ? state_after(steps[at], before) : last;".to_string(),
            format!("const {ty} {} = before;", value(next.value)),
        ];
        self.run_part(*run, (region, &part), &others, |_| ());
        self.out.close();
        self.out.line(format!("if (threadIdx.x == 0) {place} = state;"));
        self.end(ends + 1);
    }
}
