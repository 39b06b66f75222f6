//! Values of a loop's body for all steps at once, as linear forms over the states.
//!
//! A value of the body is a sum of multiples of states, old or new, and of a rest without states; multiples and rest
//! are values outside the loop that carry the loop's axis where they differ from step to step. Invariant: a value
//! without linear states is lifted by the very operations of the body, once, so that equal values stay one node.

use super::facts::{Facts, is_number};
use super::refusal::{Class, Refusal};
use carousel_ir::{Axes, Builder, Graph, Name, Node, Op, Read, Role, Scan, Type, ValueId};
use std::collections::HashMap;

/// In place of a state: what the state that is being solved reads of itself.
pub(super) const ITSELF: usize = usize::MAX;

/// What a state reads of itself in its own update, before the step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Itself {
    /// The axes that are contracted.
    pub(super) key: Axes,
    /// The factors of what it is contracted with.
    pub(super) query: Vec<ValueId>,
}

/// A multiple of a state.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) state: usize,
    pub(super) read: Read,
    /// By what it is multiplied; `None` is 1.
    pub(super) coefficient: Option<ValueId>,
}

/// A linear form over the states.
#[derive(Clone, Default, Debug)]
pub(super) struct Affine {
    pub(super) terms: Vec<Term>,
    /// What does not depend on linear states; `None` is 0.
    pub(super) constant: Option<ValueId>,
}

/// A state that is a linear scan.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    /// The logarithm of the decay.
    pub(super) log: ValueId,
    /// Where the decay is 0, if anywhere.
    pub(super) zero: Option<ValueId>,
    /// Where the state starts anew before the step, if anywhere.
    pub(super) reset: Option<ValueId>,
    /// What is written: a sum of products.
    pub(super) writes: Vec<Vec<ValueId>>,
    /// The final state, once something has read it.
    pub(super) last: Option<ValueId>,
}

/// What is known of a state so far.
#[derive(Clone, Debug)]
pub(super) enum Status {
    Unsolved,
    /// It stays a loop, whose results are its values before and after each step.
    Kept {
        previous: ValueId,
        new: ValueId,
        last: ValueId,
    },
    Linear(Linear),
}

/// A state of the loop.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) name: Name,
    pub(super) axes: Axes,
    /// Its next value in the body.
    pub(super) next: ValueId,
    /// Its initial value outside.
    pub(super) start: ValueId,
    /// The condition in the body, and the value it must have, under which the state starts anew from 0, if nothing
    /// in the body sees the state otherwise.
    pub(super) reset: Option<(ValueId, bool)>,
    pub(super) status: Status,
}

/// A loop that is being taken apart.
pub(super) struct Lift<'a, 'm> {
    pub(super) b: &'a mut Builder<'m>,
    pub(super) scan: &'a Scan,
    pub(super) body: Graph,
    pub(super) operands: &'a [ValueId],
    pub(super) states: Vec<State>,
    /// The states that each value of the body depends on, as bits.
    pub(super) depends: Vec<u64>,
    /// The state that is being solved.
    pub(super) current: Option<usize>,
    /// What that state reads of itself.
    pub(super) itself: Option<Itself>,
    pub(super) facts: Facts,
    pub(super) reads: HashMap<super::reads::Key, ValueId>,
    /// Whether some read contracts or broadcasts a vector.
    pub(super) has_vectors: bool,
    /// Whether some decay has axes that a read contracts.
    pub(super) has_keyed_decays: bool,
    /// Whether some state reads itself.
    pub(super) has_feedback: bool,
    lifted: HashMap<ValueId, Affine>,
    /// Of values that depend on the state that is being solved.
    scratch: HashMap<ValueId, Affine>,
}

pub(super) fn refuse<T>(state: Option<Name>, class: Class, reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { state, class, reason: reason.into() })
}

