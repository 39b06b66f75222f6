//! Fusion of maps: maps with the same loops become one, and what one stores for the next is handed over directly.
//!
//! A map that changes one place of an axis goes to that place alone. A map may move up past statements that neither write
//! what it reads nor touch what it writes. Afterwards, stores to scratch memory that nothing loads are dropped, with the
//! expressions that only they needed. Results do not change.

use super::schedule::visit_mut;
use crate::kernel::{Atom, BufferId, Dim, Expr, ExprId, Linear, Loop, Region, Statement, Store, Term, Var};
use carousel_ir::OpKind;
use std::collections::{HashMap, HashSet};

/// A fused region has at most that many expressions.
const LARGEST_REGION: usize = 96;

/// The statements with maps fused, inside loops too.
pub(crate) fn fuse(statements: Vec<Statement>) -> Vec<Statement> {
    fuse_inside(statements, &mut Vec::new())
}

fn fuse_inside(statements: Vec<Statement>, around: &mut Vec<Loop>) -> Vec<Statement> {
    let mut done: Vec<Statement> = Vec::new();
    for statement in statements {
        match statement {
            Statement::Loop { over, direction, body } => {
                around.push(over);
                done.push(Statement::Loop { over, direction, body: fuse_inside(body, around) });
                around.pop();
            }
            Statement::Map { .. } => place(&mut done, at_one_place(statement, around)),
            Statement::Reduce { .. }
            | Statement::Product { .. }
            | Statement::Cumulative { .. }
            | Statement::ScatterAdd { .. } => done.push(statement),
        }
    }
    done
}

/// Puts a map into the last earlier one that takes it, or at the end.
fn place(done: &mut Vec<Statement>, map: Statement) {
    for at in (0..done.len()).rev() {
        if let Some(merged) = merged(&done[at], &map) {
            done[at] = merged;
            return;
        }
        if !commute(&done[at], &map) {
            break;
        }
    }
    done.push(map);
}

/// A map that keeps what is there but for the place where a loop around is, as one that stores this place alone.
fn at_one_place(map: Statement, around: &[Loop]) -> Statement {
    let Statement::Map { loops, region, stores } = &map else { return map };
    let [store] = stores.as_slice() else { return map };
    let Some((new, [x, y])) = kept_elsewhere(region, store) else { return map };
    let is_own = |var: Var| loops.iter().find(|over| over.var == var).copied();
    let here = |var: Var| around.iter().find(|over| over.var == var).copied();
    let found = is_own(x).zip(here(y)).or_else(|| is_own(y).zip(here(x)));
    let Some((own, here)) = found.filter(|(own, here)| own.extent == here.extent) else { return map };
    let loops = loops.iter().filter(|over| over.var != own.var).copied().collect();
    let (mut region, mut stores) = (region.clone(), vec![Store { value: new, ..store.clone() }]);
    compact(&mut region, &mut stores);
    let mut map = Statement::Map { loops, region, stores };
    let names = HashMap::from([(own.var, here.var)]);
    visit_mut(&mut map, &mut |linear| rename(linear, &names));
    map
}

/// If a store keeps the old element where two variables differ: what it stores where they are equal, and the variables.
fn kept_elsewhere(region: &Region, store: &Store) -> Option<(ExprId, [Var; 2])> {
    let apply = |id: ExprId, wanted: OpKind| {
        let Expr::Apply { op, operands, .. } = &region.exprs[id.0 as usize] else { return None };
        (*op == wanted).then_some(operands.as_slice())
    };
    let &[condition, new, old] = apply(store.value, OpKind::Select)? else { return None };
    let Expr::Load { buffer, index, guards } = &region.exprs[old.0 as usize] else { return None };
    let &[x, y] = apply(condition, OpKind::Eq)? else { return None };
    let variable = |id: ExprId| {
        let Expr::Index { index } = &region.exprs[id.0 as usize] else { return None };
        let [Term { coefficient: 1, dim: Dim::Known(1), atom: Atom::Var(var) }] = index.terms.as_slice()
        else {
            return None;
        };
        Some(*var)
    };
    let is_kept = *buffer == store.buffer && *index == store.index && guards.is_empty();
    is_kept.then_some((new, [variable(x)?, variable(y)?]))
}

fn buffers(statement: &Statement) -> (HashSet<BufferId>, HashSet<BufferId>) {
    let (mut reads, mut writes) = (HashSet::new(), HashSet::new());
    statement.visit_reads(&mut |b| {
        reads.insert(b);
    });
    statement.visit_writes(&mut |b| {
        writes.insert(b);
    });
    (reads, writes)
}

