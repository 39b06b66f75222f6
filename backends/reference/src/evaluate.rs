//! Running a function: nodes in order, loops, calls, and the boundary where names of axes become positions.
//!
//! Invariant: inside, a value's elements are in the order of its type; at every boundary (inputs, outputs, calls,
//! scan bodies) they are brought into the declared order.

use crate::frame::{Frame, Sizes};
use crate::geometry::{Layout, gather_strided};
use crate::linear;
use crate::operations::{self, Operand};
use crate::tensor::map_data;
use crate::{Data, EvalError, Scalar, Tensor};
use carousel_ir::{
    Axes, Axis, Direction, Function, FunctionId, Graph, Module, Name, Node, Op, Scan, Size, ValueId,
};
use smallvec::{SmallVec, smallvec};
use std::rc::Rc;

/// A node that has just been computed.
#[derive(Debug)]
pub struct Observed<'a, S> {
    /// The function that it belongs to.
    pub function: Name,
    /// Its value in the function's graph or, inside a scan, in the body's.
    pub value: ValueId,
    /// The node.
    pub node: &'a Node,
    /// Its results, in the order of its types' axes.
    pub results: &'a [Rc<Tensor<S>>],
    /// The steps of the scans around it, outermost first.
    pub steps: &'a [(Axis, usize)],
}

/// Called after every node, except those whose computation is a part of their user's (products that are summed).
pub type Observer<'a, S> = &'a mut dyn FnMut(Observed<'_, S>);

/// What an evaluation may be given besides its inputs.
pub struct Settings<'a, S> {
    /// Numbers for size symbols that no input tells.
    pub sizes: Sizes,
    /// Called after every node.
    pub observer: Option<Observer<'a, S>>,
}

impl<S> Default for Settings<'_, S> {
    fn default() -> Self {
        Settings { sizes: Sizes::new(), observer: None }
    }
}

/// Evaluates a function of a verified module. Inputs and outputs have their axes in the declared order; size symbols
/// are told by the inputs' shapes.
pub fn evaluate<S: Scalar>(
    module: &Module,
    function: FunctionId,
    inputs: &[Tensor<S>],
) -> Result<Vec<Tensor<S>>, EvalError> {
    evaluate_with(module, function, inputs, Settings::default())
}

/// Like [`evaluate`], with [`Settings`].
pub fn evaluate_with<S: Scalar>(
    module: &Module,
    function: FunctionId,
    inputs: &[Tensor<S>],
    settings: Settings<'_, S>,
) -> Result<Vec<Tensor<S>>, EvalError> {
    let inputs: Vec<Rc<Tensor<S>>> = inputs.iter().cloned().map(Rc::new).collect();
    let mut evaluator = Evaluator { module, observer: settings.observer, steps: Vec::new() };
    let outputs = evaluator.function(&module[function], &inputs, settings.sizes)?;
    Ok(outputs.into_iter().map(|t| Rc::try_unwrap(t).unwrap_or_else(|t| (*t).clone())).collect())
}

type Results<S> = SmallVec<[Rc<Tensor<S>>; 1]>;

struct Evaluator<'m, 'o, S> {
    module: &'m Module,
    observer: Option<Observer<'o, S>>,
    steps: Vec<(Axis, usize)>,
}

impl<S: Scalar> Evaluator<'_, '_, S> {
    /// Outputs in the declared order of axes.
    fn function(
        &mut self,
        function: &Function,
        inputs: &[Rc<Tensor<S>>],
        known: Sizes,
    ) -> Result<Vec<Rc<Tensor<S>>>, EvalError> {
        let graph = &function.graph;
        let symbols = bind(function, inputs, known)?;
        let frame = Frame::new(function.name, graph, &symbols)?;
        let values = self.graph(&frame, inputs)?;
        graph
            .outputs
            .iter()
            .zip(values)
            .map(|(output, value)| arrange(&value, &graph.ty(output.value).axes, &output.axes))
            .collect()
    }

    /// The values of the outputs, in the order of their types' axes.
    fn graph(
        &mut self,
        frame: &Frame<'_>,
        inputs: &[Rc<Tensor<S>>],
    ) -> Result<Vec<Rc<Tensor<S>>>, EvalError> {
        let graph = frame.graph;
        let mut values: Vec<Results<S>> = vec![SmallVec::new(); graph.nodes.len()];
        for (value, node) in graph.iter() {
            if !frame.absorbed[value.index()] {
                let results = self.node(frame, value, node, inputs, &values)?;
                if let Some(observer) = &mut self.observer {
                    let function = frame.function;
                    observer(Observed { function, value, node, results: &results, steps: &self.steps });
                }
                values[value.index()] = results;
            }
            for dead in &frame.dying[value.index()] {
                values[dead.index()] = SmallVec::new();
            }
        }
        Ok(graph.outputs.iter().map(|o| values[o.value.index()][0].clone()).collect())
    }

