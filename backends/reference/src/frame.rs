//! What is fixed about a graph once its size symbols have numbers: shapes, the last use of each value, the products
//! that are summed at once, and the same for scan bodies.
//!
//! Invariant: made once per call, not once per step of a scan. Holds no data of tensors.

use crate::EvalError;
use carousel_ir::{Axes, Axis, Graph, Name, Op, Size, ValueId};
use std::collections::{BTreeMap, HashMap};

/// Numbers for size symbols.
pub type Sizes = BTreeMap<Name, u64>;

/// A graph with numbers for its sizes.
pub(crate) struct Frame<'g> {
    pub(crate) function: Name,
    pub(crate) graph: &'g Graph,
    symbols: &'g Sizes,
    sizes: HashMap<Axis, usize>,
    /// By node: the shape of each result.
    pub(crate) shapes: Vec<Vec<Vec<usize>>>,
    /// By node: the values that nothing needs after it.
    pub(crate) dying: Vec<Vec<ValueId>>,
    /// By node: whether it is a product that its only user, a sum, computes as a contraction.
    pub(crate) absorbed: Vec<bool>,
    /// By node: the frame of a scan's body.
    pub(crate) bodies: Vec<Option<Frame<'g>>>,
}

impl<'g> Frame<'g> {
    pub(crate) fn new(function: Name, graph: &'g Graph, symbols: &'g Sizes) -> Result<Frame<'g>, EvalError> {
        let absorbed = absorbed_products(graph);
        let mut frame = Frame {
            function,
            graph,
            symbols,
            sizes: HashMap::new(),
            shapes: Vec::new(),
            dying: dying(graph, &absorbed),
            absorbed,
            bodies: Vec::new(),
        };
        for (axis, size) in graph.axes.iter() {
            if let Some(number) = frame.number(size) {
                frame.sizes.insert(axis, number as usize);
            }
        }
        for node in &graph.nodes {
            let shapes = node.types.iter().map(|t| frame.shape(&t.axes)).collect::<Result<_, _>>()?;
            frame.shapes.push(shapes);
            let body = if let Op::Scan { scan } = &node.op { Some(&scan.body) } else { None };
            frame.bodies.push(body.map(|b| Frame::new(function, b, symbols)).transpose()?);
        }
        Ok(frame)
    }

    /// A size as a number, if its symbols are known.
    pub(crate) fn number(&self, size: &Size) -> Option<u64> {
        size.evaluate(&|name| self.symbols.get(&name).copied())
    }

    /// The size of an axis.
    pub(crate) fn size(&self, axis: Axis) -> Result<usize, EvalError> {
        self.sizes.get(&axis).copied().ok_or_else(|| EvalError::UnknownSize {
            axis,
            size: self.graph.axes.get(axis).map_or_else(|| "nowhere declared".to_string(), Size::to_string),
        })
    }

    /// The sizes of axes.
    pub(crate) fn shape(&self, axes: &Axes) -> Result<Vec<usize>, EvalError> {
        let shape = axes.iter().map(|a| self.size(a)).collect::<Result<Vec<_>, _>>()?;
        let elements = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        match elements {
            Some(n) if n < isize::MAX as usize / 64 => Ok(shape),
            Some(_) | None => Err(EvalError::TooLarge { axes: axes.to_string() }),
        }
    }
}

/// Products that nothing but one sum needs. Those of 16 bits stay: they are rounded before they are summed.
fn absorbed_products(graph: &Graph) -> Vec<bool> {
    let uses = graph.uses();
    let mut absorbed = vec![false; graph.nodes.len()];
    for node in &graph.nodes {
        if let Op::Sum { .. } = node.op {
            let factor = node.operands[0];
            let product = &graph[factor];
            absorbed[factor.index()] =
                matches!(product.op, Op::Mul) && uses[factor.index()] == 1 && !product.ty().dtype.is_half();
        }
    }
    absorbed
}

fn dying(graph: &Graph, absorbed: &[bool]) -> Vec<Vec<ValueId>> {
    let mut last: Vec<usize> = (0..graph.nodes.len()).collect();
    for (value, node) in graph.iter() {
        for operand in &node.operands {
            last[operand.index()] = value.index();
            if absorbed[operand.index()] {
                for factor in &graph[*operand].operands {
                    last[factor.index()] = value.index();
                }
            }
        }
    }
    for output in &graph.outputs {
        last[output.value.index()] = graph.nodes.len();
    }
    let mut dying = vec![Vec::new(); graph.nodes.len()];
    for (value, &at) in last.iter().enumerate() {
        if let Some(list) = dying.get_mut(at) {
            list.push(ValueId(value as u32));
        }
    }
    dying
}