fn commute(a: &Statement, b: &Statement) -> bool {
    let ((a_reads, a_writes), (b_reads, b_writes)) = (buffers(a), buffers(b));
    a_writes.is_disjoint(&b_reads) && a_writes.is_disjoint(&b_writes) && a_reads.is_disjoint(&b_writes)
}

/// Both maps as one, the first before the second at each point, if that is the same.
fn merged(first: &Statement, second: &Statement) -> Option<Statement> {
    let Statement::Map { loops, region, stores } = first else { return None };
    let mut second = second.clone();
    let Statement::Map { loops: other_loops, .. } = &second else { return None };
    let same = |a: &Loop, b: &Loop| a.extent == b.extent;
    if loops.len() != other_loops.len() || !loops.iter().zip(other_loops).all(|(a, b)| same(a, b)) {
        return None;
    }
    let renamed: HashMap<Var, Var> =
        other_loops.iter().zip(loops).map(|(from, to)| (from.var, to.var)).collect();
    visit_mut(&mut second, &mut |linear| rename(linear, &renamed));
    let Statement::Map { region: other, stores: other_stores, .. } = second else { return None };
    if region.exprs.len() + other.exprs.len() > LARGEST_REGION {
        return None;
    }
    let written: HashSet<BufferId> = stores.iter().map(|s| s.buffer).collect();
    for store in &other_stores {
        let elsewhere = region.exprs.iter().any(|e| {
            matches!(e, Expr::Load { buffer, index, .. } if *buffer == store.buffer && *index != store.index)
        });
        if written.contains(&store.buffer) || elsewhere {
            return None;
        }
    }
    let mut both = region.clone();
    let mut number: Vec<ExprId> = Vec::new();
    for (expr, dtype) in other.exprs.iter().zip(&other.dtypes) {
        let expr = renumbered(expr, &number);
        let mut handed = None;
        if let Expr::Load { buffer, index, guards } = &expr
            && written.contains(buffer)
        {
            let same = stores.iter().find(|s| s.buffer == *buffer && s.index == *index);
            handed = Some(same.filter(|_| guards.is_empty())?.value);
        }
        number.push(handed.unwrap_or_else(|| both.push(expr, *dtype)));
    }
    let mut all = stores.clone();
    all.extend(other_stores.iter().map(|s| Store {
        buffer: s.buffer,
        index: with_numbers(&s.index, &number),
        value: number[s.value.0 as usize],
    }));
    Some(Statement::Map { loops: loops.clone(), region: both, stores: all })
}

fn rename(linear: &mut Linear, names: &HashMap<Var, Var>) {
    for term in &mut linear.terms {
        match &mut term.atom {
            Atom::Var(var) => {
                if let Some(new) = names.get(var) {
                    *var = *new;
                }
            }
            Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => rename(inside, names),
            Atom::One | Atom::Data { .. } => {}
        }
    }
    super::builder::canonical(linear);
}

fn with_numbers(linear: &Linear, number: &[ExprId]) -> Linear {
    let mut linear = linear.clone();
    for term in &mut linear.terms {
        match &mut term.atom {
            Atom::Data { value, .. } => *value = number[value.0 as usize],
            Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => **inside = with_numbers(inside, number),
            Atom::One | Atom::Var(_) => {}
        }
    }
    super::builder::canonical(&mut linear);
    linear
}

fn renumbered(expr: &Expr, number: &[ExprId]) -> Expr {
    let of = |id: &ExprId| number[id.0 as usize];
    let linear = |l: &Linear| with_numbers(l, number);
    let guard = |g: &crate::kernel::Guard| crate::kernel::Guard { index: linear(&g.index), bound: g.bound };
    match expr {
        Expr::Load { buffer, index, guards } => {
            Expr::Load { buffer: *buffer, index: linear(index), guards: guards.iter().map(guard).collect() }
        }
        Expr::Const { .. } | Expr::Size { .. } => expr.clone(),
        Expr::Index { index } => Expr::Index { index: linear(index) },
        Expr::Holds { guard: g } => Expr::Holds { guard: guard(g) },
        Expr::Apply { op, operands, dtype } => {
            Expr::Apply { op: *op, operands: operands.iter().map(of).collect(), dtype: *dtype }
        }
        Expr::Cast { value, from, to } => Expr::Cast { value: of(value), from: *from, to: *to },
        Expr::Uniform { seed, step, stream, index } => {
            Expr::Uniform { seed: of(seed), step: of(step), stream: *stream, index: linear(index) }
        }
        Expr::FoldIn { seed, number } => Expr::FoldIn { seed: of(seed), number: *number },
    }
}

