//! The search for forms, with prices that the test makes up: which candidates there are, what is taken, and what is said.

mod support;

use carousel_ir::{
    Axes, Builder, DType, Direction, Edge, Function, FunctionId, FunctionKind, Graph, Line, Module, Name, Op,
    Read, Residuals, Size, ValueId,
};
use carousel_passes::forms::{
    Certainty, Chosen, Expected, Form, FormReport, Held, Outcome, Price, PriceForms, SearchOptions, Wanted,
    choose, expand,
};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A reader, a normaliser and a second memory with gates of its own, along `s`.
fn cell(length: Size, memories: usize) -> Graph {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let s = b.axis("s", length);
    let k = b.axis("k", Size::Known(8));
    let v = b.axis("v", Size::Known(8));
    let line = Line { axis: s, direction: Direction::Forward, edge: Edge::Before, read: Read::New };
    let q = b.argument("q", DType::F32, &[s, k]);
    let w = b.argument("w", DType::F32, &[s, v]);
    let cut = b.argument("cut", DType::Bool, &[s]);
    let one = b.constant(1.0, DType::F32);
    for memory in 0..memories {
        let l = b.argument(&format!("l{memory}"), DType::F32, &[s]);
        let matrix = b.argument(&format!("matrix{memory}"), DType::F32, &[k, v]);
        let vector = b.argument(&format!("vector{memory}"), DType::F32, &[k]);
        let key = Axes::from(k);
        let (read, _) = b.linread(&line, key.clone(), [q, q, w, l, cut, matrix]);
        let ones = b.broadcast(one, &s.into());
        let (norm, _) = b.linread(&line, key, [q, q, ones, l, cut, vector]);
        let y = b.div(read, norm);
        b.output(&format!("y{memory}"), y);
    }
    b.finish().unwrap_or_else(|problems| panic!("{}", problems[0]))
}

fn function(name: &str, graph: Graph) -> Function {
    Function { name: name.into(), kind: FunctionKind::Fn, residuals: Residuals::Save, graph }
}

fn module(length: Size, memories: usize) -> (Module, FunctionId) {
    let mut module = Module::default();
    let root = module.push(function("f", cell(length, memories)));
    (module, root)
}

/// Operations of one kind in a graph and in the bodies of its loops.
fn count(graph: &Graph, is: &dyn Fn(&Op) -> bool) -> usize {
    let inside = |op: &Op| if let Op::Scan { scan } = op { count(&scan.body, is) } else { 0 };
    graph.nodes.iter().map(|n| usize::from(is(&n.op)) + inside(&n.op)).sum()
}

/// A made-up machine: loops along `s` cost 1 each, chunks' loops `chunk` each, and all pairs `pairs`.
struct Machine {
    recurrent: f64,
    chunk: f64,
    pairs: f64,
    bytes: fn(&Graph) -> u64,
    held: u64,
    length: Expected,
    asked: RefCell<usize>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            recurrent: 1.0,
            chunk: 2.0,
            pairs: 3.0,
            bytes: |_| 10,
            held: 0,
            length: Expected { length: 1024, certainty: Certainty::Said },
            asked: RefCell::new(0),
        }
    }
}

impl PriceForms for Machine {
    fn price(&self, module: &Module, function: FunctionId, _: &BTreeSet<Name>) -> Result<Price, String> {
        *self.asked.borrow_mut() += 1;
        let graph = &module[function].graph;
        assert_eq!(count(graph, &|op| Line::of(op).is_some()), 0, "a linear scan is left");
        let loops = |name: &str| {
            let is = |op: &Op| {
                if let Op::Scan { scan } = op {
                    scan.axis.as_str().split('.').next() == Some(name)
                } else {
                    false
                }
            };
            count(graph, &is) as f64
        };
        let pairs = count(graph, &|op| matches!(op, Op::CumSum { .. })) as f64;
        let seconds = self.recurrent * loops("s") + self.chunk * loops("chunk") + self.pairs * pairs;
        Ok(Price { seconds, bytes: (self.bytes)(graph) })
    }

    fn expected(&self, length: &Size) -> Expected {
        match length.known() {
            Some(length) => Expected { length, certainty: Certainty::Known },
            None => self.length,
        }
    }

    fn held(&self, _: &Module, _: FunctionId, _: &BTreeSet<Name>) -> Result<Held, String> {
        Ok(Held::from([(Name::new("f"), self.held)]))
    }
}

