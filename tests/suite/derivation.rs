//! The paper's equations through the whole derivation: stabilised, recognised as linear scans, differentiated, and put
//! into each form, against the equations as they stand in numbers of extended range.

use carousel_autodiff::{Options as GradientOptions, gradient};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{FunctionId, Module, OpKind, philox};
use carousel_models::compile::{derived_with_reports, simplified};
use carousel_models::library::bundled;
use carousel_passes::forms::{Form, expand};
use carousel_reference::{Extended, Scalar, Tensor, evaluate};
use carousel_testkit::machine::Compiled;

const FORMS: [Form; 3] = [Form::Recurrent, Form::Parallel, Form::Chunkwise(16)];

/// The cell, mapped over batch and heads, as written.
fn cell() -> (Module, FunctionId) {
    elaborated(bundled("cells/mlstm.xl").expect("the cells are built in"), "mlstm")
}

/// The same before a norm.
fn normed_cell(eps: f64) -> (Module, FunctionId) {
    let text = format!(
        "use \"cells/mlstm.xl\"\nuse \"layers/norm.xl\"\n
         fn normed(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s]) -> (y: [s, dv]) {{
           let y = standardized<c = dv, eps = {eps}>(mlstm(q, k, v, i, f))
         }}"
    );
    elaborated(&text, "normed")
}

fn elaborated(text: &str, function: &str) -> (Module, FunctionId) {
    let load = |path: &str| bundled(path).map(str::to_string).ok_or(format!("no file `{path}`"));
    let program = parse_program("cell.xl", text, &load).unwrap();
    let map =
        ["q", "k", "v", "i", "f"].map(|input| (input.to_string(), vec!["b".to_string(), "h".to_string()]));
    let module =
        elaborate(&program, &[function], &Options { map: map.into(), ..Options::default() }).unwrap();
    let root = module.find(function).unwrap();
    (module, root)
}

/// The derived cell with its gradient, before forms are chosen.
fn derivation(module: &Module, root: FunctionId) -> (Module, FunctionId) {
    let derived = derived_with_reports(&simplified(module));
    let linear = derived.linear.iter().filter(|loop_| loop_.outcome.is_ok()).count();
    assert_eq!(linear, 1, "the loop is not recognised: {}", derived.linear[0]);
    gradient(&derived.module, root, &GradientOptions::default()).unwrap_or_else(|d| panic!("{d:?}"))
}

/// Positive data and cotangents, so that the problem is well conditioned; gates of the given size.
fn inputs<S: Scalar>(steps: usize, gates: f64) -> Vec<Tensor<S>> {
    let (b, h, dk, dv) = (2, 2, 3, 5);
    let tensor = |place: u32, shape: &[usize], low: f64, high: f64| {
        let count = shape.iter().product::<usize>() as u64;
        let draw = |i| low + (high - low) * f64::from(philox::uniform(5, place, 0, i));
        Tensor::floats(shape, (0..count).map(|i| f64::from(draw(i) as f32)))
    };
    vec![
        tensor(0, &[b, h, steps, dk], 0.1, 1.0),
        tensor(1, &[b, h, steps, dk], 0.1, 1.0),
        tensor(2, &[b, h, steps, dv], 0.1, 1.0),
        tensor(3, &[b, h, steps], -gates, gates),
        tensor(4, &[b, h, steps], -gates, gates),
        tensor(5, &[b, h, steps, dv], 0.1, 1.0),
    ]
}

fn worst(found: &[f64], wanted: &[f64]) -> f64 {
    let scale = wanted.iter().fold(0.1f64, |m, x| m.max(x.abs()));
    let errors = found.iter().zip(wanted).map(|(a, b)| (a - b).abs() / scale);
    // A NaN must not be lost in a comparison.
    errors.fold(0.0, |m, e| if e.is_nan() || e > m { e } else { m })
}

/// What f32 may be wrong by, where the plain evaluation of the same form in f32 is wrong by `reference`.
fn single_precision(reference: f64) -> f64 {
    (10.0 * reference).max(1e-5)
}

#[test]
fn every_form_is_the_paper_s_equations() {
    every_form_is(cell(), &[(1, 2.0), (2, 20.0), (7, 1000.0), (33, 2.0), (33, 1000.0), (64, 60.0)]);
}

#[test]
fn a_normaliser_before_a_norm_without_an_epsilon_has_no_gradient() {
    // Gates at which what is divided by is a number of f64.
    every_form_is(normed_cell(0.0), &[(1, 2.0), (2, 20.0), (33, 2.0), (64, 20.0)]);
    let scans = |eps: f64| {
        let (module, root) = normed_cell(eps);
        let (derived, root) = derivation(&module, root);
        let nodes = &simplified(&derived)[root].graph.nodes;
        nodes.iter().filter(|n| n.op.kind() == OpKind::LinRead).count()
    };
    assert_eq!(scans(1e-6) - scans(0.0), 2, "neither queries nor keys get anything of the normaliser");
}

fn every_form_is((module, root): (Module, FunctionId), cases: &[(usize, f64)]) {
    let (written, written_root) = gradient(&module, root, &GradientOptions::default()).unwrap();
    let (derived, derived_root) = derivation(&module, root);
    for &(steps, gates) in cases {
        let wanted = evaluate::<Extended>(&written, written_root, &inputs(steps, gates)).unwrap();
        for form in FORMS {
            let (expanded, _) = expand(&derived, &form);
            let found = evaluate::<f64>(&expanded, derived_root, &inputs(steps, gates)).unwrap();
            for ((found, wanted), output) in
                found.iter().zip(&wanted).zip(&written[written_root].graph.outputs)
            {
                let error = worst(&found.to_f64(), &wanted.to_f64());
                assert!(error <= 1e-10, "{form:?}, {steps} steps, gates {gates}: {} {error:e}", output.name);
            }
        }
    }
}

#[test]
fn machine_code_is_finite_and_right_at_extreme_gates() {
    let (module, root) = cell();
    let (written, written_root) = gradient(&module, root, &GradientOptions::default()).unwrap();
    let (derived, derived_root) = derivation(&module, root);
    let outputs = &written[written_root].graph.outputs;
    for form in FORMS {
        let (expanded, _) = expand(&derived, &form);
        let expanded = simplified(&expanded);
        let compiled = Compiled::new(&expanded, derived_root, 2).unwrap();
        for (steps, gates) in [(1, 1000.0), (40, 1.0), (40, 120.0), (40, 1000.0), (257, 20.0)] {
            let wanted = evaluate::<Extended>(&written, written_root, &inputs(steps, gates)).unwrap();
            let single = evaluate::<f32>(&expanded, derived_root, &inputs(steps, gates)).unwrap();
            let found = compiled.run(&inputs(steps, gates)).unwrap();
            for (((found, single), wanted), output) in found.iter().zip(&single).zip(&wanted).zip(outputs) {
                let tolerance = single_precision(worst(&single.to_f64(), &wanted.to_f64()));
                let error = worst(&found.values, &wanted.to_f64());
                assert!(
                    error <= tolerance,
                    "{form:?}, {steps} steps, gates {gates}: {} {error:e} above {tolerance:e}",
                    output.name
                );
            }
        }
    }
}
