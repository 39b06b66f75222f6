//! What was derived for a program, and why: kinds of recurrences, scales, linear scans, forms, proofs.
//!
//! The same passes as for compiling, in the same order, with proofs; every proof is gone through again. Nothing is
//! decided here.

use carousel_ir::{FunctionId, Graph, Module, Op};
use carousel_passes::forms::{
    Candidate, FormReport, GroupReport, Outcome as FormOutcome, Price, Recognition, Recurrence, Stratum,
    expand_traced, recognize,
};
use carousel_passes::{
    Equation, GraphTrace, Options, Outcome, Report, RuleSet, ScanReport, SizeWeighted, StableOptions, Stop,
    Trace, canonicalize_traced, describe, stabilize_traced,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

use crate::compile::{PassOptions, reachable};
use crate::forms::FormOptions;

/// Everything that was derived for a module.
#[derive(Debug)]
pub struct Explanation {
    /// What the rules of the canonical form did, graph by graph.
    pub canonical: Report,
    /// The loops, inner ones first.
    pub loops: Vec<Loop>,
    /// The linear scans that became of them.
    pub scans: Vec<LinearScan>,
    /// The forms that these were given, and what the others would have cost.
    pub forms: FormReport,
    /// The e-graphs, with proofs, in the order of the passes.
    pub graphs: Vec<Traced>,
    /// Limits that were hit: more might have been found.
    pub limits: Vec<String>,
}

/// An e-graph of a pass.
#[derive(Debug)]
pub struct Traced {
    /// What the pass makes.
    pub stage: &'static str,
    /// The e-graph.
    pub graph: GraphTrace,
}

/// What became of a loop.
#[derive(Debug)]
pub struct Loop {
    /// Its scales, or why it has none.
    pub stable: ScanReport,
    /// Its kind; nothing if it is inside another loop, or of no kind that has a name.
    pub kind: Option<Recurrence>,
    /// Its states as linear scans, or why it stays a loop; nothing if it is inside another loop.
    pub linear: Option<Recognition>,
}

/// A linear scan, with the values it is made of as people read them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinearScan {
    /// The function that it is in.
    pub function: String,
    /// Along which axis.
    pub axis: String,
    /// The axes that reading contracts.
    pub key: String,
    /// What it is read with.
    pub query: String,
    /// The product that is written.
    pub written: (String, String),
    /// The logarithm of the decay.
    pub log_decay: String,
}

impl PassOptions {
    /// Everything that is derived for a function and what it calls.
    pub fn explained(&self, module: &Module, root: FunctionId, forms: &FormOptions) -> Explanation {
        let module = &reachable(module, root).0;
        let (mut graphs, mut limits) = (Vec::new(), Vec::new());
        let mut note = |stage: &'static str, trace: Trace, hit: Vec<String>| {
            graphs.extend(trace.graphs.into_iter().map(|graph| Traced { stage, graph }));
            limits.extend(hit);
        };
        let cost = SizeWeighted::default();
        let simplified = |module: &Module, done: Option<&Module>| {
            let rules = self.rules.get(RuleSet::Canonical);
            canonicalize_traced(module, Options { rules, limits: self.limits, cost: &cost, done })
        };
        let hit = |report: &Report| report.limited().map(|g| format!("{}: {}", g.name, g.stop)).collect();

        let (module, canonical, trace) = simplified(module, None);
        note("canonical form", trace, hit(&canonical));
        let stable_options = StableOptions { rules: self.rules.get(RuleSet::Stable), limits: self.limits };
        let (stabilised, stable, trace) = stabilize_traced(&module, &stable_options);
        note("stable form", trace, stable.limited().map(|s| format!("{}: {}", s.name, s.stop)).collect());
        let (module, report, trace) = simplified(&stabilised, Some(&module));
        note("canonical form of stable loops", trace, hit(&report));
        let (recognised, linear) = recognize(&module);
        let (recognised, report, trace) = simplified(&recognised, Some(&module));
        note("canonical form around linear scans", trace, hit(&report));
        let all: Vec<FunctionId> = recognised.iter().map(|(id, _)| id).collect();
        let (expanded, chosen, forms) = self.chosen_forms(&recognised, &all, forms);
        let (_, trace) = expand_traced(&recognised, &chosen, self.rules.get(RuleSet::Forms));
        note("form", trace, forms.limits.iter().cloned().collect());
        let (_, report, trace) = simplified(&expanded, Some(&recognised));
        note("canonical form of forms", trace, hit(&report));
        for Traced { graph, .. } in &mut graphs {
            let rules = self.rules.get(graph.set);
            if let Some(Ok(proof)) = &graph.proof
                && let Err(why) = proof.recheck(rules)
            {
                graph.proof = Some(Err(why));
            }
        }
        let scans =
            recognised.functions.iter().flat_map(|f| linear_scans(f.name.as_str(), &f.graph)).collect();
        Explanation { canonical, loops: loops(stable.scans, linear), scans, forms, graphs, limits }
    }
}

