//! What a rewriting pass did: which rules fired, how large the e-graphs grew, what was gained.

use crate::saturate::Stop;
use std::collections::BTreeMap;
use std::fmt;

/// What happened to one graph: a function, or the body of one of its scans.
#[derive(Clone, PartialEq, Debug)]
pub struct GraphReport {
    /// The function, and the place of the scan in it: `mlstm`, `mlstm/scan 12`.
    pub name: String,
    /// Nodes before and after.
    pub nodes: (usize, usize),
    /// Cost before and after.
    pub cost: (f64, f64),
    /// Terms in the e-graph at the end.
    pub terms: usize,
    /// Classes in the e-graph at the end.
    pub classes: usize,
    /// Rounds of rules.
    pub rounds: usize,
    /// Why it ended.
    pub stop: Stop,
    /// Whether an equal graph came before, of which this is a copy: nothing was done again.
    pub again: bool,
    /// How often two equal terms had facts that exclude each other; anything but 0 means that a rule is wrong.
    pub alarms: usize,
    /// How often each rule made two classes one; rules that never did are left out.
    pub fired: BTreeMap<String, usize>,
}

/// What happened to a module: one entry a graph, bodies before the graphs that hold them.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Report {
    /// The graphs.
    pub graphs: Vec<GraphReport>,
}

impl Report {
    /// How often each rule fired in the whole module.
    pub fn fired(&self) -> BTreeMap<&str, usize> {
        let mut sum = BTreeMap::new();
        for (rule, count) in self.graphs.iter().flat_map(|g| &g.fired) {
            *sum.entry(rule.as_str()).or_insert(0) += count;
        }
        sum
    }

    /// The graphs on which a limit was hit.
    pub fn limited(&self) -> impl Iterator<Item = &GraphReport> {
        self.graphs.iter().filter(|g| g.stop != Stop::Saturated)
    }
}

impl fmt::Display for GraphReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} -> {} nodes, cost {:.0} -> {:.0}; {} terms in {} classes, {} rounds, {}",
            self.name,
            self.nodes.0,
            self.nodes.1,
            self.cost.0,
            self.cost.1,
            self.terms,
            self.classes,
            self.rounds,
            self.stop
        )?;
        if self.again {
            return write!(f, "; equal to one before");
        }
        if self.alarms > 0 {
            write!(f, "; {} contradictions: a rule is wrong", self.alarms)?;
        }
        for (rule, count) in &self.fired {
            write!(f, "\n  {count:>5}  {rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for graph in &self.graphs {
            writeln!(f, "{graph}")?;
        }
        Ok(())
    }
}
