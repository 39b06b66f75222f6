//! How many floating-point operations a function does, counted on its graph.
//!
//! Each element of a result is one operation, each step of a sum one; moving elements is none. Fusion and the choice of
//! forms do not count: this is what the equations say.

use std::collections::BTreeMap;

use carousel_ir::{Axis, Class, FunctionId, Graph, Module, Name, Op, Size, Type};

/// The operations of `function` where symbols have these sizes; `None` if one is missing.
pub fn operations(module: &Module, function: FunctionId, symbols: &BTreeMap<Name, u64>) -> Option<u64> {
    graph_operations(module, &module[function].graph, symbols)
}

fn graph_operations(module: &Module, graph: &Graph, symbols: &BTreeMap<Name, u64>) -> Option<u64> {
    let size = |size: &Size| size.evaluate(&|name| symbols.get(&name).copied());
    let axis_size = |axis: Axis| size(graph.axes.size(axis));
    let elements = |ty: &Type| ty.axes.iter().try_fold(1u64, |n, axis| n.checked_mul(axis_size(axis)?));
    let mut total = 0u64;
    for node in &graph.nodes {
        let count = match (&node.op, node.op.kind().class()) {
            (Op::Scan { scan }, _) => {
                graph_operations(module, &scan.body, symbols)?.checked_mul(axis_size(scan.axis)?)?
            }
            (Op::Call { function }, _) => {
                let callee = &module[*function].graph;
                let mut inner = symbols.clone();
                for (input, operand) in callee.inputs.iter().zip(&node.operands) {
                    for axis in input.ty.axes.iter() {
                        if let Size::Symbol(name) = callee.axes.size(axis)
                            && graph.ty(*operand).axes.contains(axis)
                        {
                            inner.insert(*name, axis_size(axis)?);
                        }
                    }
                }
                graph_operations(module, callee, &inner)?
            }
            (Op::Dot { axes }, _) => {
                let contracted = axes.iter().try_fold(2u64, |n, axis| n.checked_mul(axis_size(axis)?))?;
                elements(node.ty())?.checked_mul(contracted)?
            }
            (_, Class::Elementwise) => elements(node.ty())?,
            (_, Class::Reduce | Class::Cumulative) => elements(graph.ty(node.operands[0]))?,
            (_, Class::Leaf | Class::View | Class::Indexed | Class::Control) => 0,
        };
        total = total.checked_add(count)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carousel_ir::text::{Options, elaborate, parse_program};

    #[test]
    fn every_step_of_a_sum_and_every_element_counts() {
        let text = "block b(x: [s, d = 3]) -> (y: [s, e]) {\n  param w: [e = 5, d] ~ zeros\n  let y = sum[d](x * w)\n}\n\
                    model m(x: [s, d = 3]) -> (y: [s, e]) {\n  let y = exp(b(x)) \n}\n";
        let program = parse_program("m.xl", text, &|path| Err(path.to_string())).unwrap();
        let module = elaborate(&program, &["m"], &Options::default()).unwrap();
        let root = module.find("m").unwrap();
        let count = |n| operations(&module, root, &BTreeMap::from([(Name::new("s"), n)]));
        // A product and an addition for each of 3 x 5, then 5 exponentials.
        assert_eq!((count(1), count(7)), (Some(35), Some(245)));
        assert_eq!(operations(&module, root, &BTreeMap::new()), None);
    }
}