    fn node(
        &mut self,
        frame: &Frame<'_>,
        value: ValueId,
        node: &Node,
        inputs: &[Rc<Tensor<S>>],
        values: &[Results<S>],
    ) -> Result<Results<S>, EvalError> {
        let graph = frame.graph;
        let all = |operands: &[ValueId]| -> Vec<Rc<Tensor<S>>> {
            operands.iter().map(|v| values[v.index()][0].clone()).collect()
        };
        if let Op::Input { index } = node.op {
            return Ok(smallvec![inputs[index as usize].clone()]);
        }
        if let Op::Proj { index } = node.op {
            return Ok(smallvec![values[node.operands[0].index()][index as usize].clone()]);
        }
        if let Op::Call { function } = node.op {
            let callee = &self.module[function];
            let operands = arranged_operands(graph, node, &callee.graph, all(&node.operands))?;
            return Ok(self.function(callee, &operands, Sizes::new())?.into());
        }
        if let (Op::Scan { scan }, Some(body)) = (&node.op, &frame.bodies[value.index()]) {
            let operands = all(&node.operands);
            return self.scan(frame, node, scan, body, &frame.shapes[value.index()], &operands);
        }
        let shapes = &frame.shapes[value.index()];
        if let Op::LinRead { key, .. } = &node.op {
            let results = linear::linread(frame, node, key, shapes, &all(&node.operands))?;
            return Ok(results.into_iter().map(Rc::new).collect());
        }
        if let Op::LinReadDecay { key, .. } = &node.op {
            let result = linear::decay_gradient(frame, node, key, shapes, &all(&node.operands))?;
            return Ok(smallvec![Rc::new(result)]);
        }
        if let Op::LinSolve { key, rank, .. } = &node.op {
            let result = linear::solve(frame, node, [key, rank], &all(&node.operands))?;
            return Ok(smallvec![Rc::new(result)]);
        }
        // A sum of a product that nothing else needs computes it itself, as a contraction.
        let factors = match node.operands.as_slice() {
            [product] if frame.absorbed[product.index()] => &graph[*product].operands,
            _ => &node.operands,
        };
        let operands: SmallVec<[Operand<'_, S>; 3]> = factors
            .iter()
            .map(|v| Operand { axes: &graph.ty(*v).axes, tensor: &values[v.index()][0] })
            .collect();
        Ok(smallvec![Rc::new(operations::evaluate(frame, value, &operands)?)])
    }

    fn scan(
        &mut self,
        frame: &Frame<'_>,
        node: &Node,
        scan: &Scan,
        body: &Frame<'_>,
        shapes: &[Vec<usize>],
        operands: &[Rc<Tensor<S>>],
    ) -> Result<Results<S>, EvalError> {
        let graph = &scan.body;
        let length = frame.size(scan.axis)?;
        let (states, sequences) = (scan.states as usize, scan.sequences as usize);
        let mut inputs = Vec::with_capacity(operands.len());
        let mut rows: Vec<Tensor<S>> = Vec::with_capacity(sequences);
        for (place, tensor) in operands.iter().enumerate() {
            let (outer, inner) = (&frame.graph.ty(node.operands[place]).axes, &graph.inputs[place].ty.axes);
            if (states..states + sequences).contains(&place) {
                let axes = Axes::new(std::iter::once(scan.axis).chain(inner.iter()));
                let tensor = arrange(tensor, outer, &axes)?;
                let shape = tensor.shape[1..].to_vec();
                // The element of each step is put here before the step.
                inputs.push(Rc::new(Tensor { data: Data::zeros(graph.inputs[place].ty.dtype, 0), shape }));
                rows.push(Tensor::clone(&tensor));
            } else {
                inputs.push(arrange(tensor, outer, inner)?);
            }
        }
        let mut yields: Vec<Data<S>> = graph.outputs[states..]
            .iter()
            .zip(&shapes[states..])
            .map(|(o, shape)| Data::zeros(graph.ty(o.value).dtype, shape.iter().product()))
            .collect();
        for turn in 0..length {
            let step = match scan.direction {
                Direction::Forward => turn,
                Direction::Reverse => length - 1 - turn,
            };
            for (input, row) in inputs[states..].iter_mut().zip(&rows) {
                let shape = row.shape[1..].to_vec();
                let n: usize = shape.iter().product();
                let data = map_data!(&row.data, v => v[step * n..(step + 1) * n].to_vec());
                *input = Rc::new(Tensor { shape, data });
            }
            self.steps.push((scan.axis, step));
            let outputs = self.graph(body, &inputs)?;
            self.steps.pop();
            for (place, (output, result)) in graph.outputs.iter().zip(outputs).enumerate() {
                if place < states {
                    let axes = &graph.ty(output.value).axes;
                    inputs[place] = arrange(&result, axes, &graph.inputs[place].ty.axes)?;
                } else {
                    put(&mut yields[place - states], step, &result.data);
                }
            }
        }
        let finals = inputs.into_iter().take(states);
        let stacked = yields
            .into_iter()
            .zip(&shapes[states..])
            .map(|(data, shape)| Rc::new(Tensor { shape: shape.clone(), data }));
        Ok(finals.chain(stacked).collect())
    }
}

/// Puts one step's elements into their row of a stack.
fn put<S: Scalar>(stack: &mut Data<S>, step: usize, row: &Data<S>) {
    let range = step * row.len()..(step + 1) * row.len();
    match (stack, row) {
        (Data::Float(stack), Data::Float(row)) => stack[range].copy_from_slice(row),
        (Data::Integer(stack), Data::Integer(row)) => stack[range].copy_from_slice(row),
        (Data::Bool(stack), Data::Bool(row)) => stack[range].copy_from_slice(row),
        (Data::Float(_) | Data::Integer(_) | Data::Bool(_), _) => {
            panic!("a verified yield has the dtype of its type")
        }
    }
}

/// The operands of a call in the order of axes that the callee declares.
fn arranged_operands<S: Scalar>(
    graph: &Graph,
    node: &Node,
    callee: &Graph,
    operands: Vec<Rc<Tensor<S>>>,
) -> Result<Vec<Rc<Tensor<S>>>, EvalError> {
    let types = node.operands.iter().map(|v| &graph.ty(*v).axes);
    let pairs = operands.iter().zip(types.zip(&callee.inputs));
    pairs.map(|(tensor, (axes, input))| arrange(tensor, axes, &input.ty.axes)).collect()
}

/// The same tensor with its axes in another order.
fn arrange<S: Scalar>(tensor: &Rc<Tensor<S>>, from: &Axes, to: &Axes) -> Result<Rc<Tensor<S>>, EvalError> {
    if from.same_order(to) {
        return Ok(tensor.clone());
    }
    let size = |a: Axis| from.position(a).map_or(1, |at| tensor.shape[at]);
    let shape: Vec<usize> = to.iter().map(size).collect();
    let strides = Layout::new(from, &tensor.shape).strides(to.iter());
    let data = map_data!(&tensor.data, v => gather_strided(v, 0, &shape, &strides));
    Ok(Rc::new(Tensor { shape, data }))
}

/// Size symbols from the shapes of the inputs; everything about the inputs is checked.
fn bind<S: Scalar>(function: &Function, inputs: &[Rc<Tensor<S>>], known: Sizes) -> Result<Sizes, EvalError> {
    let graph = &function.graph;
    if graph.inputs.len() != inputs.len() {
        let (wanted, found) = (graph.inputs.len(), inputs.len());
        return Err(EvalError::InputCount { function: function.name, wanted, found });
    }
    let mut symbols = known;
    for (input, tensor) in graph.inputs.iter().zip(inputs) {
        let elements = tensor.data.len();
        let filled = tensor.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size)) == Some(elements);
        if tensor.shape.len() != input.ty.axes.len() || !filled {
            let (axes, shape) = (input.ty.axes.to_string(), tensor.shape.clone());
            return Err(EvalError::InputShape { input: input.name, axes, shape, elements });
        }
        if !tensor.data.fits(input.ty.dtype) {
            return Err(EvalError::InputDType { input: input.name, wanted: input.ty.dtype });
        }
        for (axis, &size) in input.ty.axes.iter().zip(&tensor.shape) {
            if let Size::Symbol(name) = graph.axes.size(axis) {
                symbols.entry(*name).or_insert(size as u64);
            }
        }
    }
    for (input, tensor) in graph.inputs.iter().zip(inputs) {
        for (axis, &found) in input.ty.axes.iter().zip(&tensor.shape) {
            let size = graph.axes.size(axis);
            let wanted = size
                .evaluate(&|name| symbols.get(&name).copied())
                .ok_or_else(|| EvalError::UnknownSize { axis, size: size.to_string() })?;
            if wanted != found as u64 {
                return Err(EvalError::AxisSize { input: input.name, axis, wanted, found: found as u64 });
            }
        }
    }
    Ok(symbols)
}
