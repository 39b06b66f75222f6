//! Where the linear scans of a function are, and which of them go together.
//!
//! A *group* is the linear scans along one axis with the same decay and the same cuts: the reads of one memory, its
//! normaliser, and their derivatives. Their weights and the states between chunks are the same values in one form, and
//! would be computed twice in two.

use super::policy::{ChooseForm, Form, Site};
use super::report::SiteReport;
use carousel_ir::{Axis, Graph, Line, Module, Op, Size, ValueId};
use std::cell::RefCell;
use std::collections::HashMap;

/// Linear scans that take one form.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Along which axis.
    pub(super) axis: Axis,
    /// How many steps.
    pub(super) length: Size,
    /// Elements of the largest state.
    pub(super) state: Size,
    /// Their numbers in the function.
    pub(super) numbers: Vec<usize>,
    /// What they are.
    pub(super) sites: Vec<SiteReport>,
}

impl Group {
    /// Whether every element of the states decays and is read by itself.
    pub(super) fn is_elementwise(&self) -> bool {
        self.sites.iter().all(|site| site.key.is_empty() && site.written.is_empty())
    }
}

/// Loops around, the axis, the decay, the cuts.
type Gates = (Vec<ValueId>, Axis, ValueId, ValueId);

/// The groups of the last function of a module, in the order of their first members.
pub(super) fn groups(module: &Module) -> Vec<Group> {
    let Some(function) = module.functions.last() else { return Vec::new() };
    let mut gates = Vec::new();
    collect(&function.graph, &mut Vec::new(), &mut gates);
    if gates.is_empty() {
        return Vec::new();
    }
    let record = Record { function: function.name, sites: RefCell::default() };
    super::expand(module, &record);
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<Gates, usize> = HashMap::new();
    for (number, (gates, site)) in gates.into_iter().zip(record.sites.into_inner()).enumerate() {
        let axis = gates.1;
        let place = *places.entry(gates).or_insert(groups.len());
        if place == groups.len() {
            let (length, state) = (site.length.clone(), site.state.clone());
            groups.push(Group { axis, length, state, numbers: Vec::new(), sites: Vec::new() });
        }
        groups[place].numbers.push(number);
        groups[place].sites.push(site.report);
        if is_larger(&site.state, &groups[place].state) {
            groups[place].state = site.state;
        }
    }
    groups
}

/// Whether a size is the larger one if every symbol has the same value.
fn is_larger(a: &Size, b: &Size) -> bool {
    let value = |size: &Size| size.evaluate(&|_| Some(64));
    value(a) > value(b)
}

fn collect(graph: &Graph, path: &mut Vec<ValueId>, found: &mut Vec<Gates>) {
    for (value, node) in graph.iter() {
        if let Some(line) = Line::of(&node.op) {
            found.push((path.clone(), line.axis, node.operands[3], node.operands[4]));
        } else if let Op::Scan { scan } = &node.op {
            path.push(value);
            collect(&scan.body, path, found);
            path.pop();
        }
    }
}

/// What a policy is told.
struct Told {
    length: Size,
    state: Size,
    report: SiteReport,
}

/// A policy that remembers what it was asked.
struct Record {
    function: carousel_ir::Name,
    sites: RefCell<Vec<Told>>,
}

impl ChooseForm for Record {
    fn choose(&self, site: Site<'_>) -> Form {
        if site.function == self.function {
            let report = SiteReport {
                operation: site.kind.mnemonic(),
                line: site.line.clone(),
                key: site.key.clone(),
                written: site.written.clone(),
            };
            let told = Told { length: site.length.clone(), state: site.state.clone(), report };
            self.sites.borrow_mut().push(told);
        }
        Form::Recurrent
    }
}