impl<'a, 'm> Lift<'a, 'm> {
    pub(super) fn new(
        b: &'a mut Builder<'m>,
        scan: &'a Scan,
        operands: &'a [ValueId],
    ) -> Result<Lift<'a, 'm>, Refusal> {
        let body = crate::plain::shared(&carousel_ir::Module::default(), &scan.body);
        let count = scan.states as usize;
        if count > 64 {
            return refuse(None, Class::Other, "the loop has more than 64 states");
        }
        let mut depends = vec![0u64; body.nodes.len()];
        for (value, node) in body.iter() {
            let own = if let Op::Input { index } = node.op
                && index < scan.states
            {
                1 << index
            } else {
                0
            };
            depends[value.index()] = node.operands.iter().fold(own, |all, o| all | depends[o.index()]);
        }
        let states = (0..count)
            .map(|i| State {
                name: body.inputs[i].name,
                axes: body.inputs[i].ty.axes.clone(),
                next: body.outputs[i].value,
                start: operands[i],
                reset: reset(&body, i as u32),
                status: Status::Unsolved,
            })
            .collect();
        Ok(Lift {
            b,
            scan,
            body,
            operands,
            states,
            depends,
            current: None,
            itself: None,
            facts: Facts::default(),
            reads: HashMap::new(),
            has_vectors: false,
            has_keyed_decays: false,
            has_feedback: false,
            lifted: HashMap::new(),
            scratch: HashMap::new(),
        })
    }

    /// Begins or ends solving a state.
    pub(super) fn set_current(&mut self, current: Option<usize>) {
        self.current = current;
        self.itself = None;
        self.scratch.clear();
    }

    fn is_linear(&self, state: usize) -> bool {
        self.current == Some(state) || matches!(self.states[state].status, Status::Linear(_))
    }

    /// The linear form of a value of the body.
    pub(super) fn affine(&mut self, value: ValueId) -> Result<Affine, Refusal> {
        if let Some(known) = self.lifted.get(&value).or_else(|| self.scratch.get(&value)) {
            return Ok(known.clone());
        }
        let affine = self.walk(value)?;
        let depends = self.depends[value.index()];
        let unsolved = |i: usize| matches!(self.states[i].status, Status::Unsolved);
        let settled = (0..self.states.len()).all(|i| depends >> i & 1 == 0 || !unsolved(i));
        let map = if settled { &mut self.lifted } else { &mut self.scratch };
        map.insert(value, affine.clone());
        Ok(affine)
    }

    fn walk(&mut self, value: ValueId) -> Result<Affine, Refusal> {
        let node = self.body[value].clone();
        if let Op::Input { index } = node.op {
            return self.input(index as usize);
        }
        // The next value of a solved state is that state, read new.
        for (i, state) in self.states.iter().enumerate().filter(|(_, s)| s.next == value) {
            match &state.status {
                Status::Kept { new, .. } => return Ok(constant(*new)),
                Status::Linear(_) => return Ok(term(i, Read::New)),
                Status::Unsolved => {}
            }
        }
        if let Some(state) = self.reset_of(value, &node) {
            return Ok(term(state, Read::Old));
        }
        let operands: Vec<Affine> =
            node.operands.iter().map(|o| self.affine(*o)).collect::<Result<_, _>>()?;
        if operands.iter().all(|a| a.terms.is_empty()) {
            let values = operands.iter().map(|a| a.constant.expect("a form without terms has a constant"));
            let values = values.collect::<Vec<_>>();
            return self.apply(&node, values).map(constant);
        }
        match (&node.op, operands.as_slice()) {
            (Op::Add, [x, y]) => Ok(self.sum(x, y)),
            (Op::Sub, [x, y]) => {
                let y = self.negated(y);
                Ok(self.sum(x, &y))
            }
            (Op::Neg, [x]) => Ok(self.negated(x)),
            (Op::Mul, [x, y]) => self.product(&node, x, y),
            (Op::Div, [x, y]) => {
                let divisor = self.force(y, node.operands[1])?;
                let one = self.one();
                Ok(self.each(x, &mut |b, v| {
                    let v = v.unwrap_or(one);
                    b.div(v, divisor)
                }))
            }
            (Op::Select, [condition, x, y]) => {
                let condition = self.force(condition, node.operands[0])?;
                let (zero, one) = (self.zero(), self.one());
                let x = self.each(x, &mut |b, v| b.select(condition, v.unwrap_or(one), zero));
                let y = self.each(y, &mut |b, v| b.select(condition, zero, v.unwrap_or(one)));
                Ok(self.sum(&x, &y))
            }
            (Op::Broadcast { axes }, [x]) => {
                let constant = x.constant.map(|c| self.b.broadcast(c, axes));
                Ok(Affine { constant, ..x.clone() })
            }
            (Op::Rename { .. } | Op::Split { .. } | Op::Merge { .. }, [x]) if self.has_current(x) => {
                let reason = "its elements change places in its own update";
                refuse(self.current.map(|c| self.states[c].name), Class::Contracted, reason)
            }
            (Op::Scan { .. }, operands) if operands.iter().any(|x| self.has_current(x)) => {
                let reason = "it goes through a loop in its own update";
                refuse(self.current.map(|c| self.states[c].name), Class::Other, reason)
            }
            (Op::Sum { axes }, [x]) => self.summed(x, axes, &self.body.ty(node.operands[0]).axes.clone()),
            (Op::Dot { axes }, [x, y]) => {
                let all = node.operands.iter().fold(Axes::none(), |a, o| a.union(&self.body.ty(*o).axes));
                let product = self.product(&node, x, y)?;
                self.summed(&product, axes, &all)
            }
            _ => {
                let values = operands.iter().zip(&node.operands).map(|(a, o)| self.force(a, *o));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                self.apply(&node, values).map(constant)
            }
        }
    }

