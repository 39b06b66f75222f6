//! The form that is chosen for a linear scan is nearly the fastest one: every form is measured.
//!
//! Times need a machine that does nothing else: run this test alone, with `--ignored --nocapture`.

use carousel_autodiff::{Options as GradientOptions, gradient};
use carousel_core::backend::{Data, DataMut, Executable, Tensor};
use carousel_core::program::Port;
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{FunctionId, Module, Name};
use carousel_models::compile::{Engine, derived};
use carousel_models::forms::FormOptions;
use carousel_passes::forms::{Form, FormReport, Outcome, Wanted};
use carousel_tests::filetest::load_library;
use std::time::{Duration, Instant};

/// A cell whose state has a width, for a batch that comes when it runs.
struct Cell {
    file: &'static str,
    function: &'static str,
    inputs: &'static [&'static str],
    state: fn(u64) -> Vec<(&'static str, u64)>,
    widths: &'static [u64],
    lengths: &'static [u64],
}

/// A decay a step, one a key, and with a correction of the state.
const CELLS: [Cell; 3] = [
    Cell {
        file: "cells/mlstm.xl",
        function: "mlstm",
        inputs: &["q", "k", "v", "i", "f"],
        state: square,
        widths: &[8, 16, 32, 64, 128, 256],
        lengths: &[1, 16, 64, 256, 1024, 4096],
    },
    Cell {
        file: "zoo/gla.xl",
        function: "gla",
        inputs: &["q", "k", "v", "g"],
        state: square,
        widths: &[8, 32, 64],
        lengths: &[16, 256, 4096],
    },
    Cell {
        file: "zoo/deltanet.xl",
        function: "deltanet",
        inputs: &["q", "k", "v", "b"],
        state: square,
        widths: &[8, 32, 64],
        lengths: &[16, 256, 4096],
    },
];

fn square(d: u64) -> Vec<(&'static str, u64)> {
    vec![("dk", d), ("dv", d)]
}

const BATCHES: [u64; 2] = [1, 16];
const FORMS: [Form; 7] = [
    Form::Recurrent,
    Form::Parallel,
    Form::Chunkwise(16),
    Form::Chunkwise(32),
    Form::Chunkwise(64),
    Form::Chunkwise(128),
    Form::Chunkwise(256),
];

fn prepared(cell: &Cell, width: u64) -> (Module, FunctionId) {
    let text = load_library(cell.file).unwrap_or_else(|why| panic!("{why}"));
    let program = parse_program(cell.file, &text, &|p| Err(p.to_string())).unwrap_or_else(|e| panic!("{e}"));
    let sizes = (cell.state)(width).into_iter().map(|(name, size)| (name.to_string(), size)).collect();
    let map = cell.inputs.iter().map(|name| (name.to_string(), vec!["b".to_string()]));
    let options = Options { sizes, map: map.collect(), ..Options::default() };
    let module = elaborate(&program, &[cell.function], &options).unwrap_or_else(|d| panic!("{d:?}"));
    let root = module.find(cell.function).expect("elaborated functions are there");
    (derived(&module), root)
}

