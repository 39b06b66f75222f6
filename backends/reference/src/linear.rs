//! Linear scans by their definition: one step after the other, one element of the state after the other.
//!
//! Invariant: a step does what the table of [`Line`] says, in that order. Its derivative by the decay goes back over
//! all states, which are kept: this is an oracle.

use crate::frame::Frame;
use crate::geometry::{Layout, gather_strided, walk};
use crate::{Data, EvalError, Scalar, Tensor};
use carousel_ir::{Axes, Axis, Direction, Edge, Line, Node, Read};
use std::rc::Rc;

/// What a step does to the state.
#[derive(Clone, Copy)]
enum Act {
    /// Forgets it where it is cut.
    Cut,
    /// Multiplies it by e^l.
    Decay,
    /// Adds x w.
    Write,
    /// Adds up q S.
    Read,
}

/// The steps of a line: decays that are cut are a cut before the decay.
fn acts(line: &Line) -> [Act; 4] {
    match (line.edge, line.read) {
        (Edge::Before, Read::New) => [Act::Cut, Act::Decay, Act::Write, Act::Read],
        (Edge::After, Read::New) => [Act::Write, Act::Read, Act::Cut, Act::Decay],
        (Edge::Before, Read::Old) => [Act::Cut, Act::Read, Act::Decay, Act::Write],
        (Edge::After, Read::Old) => [Act::Read, Act::Decay, Act::Write, Act::Cut],
    }
}

/// A float operand with its strides along the axes of the state, and along the line.
struct Values<'a, S> {
    data: &'a [S],
    strides: Vec<usize>,
    step: usize,
}

/// A linear scan with its operands q, x, w, l, cut, initial state.
struct Run<'a, S> {
    line: Line,
    shape: Vec<usize>,
    length: usize,
    /// q, x, w, l.
    values: [Values<'a, S>; 4],
    cut: &'a [bool],
    cut_strides: Vec<usize>,
    cut_step: usize,
    start: &'a [S],
    /// Strides of what is read, or of its cotangent.
    read_strides: Vec<usize>,
    read_step: usize,
}

fn floats<S: Scalar>(tensor: &Tensor<S>) -> &[S] {
    tensor.as_floats().unwrap_or_else(|| panic!("a verified linear scan is one of floats"))
}

fn layout<S>(frame: &Frame<'_>, node: &Node, place: usize, tensor: &Tensor<S>) -> Layout {
    Layout::new(&frame.graph.ty(node.operands[place]).axes, &tensor.shape)
}

impl<'a, S: Scalar> Run<'a, S> {
    fn new(
        frame: &Frame<'_>,
        node: &Node,
        key: &Axes,
        operands: &'a [Rc<Tensor<S>>],
    ) -> Result<Run<'a, S>, EvalError> {
        let line = Line::of(&node.op).unwrap_or_else(|| panic!("`{}` has no line", node.op.kind()));
        let axis: Axis = line.axis;
        let state = frame.graph.ty(node.operands[5]).axes.clone();
        let values = [0, 1, 2, 3].map(|i| {
            let layout = layout(frame, node, i, &operands[i]);
            Values {
                data: floats(&operands[i]),
                strides: layout.strides(state.iter()),
                step: layout.stride(axis),
            }
        });
        let Data::Bool(cut) = &operands[4].data else { panic!("cuts of a verified scan are truth values") };
        let cuts = layout(frame, node, 4, &operands[4]);
        let read_axes = Axes::new(std::iter::once(axis).chain(state.without(key).iter()));
        let read = Layout::new(&read_axes, &frame.shape(&read_axes)?);
        Ok(Run {
            line,
            shape: operands[5].shape.clone(),
            length: frame.size(axis)?,
            values,
            cut,
            cut_strides: cuts.strides(state.iter()),
            cut_step: cuts.stride(axis),
            start: floats(&operands[5]),
            read_strides: read.strides(state.iter()),
            read_step: read.stride(axis),
        })
    }

    fn steps(&self) -> Vec<usize> {
        match self.line.direction {
            Direction::Forward => (0..self.length).collect(),
            Direction::Reverse => (0..self.length).rev().collect(),
        }
    }

    /// Calls `visit` for every element of the state, with its number, the elements of q, x, w and l that belong to
    /// it, whether it is cut, the place of l, and the place of what is read.
    fn elements(&self, step: usize, mut visit: impl FnMut(usize, [S; 4], bool, usize, usize)) {
        let [q, x, w, l] = &self.values;
        let strides: [&[usize]; 6] =
            [&q.strides, &x.strides, &w.strides, &l.strides, &self.cut_strides, &self.read_strides];
        let mut number = 0;
        walk(&self.shape, strides, |[iq, ix, iw, il, ic, iy]| {
            let at = |v: &Values<'_, S>, i: usize| v.data[i + step * v.step];
            let cut = self.cut[ic + step * self.cut_step];
            let values = [at(q, iq), at(x, ix), at(w, iw), at(l, il)];
            visit(number, values, cut, il + step * l.step, iy + step * self.read_step);
            number += 1;
        });
    }

    /// What is read into `read`, and the final state. `before_decay` sees each state before it decays.
    fn forward(&self, read: &mut [S], mut before_decay: impl FnMut(usize, &[S])) -> Vec<S> {
        let mut state = self.start.to_vec();
        for step in self.steps() {
            for act in acts(&self.line) {
                if let Act::Decay = act {
                    before_decay(step, &state);
                }
                self.elements(step, |i, [q, x, w, l], cut, _, y| match act {
                    Act::Cut if cut => state[i] = S::zero(),
                    Act::Cut => {}
                    Act::Decay => state[i] = l.exp() * state[i],
                    Act::Write => state[i] = state[i] + x * w,
                    Act::Read => read[y] = read[y] + q * state[i],
                });
            }
        }
        state
    }
}

