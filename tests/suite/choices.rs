//! Which forms are chosen for which sizes on a named machine: a table, so that a change of it is seen.

use carousel_autodiff::{Options as GradientOptions, gradient};
use carousel_core::cost::{Machine, Profile};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_models::compile::{derived, in_forms_with_report, simplified};
use carousel_models::forms::FormOptions;
use carousel_models::library::bundled;
use carousel_passes::forms::FormReport;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is computed of a cell.
#[derive(Clone, Copy)]
enum Pass {
    Forward,
    Backward,
}

struct Cell {
    file: &'static str,
    function: &'static str,
    inputs: &'static [&'static str],
    state: fn(u64) -> Vec<(&'static str, u64)>,
}

const MATRIX: Cell = Cell {
    file: "cells/mlstm.xl",
    function: "mlstm",
    inputs: &["q", "k", "v", "i", "f"],
    state: |d| vec![("dk", d), ("dv", d)],
};

/// The choice for states of width `d`, sequences of `s` steps and a batch of `b`; the latter two come when it runs.
fn report(cell: &Cell, pass: Pass, profile: &Profile, [d, s, b]: [u64; 3]) -> FormReport {
    let text = bundled(cell.file).expect("it is built in");
    let program = parse_program(cell.file, text, &|p| Err(p.to_string())).unwrap_or_else(|e| panic!("{e}"));
    let sizes = (cell.state)(d).into_iter().map(|(name, size)| (name.to_string(), size)).collect();
    let map = cell.inputs.iter().map(|name| (name.to_string(), vec!["b".to_string()]));
    let options = Options { sizes, map: map.collect(), ..Options::default() };
    let module = elaborate(&program, &[cell.function], &options).unwrap_or_else(|d| panic!("{d:?}"));
    let root = module.find(cell.function).expect("elaborated functions are there");
    let module = derived(&module);
    let (module, root) = match pass {
        Pass::Forward => (module, root),
        Pass::Backward => {
            gradient(&module, root, &GradientOptions::default()).unwrap_or_else(|d| panic!("{d:?}"))
        }
    };
    let sizes = BTreeMap::from([("s".to_string(), s), ("b".to_string(), b)]);
    let options = FormOptions {
        machine: Machine { profile: profile.clone(), ..Machine::default() },
        sizes,
        ..FormOptions::default()
    };
    in_forms_with_report(&simplified(&module), &[root], &options).1
}

fn table(cell: &Cell, profile: &str, widths: &[u64]) -> String {
    let profile = Profile::named(profile).expect("it is built in");
    let mut text = format!("{} on {}, forward | backward\n", cell.function, profile.name);
    for &d in widths {
        for b in [1, 16] {
            write!(text, "{:<14}", format!("d={d} b={b}")).expect("a string takes it");
            for s in [1, 16, 64, 256, 1024, 4096] {
                let [forward, backward] = [Pass::Forward, Pass::Backward]
                    .map(|pass| report(cell, pass, &profile, [d, s, b]).summary())
                    .map(|s| {
                        s.replace("recurrent", "rec").replace("parallel", "par").replace("chunkwise:", "c")
                    });
                write!(text, " {:<11}", format!("{forward}|{backward}")).expect("a string takes it");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
    }
    text
}

#[test]
fn matrix_memories() {
    insta::assert_snapshot!(table(&MATRIX, "x86-avx512", &[16, 64, 128, 256]));
}

#[test]
fn the_same_choice_again() {
    let profile = Profile::named("neon").expect("it is built in");
    let once = || report(&MATRIX, Pass::Backward, &profile, [64, 256, 4]);
    assert_eq!(once(), once());
}

#[test]
fn reports_name_the_alternatives() {
    let profile = Profile::default();
    let report = report(&MATRIX, Pass::Backward, &profile, [32, 128, 4]);
    let text = report.to_string();
    for part in
        ["mlstm", "along s", "taken as 128", "state of 1024 elements", "chosen", "recurrent", "chunkwise:256"]
    {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    assert_eq!(report.groups.len(), 1, "the gates are shared:\n{text}");
}
