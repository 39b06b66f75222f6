//! The derivatives: one rule an operation, in one exhaustive match.
//!
//! Invariant: a rule turns the cotangent `g` of a node's result, which may be narrow, into contributions to the
//! cotangents of its operands. Numerics live here. An operation whose result is no float, or that is constant almost
//! everywhere, says so with an empty rule; loops and calls have files of their own.

use crate::expr::{Expr, Tape, product_onto};
use carousel_ir::{Axes, Axis, Direction, Name, Node, Op, Scan, Size, Type, ValueId};

/// What a rule works with: a node, its operands and result on the tape, and the cotangent of the result.
pub(crate) struct Vjp<'t, 'm, 'n> {
    pub(crate) tape: &'t Tape<'m>,
    pub(crate) node: &'n Node,
    /// The operands on the tape.
    pub(crate) operands: Vec<ValueId>,
    pub(crate) result: ValueId,
    pub(crate) cotangent: ValueId,
    /// What was given to operand i.
    pub(crate) given: Vec<(usize, ValueId)>,
}

impl<'t, 'm> Vjp<'t, 'm, '_> {
    fn operand(&self, i: usize) -> Expr<'t, 'm> {
        Expr::new(self.tape, self.operands[i])
    }

    /// The axes over which the operands were repeated: those of all of them.
    fn union(&self) -> Axes {
        (0..self.operands.len()).fold(Axes::none(), |axes, i| axes.union(&self.operand(i).axes()))
    }

    /// Adds a contribution to the cotangent of operand `i`.
    fn give(&mut self, i: usize, contribution: Expr<'t, 'm>) {
        let reduced = contribution.onto(&self.union(), &self.operand(i).axes());
        self.given.push((i, reduced.value));
    }

    /// Adds the contribution `a * b` to the cotangent of operand `i`.
    fn give_product(&mut self, i: usize, a: Expr<'t, 'm>, b: Expr<'t, 'm>) {
        let reduced = product_onto(a, b, &self.union(), &self.operand(i).axes());
        self.given.push((i, reduced.value));
    }

    /// Adds a contribution that already has only axes of operand `i`.
    fn give_as_is(&mut self, i: usize, contribution: Expr<'t, 'm>) {
        self.given.push((i, contribution.value));
    }
}