    fn input(&mut self, index: usize) -> Result<Affine, Refusal> {
        let Some(state) = self.states.get(index) else {
            return Ok(constant(self.operands[index]));
        };
        match state.status {
            Status::Kept { previous, .. } => Ok(constant(previous)),
            _ if self.is_linear(index) => Ok(term(index, Read::Old)),
            Status::Linear(_) | Status::Unsolved => {
                let reason = format!("`{}` is not solved", state.name);
                refuse(self.current.map(|c| self.states[c].name), Class::Nonlinear, reason)
            }
        }
    }

    /// The linear state that this is, as it is after its reset.
    fn reset_of(&self, value: ValueId, node: &Node) -> Option<usize> {
        let state = is_reset(&self.body, node)?;
        let known = self.states.get(state.0)?;
        (known.reset == Some((state.1, state.2)) && self.is_linear(state.0) && known.next != value)
            .then_some(state.0)
    }

    pub(super) fn zero(&mut self) -> ValueId {
        let dtype = self.body.inputs[0].ty.dtype;
        self.b.constant(0.0, dtype)
    }

    pub(super) fn one(&mut self) -> ValueId {
        let dtype = self.body.inputs[0].ty.dtype;
        self.b.constant(1.0, dtype)
    }

    fn sum(&mut self, x: &Affine, y: &Affine) -> Affine {
        let terms = x.terms.iter().chain(&y.terms).cloned().collect();
        let constant = match (x.constant, y.constant) {
            (Some(x), Some(y)) => Some(self.b.add(x, y)),
            (x, y) => x.or(y),
        };
        Affine { terms, constant }
    }

    fn negated(&mut self, x: &Affine) -> Affine {
        let one = self.one();
        self.each(x, &mut |b, v| b.neg(v.unwrap_or(one)))
    }

