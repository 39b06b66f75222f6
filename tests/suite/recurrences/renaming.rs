//! Names decide nothing: every function, input, state, axis and local name of the zoo replaced by a random one gives the
//! same derivation up to names.

use super::derive::recurrence;
use super::zoo::ROWS;
use carousel_ir::{Graph, Module, Op, OpKind, philox};
use carousel_passes::forms::{Class, Recognition, Stratum};
use carousel_testkit::recurrence::Recurrence;
use std::collections::BTreeMap;

/// What the language itself says in the zoo.
const WORDS: [&str; 22] = [
    "fn",
    "let",
    "scan",
    "state",
    "yield",
    "sum",
    "exp",
    "log",
    "sigmoid",
    "logsigmoid",
    "tanh",
    "abs",
    "max",
    "min",
    "sqrt",
    "select",
    "iota",
    "cast",
    "f32",
    "broadcast",
    "reset",
    "reverse",
];

/// Replaces the identifiers of a text, each through `with`; comments go.
fn replaced(text: &str, with: &mut dyn FnMut(&str) -> String) -> String {
    let mut result = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let mut rest = line;
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            let (before, from) = rest.split_at(start);
            let end = from.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            result.push_str(before);
            let is_number = word.starts_with(|c: char| c.is_ascii_digit());
            result.push_str(&if is_number { word.to_string() } else { with(word) });
            rest = after;
        }
        result.push_str(rest);
        result.push('\n');
    }
    result
}

/// The text with new names, and what each name became.
fn renamed(text: &str, seed: u32) -> (String, BTreeMap<String, String>) {
    let mut names = BTreeMap::new();
    let text = replaced(text, &mut |word| {
        if WORDS.contains(&word) {
            return word.to_string();
        }
        let place = names.len() as u64;
        // Of any length, in no alphabetical order, all different.
        let draw = philox::uniform(seed, 1, 0, place);
        let letter = char::from(b'a' + (draw * 26.0) as u8);
        let long = "x".repeat((philox::uniform(seed, 2, 0, place) * 5.0) as usize);
        names.entry(word.to_string()).or_insert_with(|| format!("{letter}{long}{place}")).clone()
    });
    (text, names)
}

/// How often each operation occurs, in the bodies of loops too.
fn census(graph: &Graph, found: &mut BTreeMap<OpKind, usize>) {
    for node in &graph.nodes {
        *found.entry(node.op.kind()).or_default() += 1;
        if let Op::Scan { scan } = &node.op {
            census(&scan.body, found);
        }
    }
}

/// What the recogniser made of a loop: states by name, or the state in the way and the class.
type Recognised = Result<Vec<(String, Stratum)>, (Option<String>, Class)>;

/// A derivation up to names.
#[derive(PartialEq, Debug)]
struct Derivation {
    stable: String,
    linear: Vec<Recognised>,
    /// How often each operation occurs, derived and in every form.
    operations: Vec<BTreeMap<OpKind, usize>>,
}

/// The derivation, with names as `name` says.
fn derivation(recurrence: &Recurrence, name: &dyn Fn(&str) -> String) -> Derivation {
    let derived = &recurrence.derived;
    let recognised = |found: &Recognition| match &found.outcome {
        Ok(states) => Ok(states.iter().map(|(state, stratum)| (name(state.as_str()), *stratum)).collect()),
        Err(refusal) => Err((refusal.state.map(|state| name(state.as_str())), refusal.class)),
    };
    let operations = |module: &Module| {
        let mut found = BTreeMap::new();
        module.functions.iter().for_each(|f| census(&f.graph, &mut found));
        found
    };
    let forms = recurrence.ways().map(|way| operations(&recurrence.form(way).module));
    Derivation {
        stable: replaced(&derived.stable.to_string(), &mut |word| name(word)),
        linear: derived.linear.iter().map(recognised).collect(),
        operations: std::iter::once(operations(&derived.module)).chain(forms).collect(),
    }
}

#[test]
fn names_decide_nothing() {
    for (row, seed) in ROWS.iter().zip(1..) {
        let function = format!("{}_from", row.name);
        let original = recurrence(&row.text(), &function, &BTreeMap::new());
        let (text, names) = renamed(&row.text(), seed);
        assert!(names.len() > 5 && !text.contains(row.name), "{text}");
        let other = recurrence(&text, &names[&function], &BTreeMap::new());
        let new = |word: &str| names.get(word).cloned().unwrap_or(word.to_string());
        assert_eq!(derivation(&original, &new), derivation(&other, &str::to_string), "{}", row.name);
    }
}