/// Applies the rule of the node's operation.
#[rustfmt::skip]
pub(crate) fn apply(rule: &mut Vjp<'_, '_, '_>) {
    let g = Expr::new(rule.tape, rule.cotangent);
    let y = Expr::new(rule.tape, rule.result);
    let node = rule.node;
    match &node.op {
        Op::Neg                      => rule.give(0, -g),
        Op::Abs                      => { let x = rule.operand(0); rule.give(0, g * x.sign()) }
        Op::Exp                      => rule.give(0, g * y),
        Op::Log                      => { let x = rule.operand(0); rule.give(0, g / x) }
        Op::Log1p                    => { let x = rule.operand(0); rule.give(0, g / (x + 1.0)) }
        Op::Sqrt                     => rule.give(0, g * 0.5 / y),
        Op::Tanh                     => rule.give(0, g * (1.0 + y) * (1.0 - y)),
        Op::Sigmoid                  => { let x = rule.operand(0); rule.give(0, g * (y * (-x).sigmoid())) }
        Op::Logsigmoid               => { let x = rule.operand(0); rule.give(0, g * (-x).sigmoid()) }
        Op::Erf                      => { let x = rule.operand(0); rule.give(0, g * (std::f64::consts::FRAC_2_SQRT_PI * (-(x * x)).exp())) }
        Op::Cast { .. }              => { let to = rule.operand(0).dtype(); rule.give(0, g.cast(to)) }

        Op::Add                      => { rule.give(0, g); rule.give(1, g) }
        Op::Sub                      => { rule.give(0, g); rule.give(1, -g) }
        Op::Mul | Op::Dot { .. }     => { let (a, b) = (rule.operand(0), rule.operand(1)); rule.give_product(0, g, b); rule.give_product(1, g, a) }
        // The quotient is used again, so that b * b, which may underflow, does not occur.
        Op::Div                      => { let b = rule.operand(1); quotient(rule, g, b); rule.give_product(1, g, -(y / b)) }
        Op::Max                      => { let (a, b) = (rule.operand(0), rule.operand(1)); rule.give(0, winner(b, a, g)); rule.give(1, winner(a, b, g)) }
        Op::Min                      => { let (a, b) = (rule.operand(0), rule.operand(1)); rule.give(0, winner(a, b, g)); rule.give(1, winner(b, a, g)) }
        Op::Select                   => { let (c, zero) = (rule.operand(0), g.constant(0.0)); rule.give(1, c.select(g, zero)); rule.give(2, c.select(zero, g)) }

        Op::Sum { .. }               => rule.give_as_is(0, g),
        Op::ReduceMax { axes }       => reduce_max(rule, axes, g, y),
        Op::CumSum { axis, direction } => rule.give_as_is(0, g.full(&(*axis).into()).cumsum(*axis, direction.flipped())),
        Op::CumMax { axis, direction } => cumulative_max(rule, *axis, *direction, g, y),

        Op::Rename { from, to }      => rule.give_as_is(0, if g.has(*to) { g.rename(*to, *from) } else { g }),
        Op::Split { axis, into }     => rule.give_as_is(0, if g.axes().intersection(into).is_empty() { g } else { g.full(into).merge(into.clone(), *axis) }),
        Op::Merge { axes, into }     => rule.give_as_is(0, if g.has(*into) { g.split(*into, axes.clone()) } else { g }),
        Op::Broadcast { .. }         => { let x = rule.operand(0).axes(); rule.give_as_is(0, g.onto(&node.ty().axes, &x)) }
        Op::Slice { axis, to, start } => rule.give_as_is(0, g.full(&(*to).into()).pad(*to, *axis, start.clone())),
        Op::Pad { axis, to, before } => rule.give_as_is(0, if g.has(*to) { g.slice(*to, *axis, before.clone()) } else { g }),
        Op::Concat { axes, to }      => concat(rule, axes, *to, g),
        Op::Shift { axis, by }       => rule.give_as_is(0, g.full(&(*axis).into()).shift(*axis, by.saturating_neg())),

        Op::Gather { axis }          => gather(rule, *axis, g),
        Op::ScatterAdd { axis, .. }  => { let index = rule.operand(1); rule.give(0, g.full(&(*axis).into()).gather(*axis, index)) }

        // Constant almost everywhere, or told to be.
        Op::Sign | Op::Floor | Op::Ceil | Op::Detach => {}
        // No float operands.
        Op::Input { .. } | Op::Const { .. } | Op::SizeOf { .. } | Op::Iota { .. } | Op::Uniform { .. } | Op::FoldIn { .. } => {}
        // No float results.
        Op::Not | Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::And | Op::Or => {}
        // The reverse sweep treats them whole.
        Op::LinSolve { .. } => {
            let given = crate::linear::solve_vjp(rule.tape, &node.op, &rule.operands, rule.result, rule.cotangent);
            rule.given.extend(given);
        }
        Op::Scan { .. } | Op::Call { .. } | Op::LinRead { .. } | Op::LinReadDecay { .. } | Op::Proj { .. } => unreachable!("`{}` is no rule's business", node.op.kind()),
    }
}

/// `g / b` for the numerator, summed before the division where `b` allows it.
fn quotient<'t, 'm>(rule: &mut Vjp<'t, 'm, '_>, g: Expr<'t, 'm>, b: Expr<'t, 'm>) {
    let (target, full) = (rule.operand(0).axes(), rule.union());
    let early = full.without(&target).without(&b.axes());
    let g = g.onto(&full, &full.without(&early));
    let reduced = (g / b).onto(&full.without(&early), &target);
    rule.given.push((0, reduced.value));
}