fn search(machine: &Machine, module: &Module, root: FunctionId) -> (Chosen, FormReport) {
    choose(module, &[root], machine, &SearchOptions::default())
}

fn taken(report: &FormReport) -> Vec<Form> {
    report.groups.iter().map(|g| g.chosen).collect()
}

#[test]
fn the_cheapest_form_is_taken() {
    let (module, f) = module(Size::symbol("s"), 1);
    let (_, report) = search(&Machine::default(), &module, f);
    assert_eq!(taken(&report), [Form::Recurrent]);
    let machine = Machine { recurrent: 1e3, ..Machine::default() };
    let (chosen, report) = search(&machine, &module, f);
    // No loop at all: all pairs at once.
    assert_eq!(taken(&report), [Form::Parallel]);
    let (expanded, done) = expand(&module, &chosen);
    assert!(done.iter().all(|d| d.form == Form::Parallel), "{done:?}");
    assert_eq!(count(&expanded[f].graph, &|op| matches!(op, Op::Scan { .. })), 0);
}

#[test]
fn equally_cheap_candidates_give_the_first() {
    let (module, f) = module(Size::symbol("s"), 1);
    let machine = Machine { recurrent: 0.0, chunk: 0.0, pairs: 0.0, ..Machine::default() };
    assert_eq!(taken(&search(&machine, &module, f).1), [Form::Recurrent]);
}

#[test]
fn scans_with_the_same_gates_take_one_form_and_others_their_own() {
    let (module, f) = module(Size::symbol("s"), 2);
    let (_, report) = search(&Machine { recurrent: 1e3, ..Machine::default() }, &module, f);
    assert_eq!(report.groups.len(), 2, "{report}");
    assert!(report.groups.iter().all(|g| g.sites.len() == 2), "{report}");
    // The state of the memory, not that of its normaliser.
    assert!(report.groups.iter().all(|g| g.state == "64"), "{report}");
    assert_eq!(taken(&report), [Form::Parallel; 2]);
}

#[test]
fn a_forward_scan_and_its_derivatives_are_one_group() {
    let (module, f) = module(Size::symbol("s"), 1);
    let (module, g) = support::differentiated(&module, f);
    let (_, report) = search(&Machine::default(), &module, g);
    assert_eq!(report.groups.len(), 1, "{report}");
    let group = &report.groups[0];
    assert!(group.sites.iter().any(|s| s.operation != "linread"), "{:?}", group.sites);
    assert!(group.sites.iter().any(|s| s.line.direction == Direction::Reverse), "{:?}", group.sites);
}

#[test]
fn a_length_that_nobody_knows_is_not_done_in_pairs() {
    let (module, f) = module(Size::symbol("s"), 1);
    let length = Expected { length: 1024, certainty: Certainty::Guessed };
    let machine = Machine { recurrent: 1e3, length, ..Machine::default() };
    let (_, report) = search(&machine, &module, f);
    assert_eq!(taken(&report), [Form::Chunkwise(16)]);
    let text = report.to_string();
    assert!(text.contains("guessed to be 1024"), "{text}");
    assert!(text.contains("parallel       turned down: its work grows with the square"), "{text}");
}

#[test]
fn chunks_are_shorter_than_what_is_known() {
    let (module, f) = module(Size::Known(64), 1);
    let (_, report) = search(&Machine::default(), &module, f);
    let excluded = |form: Form| {
        let candidate = report.groups[0].candidates.iter().find(|c| c.form == form).expect("considered");
        matches!(candidate.outcome, Outcome::Excluded(_))
    };
    assert!(
        !excluded(Form::Chunkwise(32)) && excluded(Form::Chunkwise(64)) && excluded(Form::Chunkwise(256))
    );
}

#[test]
fn memory_is_limited() {
    let (module, f) = module(Size::symbol("s"), 1);
    let large_without_loops = |graph: &Graph| {
        let loops = count(graph, &|op| matches!(op, Op::Scan { .. })) as u64;
        if loops == 0 { 5000 } else { 100 }
    };
    let machine = Machine { recurrent: 1e3, bytes: large_without_loops, ..Machine::default() };
    let with = |limit| {
        let options = SearchOptions { memory_limit: Some(limit), ..SearchOptions::default() };
        choose(&module, &[f], &machine, &options).1
    };
    assert_eq!(taken(&with(5000)), [Form::Parallel]);
    let report = with(4999);
    assert_eq!(taken(&report), [Form::Chunkwise(16)]);
    assert!(report.warnings().is_empty());
    assert!(report.to_string().contains("more than the limit of memory"), "{report}");
    // Nothing fits: the smallest one, and a warning.
    let report = with(99);
    assert_eq!(taken(&report), [Form::Recurrent]);
    let warnings = report.warnings();
    assert_eq!(warnings.len(), 2, "of the function and of the program: {warnings:?}");
    assert!(warnings[0].contains("keeps the limit of 99 bytes"), "{}", warnings[0]);
    assert!(warnings[0].contains("`f`") && warnings[0].contains("`s`"), "{}", warnings[0]);
    assert!(warnings[1].contains("`f` is planned to take 100 bytes"), "{}", warnings[1]);
}

