//! `run`: a function on tensors from a file.

use std::path::Path;

use crate::support::{Run, f32s, fixture, folder, i32s, model_file, read_tensors, run_in, write_tensors};

/// Runs `average` on what is in `x.safetensors`.
fn average(here: &Path, options: &[&str]) -> Run {
    function(here, "average", options)
}

fn function(here: &Path, name: &str, options: &[&str]) -> Run {
    let file = fixture("average.xl");
    let mut arguments = vec!["run", &file, "--fn", name, "--in", "x.safetensors", "--out", "y.safetensors"];
    arguments.extend(options);
    run_in(here, &arguments)
}

#[test]
fn a_function_and_its_gradients() {
    let here = folder();
    let (input, output) = (here.path().join("x.safetensors"), here.path().join("y.safetensors"));
    let given =
        [f32s("x", &[2, 1], &[1.0, 3.0]), f32s("in.rate", &[1], &[0.0]), f32s("cot.y", &[2, 1], &[0.0, 1.0])];
    write_tensors(&input, &given);
    for target in ["cpu", "reference"] {
        average(here.path(), &["--target", target]).ok();
        let found = read_tensors(&output);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["y"], "{target}");
        assert_eq!(found["y"], (vec![2, 1], vec![0.5, 1.75]), "{target}");
        average(here.path(), &["--target", target, "--grad"]).ok();
        let found = read_tensors(&output);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["grad.rate", "grad.x", "y"], "{target}");
        assert_eq!(found["grad.x"], (vec![2, 1], vec![0.25, 0.5]), "{target}");
        assert_eq!(found["grad.rate"], (vec![1], vec![-0.75]), "{target}");
    }
    average(here.path(), &["--dtype", "f64", "--bind", "d=1", "--threads", "1"]).ok();
    assert_eq!(read_tensors(&output)["y"], (vec![2, 1], vec![0.5, 1.75]));
    average(here.path(), &["--bind", "d=2"]).refuses(&["`x`"]);
}

#[test]
fn a_printed_module_runs_as_its_source() {
    let here = folder();
    write_tensors(
        &here.path().join("x.safetensors"),
        &[f32s("x", &[3, 2], &[1.0, -2.0, 0.5, 3.0, -1.0, 0.25]), f32s("rate", &[2], &[0.3, -0.7])],
    );
    average(here.path(), &[]).ok();
    let wanted = read_tensors(&here.path().join("y.safetensors"));
    let printed = run_in(here.path(), &["print", &fixture("average.xl"), "--stage", "canonical"]).ok().out;
    std::fs::write(here.path().join("printed.xl"), printed).expect("it is written");
    let arguments =
        ["run", "printed.xl", "--fn", "average", "--in", "x.safetensors", "--out", "z.safetensors"];
    run_in(here.path(), &arguments).ok();
    assert_eq!(read_tensors(&here.path().join("z.safetensors")), wanted);
}

#[test]
fn extra_axes_are_mapped_and_the_rest_is_shared() {
    let here = folder();
    let x = [1.0, 3.0, 2.0, -1.0, 0.0, 4.0];
    write_tensors(
        &here.path().join("x.safetensors"),
        &[f32s("x", &[3, 2, 1], &x), f32s("rate", &[1], &[0.0])],
    );
    average(here.path(), &["--map", "b"]).ok();
    let found = read_tensors(&here.path().join("y.safetensors"));
    assert_eq!(found["y"], (vec![3, 2, 1], vec![0.5, 1.75, 1.0, 0.0, 0.0, 2.0]));
    average(here.path(), &[]).refuses(&["tensor `x` has 3 axes", "--map"]);
    average(here.path(), &["--map", "b,h"]).refuses(&["tensor `x` has 3 axes"]);
}