/// The shortest of many runs.
fn seconds(executable: &dyn Executable, size: &dyn Fn(Name) -> Option<u64>) -> f64 {
    let shape = |port: &Port| -> Vec<u64> {
        port.sizes.iter().map(|s| s.evaluate(size).expect("every size is given")).collect()
    };
    let shapes: Vec<Vec<u64>> = executable.inputs().iter().map(shape).collect();
    let numbers = |shape: &Vec<u64>| -> Vec<f32> {
        (0..shape.iter().product::<u64>()).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
    };
    let data: Vec<Vec<f32>> = shapes.iter().map(numbers).collect();
    let inputs: Vec<Tensor<'_>> =
        data.iter().zip(&shapes).map(|(v, shape)| Tensor { data: Data::F32(v), shape }).collect();
    let mut data: Vec<Vec<f32>> =
        executable.outputs().iter().map(|p| vec![0.0; shape(p).iter().product::<u64>() as usize]).collect();
    let mut outputs: Vec<DataMut<'_>> = data.iter_mut().map(|v| DataMut::F32(v)).collect();
    let (mut best, mut runs, started) = (f64::INFINITY, 0, Instant::now());
    while runs < 4 || (runs < 1000 && started.elapsed() < Duration::from_millis(150)) {
        let run = Instant::now();
        executable.run(&inputs, &mut outputs).unwrap_or_else(|e| panic!("{e}"));
        best = best.min(run.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

/// The form that was chosen first, then those whose price is not beyond all hope.
fn candidates(report: &FormReport) -> Vec<Form> {
    let group = &report.groups[0];
    let prices = group.candidates.iter().filter_map(|c| match &c.outcome {
        Outcome::Chosen(price) | Outcome::Slower(price) => Some((c.form, price.seconds)),
        Outcome::OverLimit(_) | Outcome::Excluded(_) | Outcome::Unpriced(_) => None,
    });
    let mut prices: Vec<(Form, f64)> = prices.collect();
    prices.sort_by(|a, b| a.1.total_cmp(&b.1));
    let cheapest = prices[0].1;
    prices.iter().filter(|(_, price)| *price < 6.0 * cheapest).map(|(form, _)| *form).collect()
}

#[test]
#[ignore = "measures time for many minutes: run it alone, on a machine that does nothing else"]
fn the_chosen_form_is_nearly_the_fastest() {
    let mut regrets: Vec<f64> = Vec::new();
    for cell in &CELLS {
        for &width in cell.widths {
            let (forward, f) = prepared(cell, width);
            let (backward, g) =
                gradient(&forward, f, &GradientOptions::default()).unwrap_or_else(|d| panic!("{d:?}"));
            for (pass, module, root) in [("fwd", &forward, f), ("fwdbwd", &backward, g)] {
                let compiled = FORMS.map(|form| {
                    let forms = FormOptions { wanted: Wanted::Only(form), ..FormOptions::default() };
                    let engine = Engine::cpu(Some(1)).with_forms(forms);
                    engine.compile(module, root).unwrap_or_else(|d| panic!("{d:?}"))
                });
                for &length in cell.lengths {
                    for batch in BATCHES {
                        let sizes = [("s", length), ("b", batch)];
                        let options = FormOptions::default().expecting(sizes);
                        let engine = Engine::cpu(Some(1)).with_forms(options);
                        let chosen =
                            engine.compile_with_report(module, root).unwrap_or_else(|d| panic!("{d:?}"));
                        let size = |n: Name| sizes.iter().find(|(s, _)| *s == n.as_str()).map(|(_, n)| *n);
                        let forms = candidates(&chosen.forms);
                        let times: Vec<f64> = forms
                            .iter()
                            .map(|form| {
                                let place = FORMS.iter().position(|f| f == form).expect("all were compiled");
                                seconds(compiled[place].as_ref(), &size)
                            })
                            .collect();
                        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
                        let regret = times[0] / best;
                        println!(
                            "{} {pass} d={width} s={length} b={batch}: {} takes {:.1} us, {regret:.2} times the best",
                            cell.function,
                            forms[0],
                            times[0] * 1e6
                        );
                        regrets.push(regret);
                    }
                }
            }
        }
    }
    let mean = regrets.iter().sum::<f64>() / regrets.len() as f64;
    let worst = regrets.iter().copied().fold(1.0, f64::max);
    let off = regrets.iter().filter(|r| **r > 1.2).count();
    println!("{} cases: mean {mean:.3}, worst {worst:.2}, {off} above 1.2", regrets.len());
    assert!(mean < 1.1, "the mean is {mean}");
    assert!(off * 10 <= regrets.len(), "{off} of {} are more than 1.2 times the best", regrets.len());
}