/// Drops what only fills scratch memory that nothing loads.
pub(crate) fn prune(body: &mut Vec<Statement>, is_scratch: &dyn Fn(BufferId) -> bool) {
    loop {
        let mut loaded = HashSet::new();
        body.iter().for_each(|s| {
            s.visit_reads(&mut |b| {
                loaded.insert(b);
            })
        });
        let mut changed = false;
        drop_unread(body, &|b| !is_scratch(b) || loaded.contains(&b), &mut changed);
        if !changed {
            return;
        }
    }
}

fn drop_unread(body: &mut Vec<Statement>, needed: &dyn Fn(BufferId) -> bool, changed: &mut bool) {
    let before = body.len();
    body.retain_mut(|statement| match statement {
        Statement::Loop { body, .. } => {
            drop_unread(body, needed, changed);
            !body.is_empty()
        }
        Statement::Map { region, stores, .. } => {
            let count = stores.len();
            stores.retain(|s| needed(s.buffer));
            if stores.len() != count && !stores.is_empty() {
                *changed = true;
                compact(region, stores);
            }
            !stores.is_empty()
        }
        Statement::Reduce { store, .. }
        | Statement::Cumulative { store, .. }
        | Statement::ScatterAdd { store, .. } => needed(store.buffer),
        Statement::Product { c, .. } => needed(c.buffer),
    });
    *changed |= body.len() != before;
}

/// Drops expressions that no store needs.
fn compact(region: &mut Region, stores: &mut [Store]) {
    fn mark(linear: &Linear, needed: &mut Vec<bool>) {
        for term in &linear.terms {
            match &term.atom {
                Atom::Data { value, .. } => needed[value.0 as usize] = true,
                Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => mark(inside, needed),
                Atom::One | Atom::Var(_) => {}
            }
        }
    }
    let mut needed = vec![false; region.exprs.len()];
    for store in &*stores {
        needed[store.value.0 as usize] = true;
        mark(&store.index, &mut needed);
    }
    for at in (0..region.exprs.len()).rev() {
        if !needed[at] {
            continue;
        }
        match &region.exprs[at] {
            Expr::Load { index, guards, .. } => {
                mark(index, &mut needed);
                guards.iter().for_each(|g| mark(&g.index, &mut needed));
            }
            Expr::Index { index } => mark(index, &mut needed),
            Expr::Holds { guard } => mark(&guard.index, &mut needed),
            Expr::Apply { operands, .. } => operands.iter().for_each(|o| needed[o.0 as usize] = true),
            Expr::Cast { value, .. } => needed[value.0 as usize] = true,
            Expr::Uniform { seed, step, index, .. } => {
                needed[seed.0 as usize] = true;
                needed[step.0 as usize] = true;
                mark(index, &mut needed);
            }
            Expr::FoldIn { seed, .. } => needed[seed.0 as usize] = true,
            Expr::Const { .. } | Expr::Size { .. } => {}
        }
    }
    let mut kept = Region::default();
    // What is dropped is never looked up.
    let mut number = vec![ExprId(0); region.exprs.len()];
    for (at, (expr, dtype)) in region.exprs.iter().zip(&region.dtypes).enumerate() {
        if needed[at] {
            number[at] = kept.push(renumbered(expr, &number), *dtype);
        }
    }
    for store in stores {
        store.index = with_numbers(&store.index, &number);
        store.value = number[store.value.0 as usize];
    }
    *region = kept;
}

/// Every statement with as few loops as possible, inside loops too; loops over so many elements stay.
pub(crate) fn collapse_all(
    kernel: &mut super::builder::KernelBuilder,
    statements: Vec<Statement>,
    apart: Option<Dim>,
) -> Vec<Statement> {
    let one = |statement: Statement| match statement {
        Statement::Loop { over, direction, body } => {
            Statement::Loop { over, direction, body: collapse_all(kernel, body, apart) }
        }
        Statement::Map { .. }
        | Statement::Reduce { .. }
        | Statement::Product { .. }
        | Statement::Cumulative { .. }
        | Statement::ScatterAdd { .. } => super::schedule::collapse(kernel, statement, apart),
    };
    statements.into_iter().map(one).collect()
}
