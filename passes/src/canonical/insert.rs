//! A graph as terms of an e-graph.

use crate::analysis::{Terms, add};
use crate::language::{Children, Head, Term, leaves};
use carousel_ir::{Graph, Node, Op};
use egg::Id;

/// A value of the graph in the e-graph.
#[derive(Clone, Debug)]
pub(crate) struct Inserted {
    /// Its class.
    pub(crate) class: Id,
    /// The term that it is.
    pub(crate) term: Term,
}

/// Every value of the graph.
pub(crate) fn insert(terms: &mut Terms, graph: &Graph) -> Vec<Option<Inserted>> {
    insert_replacing(terms, graph, &mut |_, _| None)
}

/// Every value of the graph, with some inputs, by their numbers, replaced.
pub(crate) fn insert_replacing(
    terms: &mut Terms,
    graph: &Graph,
    replace: &mut dyn FnMut(&mut Terms, u32) -> Option<Id>,
) -> Vec<Option<Inserted>> {
    let mut inserted: Vec<Option<Inserted>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let term = term(terms, node, &inserted);
        let replaced = if let Op::Input { index } = node.op { replace(terms, index) } else { None };
        let class = replaced.or_else(|| add(terms, term.clone()));
        inserted.push(class.map(|class| Inserted { class, term }));
    }
    inserted
}

fn term(terms: &mut Terms, node: &Node, inserted: &[Option<Inserted>]) -> Term {
    let kind = node.op.kind();
    let (head, mut children) = match leaves(&node.op) {
        Some(leaves) => {
            (Head::Op(kind), leaves.into_iter().map(|l| terms.add(l.term())).collect::<Children>())
        }
        None => (Head::Opaque(terms.analysis.opaque(&node.op, &node.types)), Children::new()),
    };
    let operand = |v: &carousel_ir::ValueId| {
        inserted[v.index()].as_ref().expect("a verified graph is well typed, operands first").class
    };
    children.extend(node.operands.iter().map(operand));
    Term { head, children }
}