#[test]
fn what_callers_hold_is_not_left() {
    let (module, f) = module(Size::symbol("s"), 1);
    let large_without_loops = |graph: &Graph| {
        let loops = count(graph, &|op| matches!(op, Op::Scan { .. })) as u64;
        if loops == 0 { 5000 } else { 100 }
    };
    let with = |held| {
        let machine = Machine { recurrent: 1e3, bytes: large_without_loops, held, ..Machine::default() };
        let options = SearchOptions { memory_limit: Some(6000), ..SearchOptions::default() };
        choose(&module, &[f], &machine, &options).1
    };
    assert_eq!(taken(&with(1000)), [Form::Parallel]);
    assert_eq!(taken(&with(1001)), [Form::Chunkwise(16)]);
    let warnings = with(5950).warnings();
    assert!(warnings[0].contains("of which callers hold 5.8 KiB"), "{warnings:?}");
}

#[test]
fn what_is_wanted_is_taken() {
    let (module, f) = module(Size::symbol("s"), 1);
    let machine = Machine::default();
    let with = |wanted: &str| {
        let wanted = wanted.parse().unwrap_or_else(|e| panic!("{e}"));
        taken(&choose(&module, &[f], &machine, &SearchOptions { wanted, ..SearchOptions::default() }).1)
    };
    assert_eq!(with("auto"), [Form::Recurrent]);
    assert_eq!(with("parallel"), [Form::Parallel]);
    assert_eq!(with("chunkwise:100"), [Form::Chunkwise(100)]);
    assert_eq!(with("chunkwise"), [Form::Chunkwise(16)]);
    for wrong in ["", "fast", "chunkwise:", "chunkwise:0", "chunkwise:-1", "chunkwise:9999999", "parallel:3"]
    {
        assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
    }
}

/// A function that calls each of these once, on inputs of its own.
fn caller(module: &Module, callees: &[FunctionId]) -> Graph {
    let mut b = Builder::new(module);
    for (number, callee) in callees.iter().enumerate() {
        let graph = &module[*callee].graph;
        graph.axes.iter().for_each(|(axis, size)| {
            b.axis(axis.as_str(), size.clone());
        });
        let operands: Vec<ValueId> = graph
            .inputs
            .iter()
            .map(|i| {
                let axes: Vec<_> = i.ty.axes.iter().collect();
                b.argument(&format!("{}.{number}", i.name), i.ty.dtype, &axes)
            })
            .collect();
        let results = b.call(*callee, &operands);
        b.output(&format!("y.{number}"), results[0]);
    }
    b.finish().unwrap_or_else(|problems| panic!("{}", problems[0]))
}

#[test]
fn the_effort_does_not_grow_with_the_number_of_equal_functions() {
    let mut module = Module::default();
    let blocks: Vec<FunctionId> =
        (0..6).map(|n| module.push(function(&format!("block{n}"), cell(Size::symbol("s"), 1)))).collect();
    let graph = caller(&module, &blocks);
    let root = module.push(function("root", graph));
    let machine = Machine { recurrent: 1e3, ..Machine::default() };
    let (chosen, report) = search(&machine, &module, root);
    assert_eq!(*machine.asked.borrow(), 7, "one price for each form");
    assert_eq!(report.priced, 7);
    assert_eq!(taken(&report), [Form::Parallel; 6]);
    let (_, done) = expand(&module, &chosen);
    assert!(done.len() == 12 && done.iter().all(|d| d.form == Form::Parallel), "{done:?}");
}

#[test]
fn functions_that_nothing_reaches_are_not_searched() {
    let mut module = Module::default();
    module.push(function("unused", cell(Size::symbol("s"), 2)));
    let root = module.push(function("f", cell(Size::symbol("s"), 1)));
    let (_, report) = search(&Machine::default(), &module, root);
    assert_eq!(report.groups.len(), 1);
    assert_eq!(report.summary(), "recurrent");
}