    /// The form with every coefficient (`None` is 1) and the constant changed.
    fn each(
        &mut self,
        x: &Affine,
        change: &mut dyn FnMut(&mut Builder<'m>, Option<ValueId>) -> ValueId,
    ) -> Affine {
        let terms =
            x.terms.iter().map(|t| Term { coefficient: Some(change(self.b, t.coefficient)), ..t.clone() });
        let terms = terms.collect();
        Affine { terms, constant: x.constant.map(|c| change(self.b, Some(c))) }
    }

    fn has_current(&self, form: &Affine) -> bool {
        form.terms.iter().any(|t| t.state == ITSELF || Some(t.state) == self.current)
    }

    /// One factor must be free of the state that is being solved; it is read.
    fn product(&mut self, node: &Node, x: &Affine, y: &Affine) -> Result<Affine, Refusal> {
        let swap = x.terms.is_empty() || (!y.terms.is_empty() && self.has_current(y) && !self.has_current(x));
        let (x, y, at) = if swap { (y, x, 0) } else { (x, y, 1) };
        let factor = self.force(y, node.operands[at])?;
        Ok(self.each(x, &mut |b, v| match v {
            Some(v) => b.mul(v, factor),
            None => factor,
        }))
    }

    /// The sum over `axes` of a form whose value has the axes `full`.
    fn summed(&mut self, x: &Affine, axes: &Axes, full: &Axes) -> Result<Affine, Refusal> {
        let mut result = Affine::default();
        if let Some(constant) = x.constant {
            let constant = self.b.broadcast(constant, &axes.intersection(full));
            result.constant = Some(self.b.sum(constant, axes.clone()));
        }
        for term in &x.terms {
            let key = axes.intersection(&self.axes_of(term));
            if term.state == ITSELF && !key.is_empty() {
                let reason = "what is read of it in its own update is contracted again";
                return refuse(self.current.map(|c| self.states[c].name), Class::Contracted, reason);
            }
            // Along axes that neither factor has the sum is a multiple.
            let own = term.coefficient.map(|c| self.b.ty(c).axes.clone()).unwrap_or_default();
            let missing = axes.without(&key).without(&own);
            let mut coefficient =
                term.coefficient.map(|c| self.b.sum(c, axes.without(&key).intersection(&own)));
            for axis in missing.iter() {
                let dtype = self.body.inputs[0].ty.dtype;
                let size = self.b.size_of(axis, dtype);
                coefficient = Some(coefficient.map_or(size, |c| self.b.mul(c, size)));
            }
            let term = Term { coefficient, ..term.clone() };
            if Some(term.state) == self.current && !key.is_empty() {
                result.terms.push(self.read_itself(&term, key)?);
            } else if key.is_empty() {
                result.terms.push(term);
            } else {
                let read = self.read(&term, &key, super::reads::Whole::Refused)?;
                result.constant = Some(match result.constant {
                    Some(constant) => self.b.add(constant, read),
                    None => read,
                });
            }
        }
        Ok(result)
    }

    /// The axes of the state, or of what is read of it, that a term is a multiple of.
    fn axes_of(&self, term: &Term) -> Axes {
        match (term.state, &self.itself, self.current) {
            (ITSELF, Some(itself), Some(current)) => self.states[current].axes.without(&itself.key),
            (ITSELF, ..) => Axes::none(),
            (state, ..) => self.states[state].axes.clone(),
        }
    }

    /// The multiple of the state that is being solved, contracted over `key`.
    fn read_itself(&mut self, term: &Term, key: Axes) -> Result<Term, Refusal> {
        let State { name, axes, .. } = self.states[term.state].clone();
        let factors = term.coefficient.map(|c| self.factors(c)).unwrap_or_default();
        let (mut query, outer): (Vec<_>, Vec<_>) =
            factors.into_iter().partition(|f| !self.b.ty(*f).axes.intersection(&key).is_empty());
        query.sort();
        let own = axes.union(&self.scan.axis.into());
        if query.iter().any(|f| !self.b.ty(*f).axes.is_subset(&own)) {
            return refuse(Some(name), Class::Contracted, "a matrix contracts it in its own update");
        }
        let itself = Itself { key, query };
        if *self.itself.get_or_insert_with(|| itself.clone()) != itself {
            return refuse(Some(name), Class::Contracted, "it is contracted in two ways in its own update");
        }
        Ok(Term { state: ITSELF, read: Read::Old, coefficient: self.multiplied(&outer) })
    }

    /// The value of a form, of which `value` of the body is the original: states in it are read.
    pub(super) fn force(&mut self, x: &Affine, value: ValueId) -> Result<ValueId, Refusal> {
        self.force_whole(x, value, super::reads::Whole::Refused)
    }

    /// [`Lift::force`], for a place where all elements of a state may be read at every step.
    pub(super) fn force_whole(
        &mut self,
        x: &Affine,
        value: ValueId,
        whole: super::reads::Whole,
    ) -> Result<ValueId, Refusal> {
        let mut sum = x.constant;
        for term in &x.terms {
            if term.state == ITSELF || Some(term.state) == self.current {
                let reason = "it goes into its own update nonlinearly";
                return refuse(self.current.map(|c| self.states[c].name), Class::Nonlinear, reason);
            }
            let read = self.read(term, &Axes::none(), whole)?;
            sum = Some(match sum {
                Some(sum) => self.b.add(sum, read),
                None => read,
            });
        }
        let sum = sum.unwrap_or_else(|| self.zero());
        Ok(match self.body[value].types.as_slice() {
            [ty] => self.b.broadcast(sum, &ty.axes.clone()),
            _ => sum,
        })
    }

    /// A loop of the body on lifted operands, in a loop of its own without states: its results at every step.
    fn step_by_step(&mut self, node: &Node, values: &[ValueId]) -> ValueId {
        let axis = self.scan.axis;
        let mut order: Vec<ValueId> = values.to_vec();
        order.sort();
        order.dedup();
        let (sequences, shared): (Vec<ValueId>, Vec<ValueId>) =
            order.into_iter().partition(|v| self.b.ty(*v).axes.contains(axis));
        let operands = [sequences.clone(), shared].concat();
        let mut body = Builder::body(self.b.axes().clone());
        let inner: Vec<ValueId> = operands
            .iter()
            .enumerate()
            .map(|(place, value)| {
                let ty = self.b.ty(*value);
                let ty = Type { dtype: ty.dtype, axes: ty.axes.without(&axis.into()) };
                body.input(&format!("operand.{place}"), ty, Role::Argument)
            })
            .collect();
        let at = |v: &ValueId| operands.iter().position(|o| o == v).expect("every operand is an input");
        let taken: Vec<ValueId> = values.iter().map(|v| inner[at(v)]).collect();
        let results = body.push(node.op.clone(), &taken);
        for index in 0..node.types.len() as u32 {
            let result = body.push(Op::Proj { index }, &[results]);
            body.output(&format!("result.{index}"), result);
        }
        let scan = Scan {
            axis,
            direction: self.scan.direction,
            states: 0,
            sequences: sequences.len() as u32,
            body: body.finish_pass(),
        };
        let (scan, operands) = carousel_ir::scan::normalize(scan, &operands);
        self.b.push(Op::Scan { scan: Box::new(scan) }, &operands)
    }

    /// The operation of the body on lifted operands.
    fn apply(&mut self, node: &Node, mut values: Vec<ValueId>) -> Result<ValueId, Refusal> {
        let axis = self.scan.axis;
        let varies = |b: &Builder<'_>, v: ValueId| b.graph()[v].types.iter().any(|t| t.axes.contains(axis));
        if let Op::Concat { .. } = node.op
            && values.iter().any(|v| varies(self.b, *v))
        {
            // Parts differ in the joined axis only.
            values.iter_mut().for_each(|v| *v = self.b.broadcast(*v, &axis.into()));
        }
        let outer = self.b.span;
        self.b.span = if node.span.is_known() { node.span } else { outer };
        let made = if let Op::Scan { .. } = node.op
            && values.iter().any(|v| varies(self.b, *v))
        {
            Ok(self.step_by_step(node, &values))
        } else {
            self.b.try_push(node.op.clone(), &values)
        };
        self.b.span = outer;
        match made {
            Ok(value) => {
                node.name.iter().for_each(|name| self.b.name(value, *name));
                Ok(value)
            }
            Err(error) => {
                let reason =
                    format!("`{}` is not done for all steps at once: {}", node.op.kind(), error.message);
                refuse(self.current.map(|c| self.states[c].name), Class::Other, reason)
            }
        }
    }
}

fn constant(value: ValueId) -> Affine {
    Affine { terms: Vec::new(), constant: Some(value) }
}

fn term(state: usize, read: Read) -> Affine {
    Affine { terms: vec![Term { state, read, coefficient: None }], constant: None }
}

/// The input, the condition and the value of the condition under which the node is 0 and not that input.
fn is_reset(body: &Graph, node: &Node) -> Option<(usize, ValueId, bool)> {
    let (Op::Select, [condition, x, y]) = (&node.op, node.operands.as_slice()) else { return None };
    let input = |v: ValueId| if let Op::Input { index } = body[v].op { Some(index as usize) } else { None };
    if is_number(body, *x, 0.0) {
        Some((input(*y)?, *condition, true))
    } else if is_number(body, *y, 0.0) {
        Some((input(*x)?, *condition, false))
    } else {
        None
    }
}

/// The reset of a state, if nothing in the body sees the state but through it, and the condition needs no state.
fn reset(body: &Graph, state: u32) -> Option<(ValueId, bool)> {
    let input = *body.input_values().get(state as usize)?;
    let input = input?;
    if body.outputs.iter().any(|o| o.value == input) {
        return None;
    }
    let mut found = None;
    for node in body.nodes.iter().filter(|n| n.operands.contains(&input)) {
        let (_, condition, when) = is_reset(body, node).filter(|(i, ..)| *i == state as usize)?;
        if *found.get_or_insert((condition, when)) != (condition, when) {
            return None;
        }
    }
    found
}