/// `g` where `loser < winner`, half of it on a tie, else 0.
fn winner<'t, 'm>(loser: Expr<'t, 'm>, winner: Expr<'t, 'm>, g: Expr<'t, 'm>) -> Expr<'t, 'm> {
    let otherwise = loser.eq(winner).select(g * 0.5, g.constant(0.0));
    loser.lt(winner).select(g, otherwise)
}

/// All places of the maximum share alike.
fn reduce_max<'t, 'm>(rule: &mut Vjp<'t, 'm, '_>, axes: &Axes, g: Expr<'t, 'm>, y: Expr<'t, 'm>) {
    let x = rule.operand(0);
    let is_maximum = x.eq(y);
    let count = is_maximum.cast(x.dtype()).sum(axes.clone());
    rule.give_as_is(0, is_maximum.select(g / count, g.constant(0.0)));
}

fn concat<'t, 'm>(rule: &mut Vjp<'t, 'm, '_>, axes: &[Axis], to: Axis, g: Expr<'t, 'm>) {
    let mut start = Size::Known(0);
    for (i, axis) in axes.iter().enumerate() {
        let size = rule.tape.borrow().axes().size(*axis).clone();
        let part = if g.has(to) { g.slice(to, *axis, start.clone()) } else { g };
        rule.give_as_is(i, part);
        start = Size::sum([start, size]);
    }
}

/// Rows that were read several times add up.
fn gather<'t, 'm>(rule: &mut Vjp<'t, 'm, '_>, axis: Axis, g: Expr<'t, 'm>) {
    let (table, index) = (rule.operand(0).axes(), rule.operand(1));
    if index.is_constant() {
        // One place of the table: no address depends on data.
        let here = g.iota(axis).eq(index);
        return rule.give_as_is(0, here.select(g, g.constant(0.0)));
    }
    let over = index.axes().without(&table);
    rule.give_as_is(0, g.full(&index.axes()).scatter_add(index, axis, over));
}

/// With m_t = max(m_{t-1}, x_t) and w_t = 1, 1/2 or 0 as m_{t-1} is larger, equal or smaller, the cotangent
/// acc_t = g_t + w_{t+1} acc_{t+1} runs against the direction, and x_t gets (1 - w_t) acc_t.
fn cumulative_max<'t, 'm>(
    rule: &mut Vjp<'t, 'm, '_>,
    axis: Axis,
    direction: Direction,
    g: Expr<'t, 'm>,
    y: Expr<'t, 'm>,
) {
    let x = rule.operand(0);
    let place = g.iota(axis);
    let (previous, first) = match direction {
        Direction::Forward => (y.shift(axis, 1), place.constant(0.0)),
        Direction::Reverse => (y.shift(axis, -1), place.size(axis) - 1.0),
    };
    let weight =
        x.lt(previous).select(g.constant(1.0), x.eq(previous).select(g.constant(0.5), g.constant(0.0)));
    let weight = place.eq(first).select(g.constant(0.0), weight);
    let axes = x.axes();
    let element = Type { dtype: g.dtype(), axes: axes.without(&axis.into()) };
    let start = g.constant(0.0).full(&element.axes);
    let sequences = [g.full(&axes).value, weight.full(&axes).value];

    let mut body = carousel_ir::Builder::body(rule.tape.borrow().axes().clone());
    let [carried, own, weight] =
        ["acc", "g", "weight"].map(|n| body.input(n, element.clone(), carousel_ir::Role::Argument));
    let acc = body.add(carried, own);
    let next = body.mul(weight, acc);
    let taken = body.sub(acc, next);
    body.output("acc", next);
    body.output("x", taken);
    let scan =
        Scan { axis, direction: direction.flipped(), states: 1, sequences: 2, body: body.finish_pass() };
    let results = rule.tape.borrow_mut().scan(scan, &[start.value, sequences[0], sequences[1]]);
    rule.tape.borrow_mut().name(results[1], Name::new("x"));
    rule.give_as_is(0, Expr::new(rule.tape, results[1]));
}
