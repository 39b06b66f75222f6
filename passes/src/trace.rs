//! What explanations need beside reports: proofs, and e-graphs as pictures.
//!
//! Invariant: a trace changes nothing in the result; without one nothing of it is computed.

use crate::analysis::Terms;
use crate::language::{Head, Term};
use crate::proof::{Proof, bank};
use crate::rules::RuleSet;
use carousel_ir::Op;
use std::fmt::Write;

/// One e-graph.
#[derive(Clone, Debug)]
pub struct GraphTrace {
    /// The graph, as reports call it.
    pub name: String,
    /// By which rules it was saturated.
    pub set: RuleSet,
    /// Why what was chosen is equal to what was there, or why that could not be shown; nothing if nothing was chosen.
    pub proof: Option<Result<Proof, String>>,
    /// All its classes and terms in the DOT language; of a loop that was tried several times the last attempt.
    pub dot: String,
}

/// All e-graphs of a pass, in the order of its report; graphs that an equal one came before have none.
#[derive(Clone, Default, Debug)]
pub struct Trace {
    /// The e-graphs.
    pub graphs: Vec<GraphTrace>,
}

/// Whether a trace is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tracing {
    On,
    Off,
}

/// Every class as a box with its terms in it; an edge leads from a term to the class of each operand.
pub(crate) fn dot(name: &str, terms: &Terms) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_dot(&mut out, name, terms);
    out
}

fn write_dot(out: &mut String, name: &str, terms: &Terms) -> std::fmt::Result {
    let mut classes: Vec<_> = terms.classes().collect();
    classes.sort_by_key(|class| class.id);
    let count: usize = classes.iter().map(|c| c.nodes.len()).sum();
    writeln!(out, "// {name}: {} classes, {count} terms", classes.len())?;
    writeln!(out, "digraph \"{}\" {{\n  compound=true;\n  node [shape=box];", escaped(name))?;
    for class in &classes {
        let what = match class.data.ty() {
            Some(ty) => format!("{}: {ty}", class.id),
            None => class.id.to_string(),
        };
        writeln!(out, "  subgraph cluster_{} {{\n    label=\"{}\";", class.id, escaped(&what))?;
        for (place, term) in class.nodes.iter().enumerate() {
            writeln!(out, "    t{}_{place} [label=\"{}\"];", class.id, escaped(&label(terms, term)))?;
        }
        writeln!(out, "  }}")?;
    }
    for class in &classes {
        for (place, term) in class.nodes.iter().enumerate() {
            for (operand, child) in term.children.iter().enumerate() {
                let child = terms.find(*child);
                writeln!(
                    out,
                    "  t{}_{place} -> t{child}_0 [lhead=cluster_{child}, label=\"{operand}\"];",
                    class.id
                )?;
            }
        }
    }
    writeln!(out, "}}")
}

fn label(terms: &Terms, term: &Term) -> String {
    match &term.head {
        Head::Leaf(leaf) => bank::attribute(leaf),
        Head::Virtual(what) => what.name().to_string(),
        Head::Op(kind) => kind.mnemonic().to_string(),
        Head::Opaque(number) => {
            let op = terms.analysis.opaque_op(*number);
            if let Op::Input { index } = op {
                format!("input {index}")
            } else {
                format!("{} #{number}", op.kind())
            }
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