/// The loops with what the recogniser says of them: it looks at the outermost ones, in the same order.
fn loops(stable: Vec<ScanReport>, linear: Vec<Recognition>) -> Vec<Loop> {
    let mut found: BTreeMap<String, Vec<Recognition>> = BTreeMap::new();
    for recognition in linear {
        found.entry(recognition.function.to_string()).or_default().push(recognition);
    }
    let mut result: Vec<Loop> = Vec::new();
    for stable in stable {
        let outermost = stable.name.split_once("/scan ").filter(|(_, place)| !place.contains('/'));
        let recognised = outermost
            .and_then(|(function, _)| found.get_mut(function))
            .and_then(|list| (!list.is_empty()).then(|| list.remove(0)));
        let kind = recognised.as_ref().and_then(|r| r.kind);
        result.push(Loop { stable, kind, linear: recognised });
    }
    result
}

fn linear_scans(function: &str, graph: &Graph) -> Vec<LinearScan> {
    let scan = |node: &carousel_ir::Node| {
        let Op::LinRead { axis, key, .. } = &node.op else { return None };
        let part = |place: usize| describe(graph, node.operands[place]);
        Some(LinearScan {
            function: function.to_string(),
            axis: axis.to_string(),
            key: key.to_string(),
            query: part(0),
            written: (part(1), part(2)),
            log_decay: part(3),
        })
    };
    graph.nodes.iter().filter_map(scan).collect()
}

impl fmt::Display for LinearScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (x, w) = &self.written;
        writeln!(f, "{}, along {}", self.function, self.axis)?;
        writeln!(f, "  writes {x} times {w}")?;
        writeln!(f, "  decays by exp({})", self.log_decay)?;
        if self.key.is_empty() {
            writeln!(f, "  is read as it is, times {}", self.query)
        } else {
            writeln!(f, "  is read over {} with {}", self.key, self.query)
        }
    }
}

impl fmt::Display for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.stable.name)?;
        if let (Some(kind), Some(linear)) = (self.kind, &self.linear) {
            let forms = if linear.outcome.is_ok() { kind.forms() } else { "recurrent" };
            writeln!(f, "  class {}, {}; forms: {forms}", kind.letter(), kind.description())?;
        }
        writeln!(f, "  {}", self.stable.outcome)?;
        for group in &self.stable.groups {
            let states = group.states.join(", ");
            writeln!(
                f,
                "  {states} by exp({}[{}]), which becomes {}",
                group.scale, group.axes, group.update
            )?;
        }
        for note in &self.stable.notes {
            writeln!(f, "  {note}")?;
        }
        match self.linear.as_ref().map(|r| &r.outcome) {
            Some(Ok(states)) => {
                let of = |wanted: Stratum| -> Vec<&str> {
                    states.iter().filter(|(_, s)| *s == wanted).map(|(name, _)| name.as_str()).collect()
                };
                writeln!(f, "  linear scans: {}", of(Stratum::Linear).join(", "))?;
                let kept = of(Stratum::Kept);
                if !kept.is_empty() {
                    writeln!(f, "  stay a loop of their own: {}", kept.join(", "))?;
                }
            }
            Some(Err(refusal)) => writeln!(f, "  no linear scan: {refusal}")?,
            None => {}
        }
        if self.stable.again {
            writeln!(f, "  equal to a loop before: derived once")?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "loops")?;
        if self.loops.is_empty() {
            writeln!(f, "\nnone")?;
        }
        for found in &self.loops {
            write!(f, "\n{found}")?;
        }
        if !self.scans.is_empty() {
            writeln!(f, "\nlinear scans")?;
        }
        for scan in &self.scans {
            write!(f, "\n{scan}")?;
        }
        if !self.forms.groups.is_empty() {
            write!(f, "\nforms\n\n{}", self.forms)?;
        }
        writeln!(f, "\nproofs")?;
        for Traced { stage, graph } in &self.graphs {
            match &graph.proof {
                None => {}
                Some(Err(why)) => writeln!(f, "\n{}, {stage}: NOT PROVED: {why}", graph.name)?,
                Some(Ok(proof)) if proof.steps().is_empty() => {}
                Some(Ok(proof)) => {
                    let steps = proof.steps().len();
                    writeln!(f, "\n{}, {stage}: {steps} steps, gone through again", graph.name)?;
                    write!(f, "{proof}")?;
                }
            }
        }
        writeln!(f, "\nlimits\n")?;
        if self.limits.is_empty() {
            writeln!(f, "none was hit")?;
        }
        self.limits.iter().try_for_each(|limit| writeln!(f, "{limit}"))
    }
}

