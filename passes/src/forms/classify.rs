//! What kind of recurrence a loop is, and which forms that kind has.

use super::recognize::{Class, Refusal};
use carousel_ir::{Axes, Graph, Op, Scan, ValueId};

/// A kind of recurrence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Recurrence {
    /// The state decays as a whole.
    Scalar,
    /// The state decays along one of its axes at a rate of its own for each place.
    Diagonal,
    /// The state is read by a vector in its own update.
    LowRank,
    /// Every element decays and is read by itself.
    Elementwise,
    /// The state goes through a matrix in its own update.
    Dense,
    /// The state goes through something nonlinear in its own update.
    Nonlinear,
}

impl Recurrence {
    /// One letter.
    pub fn letter(self) -> char {
        match self {
            Recurrence::Scalar => 'S',
            Recurrence::Diagonal => 'D',
            Recurrence::LowRank => 'P',
            Recurrence::Elementwise => 'E',
            Recurrence::Dense => 'X',
            Recurrence::Nonlinear => 'N',
        }
    }

    /// In a few words.
    pub fn description(self) -> &'static str {
        match self {
            Recurrence::Scalar => "scalar decay",
            Recurrence::Diagonal => "decay per axis",
            Recurrence::LowRank => "decay plus low rank",
            Recurrence::Elementwise => "elementwise",
            Recurrence::Dense => "dense linear",
            Recurrence::Nonlinear => "nonlinear",
        }
    }

    /// The forms of such a recurrence, once it is taken apart.
    pub fn forms(self) -> &'static str {
        match self {
            Recurrence::Scalar | Recurrence::Diagonal | Recurrence::LowRank => {
                "recurrent, parallel, chunkwise"
            }
            Recurrence::Elementwise => "recurrent, associative",
            Recurrence::Dense | Recurrence::Nonlinear => "recurrent",
        }
    }
}

/// The kind of a loop that was left as it is.
pub(super) fn refused(scan: &Scan, refusal: &Refusal) -> Option<Recurrence> {
    match refusal.class {
        Class::Nonlinear => Some(Recurrence::Nonlinear),
        Class::Unbounded | Class::Other => None,
        Class::Coupled => {
            let states: Vec<usize> = (0..scan.states as usize).collect();
            Some(if is_linear(&scan.body, &states) { Recurrence::Dense } else { Recurrence::Nonlinear })
        }
        Class::Contracted => {
            let is_state = |i: &usize| Some(scan.body.inputs[*i].name) == refusal.state;
            let state = (0..scan.states as usize).find(is_state)?;
            if !is_linear(&scan.body, &[state]) {
                return Some(Recurrence::Nonlinear);
            }
            let vector = contracted_with(&scan.body, state)
                .all(|other| other.is_subset(&scan.body.inputs[state].ty.axes));
            Some(if vector { Recurrence::LowRank } else { Recurrence::Dense })
        }
    }
}

/// Whether the next values of states are linear in them.
fn is_linear(body: &Graph, states: &[usize]) -> bool {
    let mut depends = vec![false; body.nodes.len()];
    let mut linear = vec![true; body.nodes.len()];
    for (value, node) in body.iter() {
        let on = |place: usize| node.operands.get(place).is_some_and(|o| depends[o.index()]);
        let so_far = node.operands.iter().all(|o| linear[o.index()]);
        let any = (0..node.operands.len()).any(on);
        let keeps = matches!(
            node.op,
            Op::Add
                | Op::Sub
                | Op::Neg
                | Op::Sum { .. }
                | Op::Detach
                | Op::Cast { .. }
                | Op::Broadcast { .. }
                | Op::Rename { .. }
                | Op::Split { .. }
                | Op::Merge { .. }
        );
        let product = matches!(node.op, Op::Mul | Op::Dot { .. }) && !(on(0) && on(1));
        let quotient = matches!(node.op, Op::Div) && !on(1);
        let choice = matches!(node.op, Op::Select) && !on(0);
        let here = !any || keeps || product || quotient || choice;
        let index = value.index();
        depends[index] = any || matches!(node.op, Op::Input { index } if states.contains(&(index as usize)));
        linear[index] = so_far && here;
    }
    states.iter().all(|state| linear[body.outputs[*state].value.index()])
}

/// The axes of what a state is contracted with.
fn contracted_with(body: &Graph, state: usize) -> impl Iterator<Item = &Axes> {
    let is_state = move |value: ValueId| {
        let mut value = value;
        while let Op::Rename { .. } | Op::Broadcast { .. } | Op::Cast { .. } = body[value].op {
            value = body[value].operands[0];
        }
        matches!(body[value].op, Op::Input { index } if index as usize == state)
    };
    body.nodes.iter().filter(|n| matches!(n.op, Op::Dot { .. })).filter_map(move |node| {
        let place = node.operands.iter().position(|o| is_state(*o))?;
        Some(&body.ty(node.operands[1 - place]).axes)
    })
}