/// What is read, and the final state.
pub(crate) fn linread<S: Scalar>(
    frame: &Frame<'_>,
    node: &Node,
    key: &Axes,
    shapes: &[Vec<usize>],
    operands: &[Rc<Tensor<S>>],
) -> Result<[Tensor<S>; 2], EvalError> {
    let run = Run::new(frame, node, key, operands)?;
    let mut read = vec![S::zero(); shapes[0].iter().product()];
    let state = run.forward(&mut read, |_, _| {});
    let tensor = |shape: &Vec<usize>, v| Tensor { shape: shape.clone(), data: Data::Float(v) };
    Ok([tensor(&shapes[0], read), tensor(&shapes[1], state)])
}

/// The gradient by the logarithm of the decay.
pub(crate) fn decay_gradient<S: Scalar>(
    frame: &Frame<'_>,
    node: &Node,
    key: &Axes,
    shapes: &[Vec<usize>],
    operands: &[Rc<Tensor<S>>],
) -> Result<Tensor<S>, EvalError> {
    let mut run = Run::new(frame, node, key, operands)?;
    // Cotangents may have their axes in another order than what they belong to.
    let state = &frame.graph.ty(node.operands[5]).axes;
    let last = layout(frame, node, 7, &operands[7]).strides(state.iter());
    let last = gather_strided(floats(&operands[7]), 0, &run.shape, &last);
    let dy = floats(&operands[6]);
    let read_strides = layout(frame, node, 6, &operands[6]);
    let mut states = vec![Vec::new(); run.length];
    let mut read = vec![S::zero(); dy.len()];
    run.forward(&mut read, |step, state| states[step] = state.to_vec());
    (run.read_strides, run.read_step) =
        (read_strides.strides(state.iter()), read_strides.stride(run.line.axis));
    // The cotangents of the state.
    let mut state = last;
    let mut gradient = vec![S::zero(); shapes[0].iter().product()];
    for step in run.steps().into_iter().rev() {
        for act in acts(&run.line).into_iter().rev() {
            run.elements(step, |i, [q, _, _, l], cut, at, y| match act {
                Act::Cut if cut => state[i] = S::zero(),
                Act::Decay => {
                    state[i] = l.exp() * state[i];
                    gradient[at] = gradient[at] + state[i] * states[step][i];
                }
                Act::Read => state[i] = state[i] + q * dy[y],
                Act::Cut | Act::Write => {}
            });
        }
    }
    Ok(Tensor { shape: shapes[0].clone(), data: Data::Float(gradient) })
}

/// What solves a linear scan that reads itself, step by step: `axes` are the key's and the rank's.
pub(crate) fn solve<S: Scalar>(
    frame: &Frame<'_>,
    node: &Node,
    [key, rank]: [&Axes; 2],
    operands: &[Rc<Tensor<S>>],
) -> Result<Tensor<S>, EvalError> {
    let line = Line::of(&node.op).unwrap_or_else(|| panic!("`{}` has no line", node.op.kind()));
    let layout = |place: usize| layout(frame, node, place, &operands[place]);
    let [a, b, z, l, cuts] = [0, 1, 2, 3, 4].map(layout);
    let Data::Bool(cut) = &operands[4].data else { panic!("cuts of a verified scan are truth values") };
    let all = &frame.graph.ty(node.operands[2]).axes;
    let state = key.union(&all.without(rank).without(&line.axis.into()));
    let whole = state.union(rank);
    let (state_shape, shape) = (frame.shape(&state)?, frame.shape(&whole)?);
    let inner = Layout::new(&state, &state_shape);
    let strides = |layout: &Layout, axes: &Axes| layout.strides(axes.iter());
    let mut r = floats(&operands[2]).to_vec();
    let mut memory = vec![S::zero(); state_shape.iter().product()];
    let [a_data, b_data, l_data] = [0, 1, 3].map(|place| floats(&operands[place]));
    let length = frame.size(line.axis)?;
    for at in 0..length {
        let step = if line.direction == Direction::Forward { at } else { length - 1 - at };
        let offset = |layout: &Layout| step * layout.stride(line.axis);
        for act in acts(&line) {
            match act {
                Act::Cut | Act::Decay => {
                    let places = [strides(&inner, &state), strides(&l, &state), strides(&cuts, &state)];
                    walk(&state_shape, places.each_ref().map(Vec::as_slice), |[i, il, ic]| match act {
                        Act::Cut if cut[ic + offset(&cuts)] => memory[i] = S::zero(),
                        Act::Decay => memory[i] = l_data[il + offset(&l)].exp() * memory[i],
                        Act::Cut | Act::Read | Act::Write => {}
                    });
                }
                Act::Read | Act::Write => {
                    let vector = if let Act::Read = act { &a } else { &b };
                    let places = [strides(vector, &whole), strides(&inner, &whole), strides(&z, &whole)];
                    walk(&shape, places.each_ref().map(Vec::as_slice), |[iv, i, ir]| {
                        let (iv, ir) = (iv + offset(vector), ir + offset(&z));
                        if let Act::Read = act {
                            r[ir] = r[ir] + a_data[iv] * memory[i];
                        } else {
                            memory[i] = memory[i] + b_data[iv] * r[ir];
                        }
                    });
                }
            }
        }
    }
    Ok(Tensor { shape: operands[2].shape.clone(), data: Data::Float(r) })
}