impl Explanation {
    /// The same for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "loops": self.loops.iter().map(Loop::to_json).collect::<Vec<_>>(),
            "linear_scans": self.scans.iter().map(|s| json!({
                "function": s.function, "axis": s.axis, "key": s.key, "query": s.query,
                "written": [s.written.0, s.written.1], "log_decay": s.log_decay,
            })).collect::<Vec<_>>(),
            "forms": self.forms.groups.iter().map(group_json).collect::<Vec<_>>(),
            "rules": self.canonical.fired(),
            "proofs": self.graphs.iter().filter_map(proof_json).collect::<Vec<_>>(),
            "limits": self.limits,
        })
    }

    /// All e-graphs in the DOT language, one after the other.
    pub fn to_dot(&self) -> String {
        let graphs: Vec<&str> = self.graphs.iter().map(|g| g.graph.dot.as_str()).collect();
        graphs.join("\n")
    }
}

impl Loop {
    fn to_json(&self) -> Value {
        let ScanReport { name, outcome, groups, notes, overflowing, again, stop, place: _, .. } =
            &self.stable;
        let (what, reason) = match outcome {
            Outcome::Stabilized => ("stabilised", None),
            Outcome::Rewritten => ("rewritten", None),
            Outcome::LeftAlone { reason } => ("left alone", Some(reason)),
            Outcome::Refused { reason, blocking: _ } => ("refused", Some(reason)),
        };
        let states = self.linear.as_ref().and_then(|r| r.outcome.as_ref().ok()).map(|states| {
            let word = |s: &Stratum| match s {
                Stratum::Linear => "linear",
                Stratum::Kept => "loop",
            };
            states.iter().map(|(name, s)| (name.to_string(), word(s))).collect::<BTreeMap<_, _>>()
        });
        let refusal = self.linear.as_ref().and_then(|r| r.outcome.as_ref().err()).map(|e| e.to_string());
        json!({
            "name": name,
            "class": self.kind.map(|k| k.letter().to_string()),
            "outcome": what,
            "reason": reason,
            "overflowing": overflowing.iter().map(|o| json!({"reason": o.reason, "term": o.term})).collect::<Vec<_>>(),
            "scales": groups.iter().map(|g| json!({
                "scale": g.scale, "states": g.states, "axes": g.axes.to_string(), "update": g.update,
            })).collect::<Vec<_>>(),
            "notes": notes,
            "states": states,
            "not_linear": refusal,
            "derived_before": again,
            "limit_hit": *stop != Stop::Saturated,
        })
    }
}

fn group_json(group: &GroupReport) -> Value {
    let candidate = |c: &Candidate| {
        let priced = |what: &str, price: &Price| json!({ "form": c.form.to_string(), "seconds": price.seconds, "bytes": price.bytes, "outcome": what });
        let unpriced =
            |what: &str, why: &str| json!({ "form": c.form.to_string(), "outcome": what, "reason": why });
        match &c.outcome {
            FormOutcome::Chosen(price) => priced("chosen", price),
            FormOutcome::Slower(price) => priced("slower", price),
            FormOutcome::OverLimit(price) => priced("over the limit of memory", price),
            FormOutcome::Excluded(why) => unpriced("turned down", why),
            FormOutcome::Unpriced(why) => unpriced("not priced", why),
        }
    };
    json!({
        "function": group.function.as_str(),
        "axis": group.axis.to_string(),
        "operations": group.sites.iter().map(|s| s.operation).collect::<Vec<_>>(),
        "length": group.length,
        "expected_length": group.expected.length,
        "state_elements": group.state,
        "form": group.chosen.to_string(),
        "rules": group.rules,
        "candidates": group.candidates.iter().map(candidate).collect::<Vec<_>>(),
    })
}

fn proof_json(Traced { stage, graph }: &Traced) -> Option<Value> {
    let equation = |e: &Equation, what: &str| json!({ what: e.name, "before": e.before, "after": e.after });
    Some(match graph.proof.as_ref()? {
        Err(why) => json!({ "graph": graph.name, "stage": stage, "rules": graph.set.name(), "problem": why }),
        Ok(proof) => json!({
            "graph": graph.name,
            "stage": stage,
            "rules": graph.set.name(),
            "steps": proof.steps().iter().map(|e| equation(e, "rule")).collect::<Vec<_>>(),
            "claims": proof.claims().iter().map(|e| equation(e, "result")).collect::<Vec<_>>(),
        }),
    })
}