#[test]
fn compile_time_parameters_are_bound() {
    let here = folder();
    write_tensors(
        &here.path().join("x.safetensors"),
        &[f32s("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0]), i32s("count", &[2], &[1, -1])],
    );
    function(here.path(), "weighted", &["--bind", "factor=2.5"]).ok();
    let found = read_tensors(&here.path().join("y.safetensors"));
    assert_eq!(found["y"], (vec![2], vec![7.5, -17.5]));
    assert_eq!(found["total"], (vec![], vec![10.0]));
    function(here.path(), "weighted", &["--bind", "factor=true"]).refuses(&["factor"]);
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let here = folder();
    let input = here.path().join("x.safetensors");
    let rate = || f32s("rate", &[1], &[0.0]);
    write_tensors(&input, &[rate()]);
    average(here.path(), &[]).refuses(&["x.safetensors lacks", "`x`: f32[s, d]"]);
    write_tensors(&input, &[f32s("x", &[2, 1], &[1.0, 3.0]), rate()]);
    average(here.path(), &["--grad"]).refuses(&["`cot.y`: f32[s, d]"]);
    write_tensors(&input, &[f32s("x", &[2, 3], &[0.0; 6]), rate()]);
    average(here.path(), &[]).refuses(&["`rate`", "3"]);
    average(here.path(), &["--check-finite"]).refuses(&["`rate`", "3"]);
    write_tensors(&input, &[i32s("x", &[2, 1], &[1, 2]), rate()]);
    average(here.path(), &[]).refuses(&["`x`", "i32", "f32"]);
    average(here.path(), &["--check-finite"]).refuses(&["`x`", "i32", "f32"]);
    average(here.path(), &["--target", "reference"]).refuses(&["`x`", "i32", "f32"]);
    write_tensors(&input, &[f32s("x", &[2, 2], &[0.0; 4]), f32s("count", &[2], &[1.0, 1.0])]);
    function(here.path(), "weighted", &[]).refuses(&["`count`", "i32", "f32"]);
    function(here.path(), "wieghted", &[]).refuses(&["did you mean `weighted`?"]);
}

#[test]
fn no_steps_at_all_are_fine() {
    let here = folder();
    write_tensors(&here.path().join("x.safetensors"), &[f32s("x", &[0, 1], &[]), f32s("rate", &[1], &[0.0])]);
    average(here.path(), &[]).ok();
    assert_eq!(read_tensors(&here.path().join("y.safetensors"))["y"], (vec![0, 1], vec![]));
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure() {
    let here = folder();
    write_tensors(
        &here.path().join("x.safetensors"),
        &[f32s("x", &[1, 1], &[1.0]), f32s("rate", &[1], &[0.0])],
    );
    let file = fixture("average.xl");
    let arguments = ["run", &file, "--fn", "average", "--in", "x.safetensors", "--out", "none/y.safetensors"];
    run_in(here.path(), &arguments).fails(&["none/y.safetensors"]);
}

/// The README's own cell, by the README's own command, at several lengths and with two extra axes.
#[test]
fn the_readme_tells_the_truth() {
    let here = folder();
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("it is there");
    let cell =
        readme.split_once("```xl\n").and_then(|(_, rest)| rest.split_once("```")).expect("it has a cell").0;
    std::fs::write(here.path().join("cell.xl"), cell).expect("it is written");
    run_in(here.path(), &["check", "cell.xl"]).ok();
    run_in(here.path(), &["check", "cell.xl", "--grad", "--fn", "ema_memory"]).ok();
    let numbers = |count: usize, from: usize| -> Vec<f32> {
        (from..from + count).map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0).collect()
    };
    let (batch, heads, dk, dv) = (2, 3, 5, 4);
    for length in [1, 7, 1000] {
        let steps = batch * heads * length;
        let tensors = [
            f32s("q", &[batch, heads, length, dk], &numbers(steps * dk, 1)),
            f32s("k", &[batch, heads, length, dk], &numbers(steps * dk, 2)),
            f32s("v", &[batch, heads, length, dv], &numbers(steps * dv, 3)),
            f32s("f", &[batch, heads, length], &numbers(steps, 4)),
            f32s("cot.h", &[batch, heads, length, dv], &numbers(steps * dv, 5)),
        ];
        write_tensors(&here.path().join("x.safetensors"), &tensors);
        let results = |target: &str| {
            let fixed =
                ["run", "cell.xl", "--fn", "ema_memory", "--grad", "--map", "b,h", "--in", "x.safetensors"];
            let rest = ["--out", "y.safetensors", "--target", target];
            run_in(here.path(), &[&fixed[..], &rest[..]].concat()).ok();
            read_tensors(&here.path().join("y.safetensors"))
        };
        let (found, wanted) = (results("cpu"), results("reference"));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["grad.f", "grad.k", "grad.q", "grad.v", "h"]);
        for (name, (shape, values)) in &wanted {
            assert_eq!(&found[name].0, shape, "{name}");
            let scale = values.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            for (a, b) in found[name].1.iter().zip(values) {
                assert!((a - b).abs() <= 2e-5 * scale, "{name} at length {length}: {a} is not {b}");
            }
        }
    }
}

/// The cell as the paper prints it overflows where its input gate does.
#[test]
fn the_first_value_that_is_not_finite_is_found() {
    let here = folder();
    let gates = |value: f32| {
        let mut i = vec![0.0; 5];
        i[3] = value;
        [
            f32s("q", &[5, 2], &[0.1; 10]),
            f32s("k", &[5, 2], &[0.2; 10]),
            f32s("v", &[5, 3], &[0.3; 15]),
            f32s("i", &[5], &i),
            f32s("f", &[5], &[1.0; 5]),
        ]
    };
    let file = model_file("cells/mlstm.xl");
    let line = 1 + std::fs::read_to_string(&file)
        .expect("it is there")
        .lines()
        .position(|line| line.contains("C' = "))
        .expect("the cell has this equation");
    let cell = |options: &[&str]| {
        let mut arguments =
            vec!["run", &file, "--fn", "mlstm", "--in", "x.safetensors", "--out", "y.safetensors"];
        arguments.extend(options);
        run_in(here.path(), &arguments)
    };
    write_tensors(&here.path().join("x.safetensors"), &gates(1000.0));
    // Without the question, infinities are results like others.
    cell(&[]).ok();
    let place = format!("mlstm.xl:{line}:");
    cell(&["--check-finite"]).fails(&["`exp` in `mlstm` is not finite", "at s = 3", &place]);
    // This one overflows in single precision only.
    write_tensors(&here.path().join("x.safetensors"), &gates(100.0));
    cell(&["--check-finite"]).fails(&["`exp`", "at s = 3", &place]);
    cell(&["--check-finite", "--dtype", "f64"]).ok();
    write_tensors(&here.path().join("x.safetensors"), &gates(1.0));
    cell(&["--check-finite"]).ok();
}
