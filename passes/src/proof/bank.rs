//! Ground terms: what a proof speaks of, without an e-graph.
//!
//! Invariant: children stand before the terms that have them, and a term stands there once. Numbers are indices here,
//! not classes. Nothing is computed.

use crate::analysis::Terms;
use crate::extract::Selection;
use crate::language::{Head, Leaf, Term, attribute_count};
use carousel_ir::{Op, OpKind, Types};
use egg::{Id, Language, Subst};
use std::collections::{BTreeMap, HashMap};

/// Terms, each once.
#[derive(Clone, Default, Debug)]
pub(crate) struct Bank {
    terms: Vec<Term>,
    known: HashMap<Term, Id>,
}

/// How deep a text goes before it says `..`.
const DEPTH: usize = 6;

impl Bank {
    /// The number of a term whose children are numbers.
    pub(crate) fn add(&mut self, term: Term) -> Id {
        if let Some(known) = self.known.get(&term) {
            return *known;
        }
        let id = Id::from(self.terms.len());
        self.terms.push(term.clone());
        self.known.insert(term, id);
        id
    }

    pub(crate) fn get(&self, id: Id) -> &Term {
        &self.terms[usize::from(id)]
    }

    /// The term that was added to the e-graph under that number, whatever has become of its class.
    pub(crate) fn as_added(&mut self, terms: &Terms, id: Id, made: &mut HashMap<Id, Id>) -> Id {
        if let Some(known) = made.get(&id) {
            return *known;
        }
        let term = terms.id_to_node(id).clone();
        let term = term.map_children(|child| self.as_added(terms, child, made));
        let new = self.add(term);
        made.insert(id, new);
        new
    }

    /// The term of a class by choice.
    pub(crate) fn as_chosen(
        &mut self,
        terms: &Terms,
        selection: &Selection,
        class: Id,
        made: &mut HashMap<Id, Id>,
    ) -> Option<Id> {
        let class = terms.find(class);
        if let Some(known) = made.get(&class) {
            return Some(*known);
        }
        let mut term = match (selection.get(&class), &terms[class].data.leaf) {
            (Some(term), _) => term.clone(),
            // A selection of the original terms speaks of values alone.
            (None, Some(leaf)) => leaf.clone().term(),
            (None, None) => return None,
        };
        for place in 0..term.children.len() {
            term.children[place] = self.as_chosen(terms, selection, term.children[place], made)?;
        }
        let new = self.add(term);
        made.insert(class, new);
        Some(new)
    }

    /// A pattern with a term for each variable.
    pub(crate) fn instance(
        &mut self,
        pattern: &egg::PatternAst<Term>,
        subst: &Subst,
        terms: &Terms,
        made: &mut HashMap<Id, Id>,
    ) -> Id {
        let mut built: Vec<Id> = Vec::new();
        for node in pattern.as_ref() {
            let id = match node {
                egg::ENodeOrVar::Var(var) => self.as_added(terms, subst[*var], made),
                egg::ENodeOrVar::ENode(term) => {
                    let term = term.clone().map_children(|child| built[usize::from(child)]);
                    self.add(term)
                }
            };
            built.push(id);
        }
        *built.last().expect("a pattern has a node")
    }
}

/// What terms are called in texts.
#[derive(Clone, Default, Debug)]
pub(crate) struct Names {
    /// Terms that the author has named.
    pub(crate) terms: BTreeMap<Id, String>,
    /// Inputs of the graph, by number.
    pub(crate) inputs: Vec<String>,
}

/// A term as people read it: infix, with the author's names for what it is made of.
pub(crate) fn text(bank: &Bank, names: &Names, opaque: &[(Op, Types)], id: Id) -> String {
    write(bank, names, opaque, id, 0)
}

fn write(bank: &Bank, names: &Names, opaque: &[(Op, Types)], id: Id, depth: usize) -> String {
    let term = bank.get(id);
    if let (true, Some(name)) = (depth > 0, names.terms.get(&id)) {
        return name.clone();
    }
    if let Head::Leaf(leaf) = &term.head {
        return attribute(leaf);
    }
    if let Head::Opaque(number) = term.head
        && let Op::Input { index } = opaque[number as usize].0
    {
        return names.inputs.get(index as usize).cloned().unwrap_or_else(|| format!("input.{index}"));
    }
    if let Head::Op(OpKind::Const) = term.head {
        return write(bank, names, opaque, term.children[0], depth + 1);
    }
    if depth > DEPTH {
        return "..".to_string();
    }
    let (name, attributes) = match &term.head {
        Head::Op(kind) => (kind.mnemonic(), attribute_count(*kind).unwrap_or(0)),
        Head::Opaque(number) => (opaque[*number as usize].0.kind().mnemonic(), 0),
        Head::Virtual(what) => (what.name(), 0),
        Head::Leaf(_) => ("", 0),
    };
    let part = |child: &Id| write(bank, names, opaque, *child, depth + 1);
    let (attributes, operands) = term.children.split_at(attributes);
    let operands: Vec<String> = operands.iter().map(part).collect();
    let signs = [(OpKind::Add, "+"), (OpKind::Sub, "-"), (OpKind::Mul, "*"), (OpKind::Div, "/")];
    let sign = signs.iter().find(|(kind, _)| term.head == Head::Op(*kind));
    if let (Some((_, sign)), [a, b]) = (sign, operands.as_slice()) {
        let whole = format!("{a} {sign} {b}");
        return if depth > 0 { format!("({whole})") } else { whole };
    }
    let attributes: Vec<String> = attributes.iter().map(part).collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!("[{}]", attributes.join("; ")) };
    format!("{name}{attributes}({})", operands.join(", "))
}

/// An attribute in a text.
pub(crate) fn attribute(leaf: &Leaf) -> String {
    match leaf {
        Leaf::Axis(axis) => axis.to_string(),
        Leaf::Axes(axes) => axes.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(", "),
        Leaf::Size(size) => size.to_string(),
        Leaf::Integer(n) => n.to_string(),
        Leaf::Number(n) if n.get().abs() < 1e6 => n.get().to_string(),
        Leaf::Number(n) => format!("{:e}", n.get()),
        Leaf::DType(dtype) => dtype.to_string(),
        Leaf::Direction(direction) => format!("{direction:?}").to_lowercase(),
        Leaf::Line(line) => {
            let direction = format!("{:?}", line.direction).to_lowercase();
            format!("{}, {direction}, {}, {}", line.axis, line.edge.name(), line.read.name())
        }
    }
}
