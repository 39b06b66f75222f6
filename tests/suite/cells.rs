//! Whole cells as machine code with their gradients, compiled once and run at several lengths: the reference's numbers.

use crate::expected::Expected;
use carousel_autodiff::{Options as GradientOptions, gradient};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{Axis, FunctionId, Module, Name, RenderStyle, Size, philox};
use carousel_models::library::bundled;
use carousel_reference::Tensor;
use carousel_testkit::machine::{Compiled, canonical};
use carousel_tests::workspace;
use std::collections::BTreeMap;

/// A cell with the derivative of all it returns by all it takes.
struct Cell {
    /// As written, for the reference.
    written: (Module, FunctionId),
    compiled: Compiled,
}

impl Cell {
    /// Compiles, once. `map` says which inputs have which further axes; all sizes are dynamic.
    fn new(text: &str, function: &str, map: &[(&str, &[&str])]) -> Cell {
        let load = |path: &str| bundled(path).map(str::to_string).ok_or_else(|| format!("no file `{path}`"));
        let program = parse_program("cell.xl", text, &load).unwrap_or_else(|failed| panic!("{failed}"));
        let map: BTreeMap<String, Vec<String>> = map
            .iter()
            .map(|(input, axes)| (input.to_string(), axes.iter().map(ToString::to_string).collect()))
            .collect();
        let module = elaborate(&program, &[function], &Options { map, ..Options::default() })
            .unwrap_or_else(|d| panic!("{}", program.sources.render(&d, RenderStyle::Plain)));
        let root = module.find(function).expect("elaborated functions are there");
        let derive = |module: &Module| {
            gradient(module, root, &GradientOptions::default()).unwrap_or_else(|d| panic!("{d:?}"))
        };
        let (simplified, derived) = derive(&canonical(&module).unwrap_or_else(|why| panic!("{why}")));
        let simplified = canonical(&simplified).unwrap_or_else(|why| panic!("{why}"));
        let compiled = Compiled::new(&simplified, derived, 2).unwrap_or_else(|why| panic!("{why}"));
        Cell { written: derive(&module), compiled }
    }

    /// Runs the one executable at these sizes and compares. `range` tells what an input is drawn from.
    fn agrees_at(&self, sizes: &[(&str, u64)], range: &dyn Fn(&str) -> (f64, f64)) {
        let (module, root) = &self.written;
        let graph = &module[*root].graph;
        let size = |name: Name| sizes.iter().find(|(n, _)| *n == name.as_str()).map(|(_, size)| *size);
        let axis = |axis: Axis| graph.axes.size(axis).evaluate(&size).expect("all sizes are given") as usize;
        let tensor = |(place, input): (usize, &carousel_ir::Input)| {
            let shape: Vec<usize> = input.ty.axes.iter().map(axis).collect();
            let (low, high) = range(input.name.as_str());
            let draw = |i| low + (high - low) * f64::from(philox::uniform(11, place as u32, 0, i));
            // Numbers of f32, as that is what machine code is given.
            let draws = (0..shape.iter().product::<usize>() as u64).map(|i| f64::from(draw(i) as f32));
            Tensor::floats(&shape, draws)
        };
        let inputs: Vec<Tensor<f64>> = graph.inputs.iter().enumerate().map(tensor).collect();
        let expected = Expected::new(module, *root, &inputs);
        let found = self.compiled.run(&inputs).unwrap_or_else(|why| panic!("{why}"));
        let compared = expected.compare(&found, expected.least_scale());
        compared.unwrap_or_else(|why| panic!("{sizes:?}: {why}"));
    }

    /// Whether the size of `axis` is left open in every input that has it.
    fn is_open(&self, axis: &str) -> bool {
        use carousel_core::backend::Executable as _;
        let inputs = self.compiled.executable().inputs().iter();
        let mut sizes = inputs.flat_map(|port| port.ty.axes.iter().zip(&port.sizes));
        sizes.all(|(a, size)| a.as_str() != axis || matches!(size, Size::Symbol(_)))
    }
}

/// The cell of the README.
fn readme_cell() -> String {
    let readme = workspace::read("README.md").expect("the README");
    let (_, rest) = readme.split_once("```xl\n").expect("a cell in the README");
    let (cell, _) = rest.split_once("```").expect("the end of the cell");
    cell.to_string()
}

const README_INPUTS: [&str; 4] = ["q", "k", "v", "f"];

fn moderate(_: &str) -> (f64, f64) {
    (-1.0, 1.0)
}

#[test]
fn the_ten_line_cell_of_the_readme_runs_at_every_length() {
    let text = readme_cell();
    assert!(text.lines().count() <= 10, "the cell of ten lines has {}", text.lines().count());
    let cell = Cell::new(&text, "ema_memory", &[]);
    assert!(cell.is_open("s"));
    let before = cell.compiled.executable().program().clone();
    for length in [1, 7, 1000] {
        cell.agrees_at(&[("s", length), ("dk", 6), ("dv", 5)], &moderate);
    }
    assert_eq!(*cell.compiled.executable().program(), before, "one program serves every length");
}

#[test]
fn the_cell_of_the_readme_maps_over_batch_and_heads() {
    let axes: &[&str] = &["b", "h"];
    let cell = Cell::new(&readme_cell(), "ema_memory", &README_INPUTS.map(|input| (input, axes)));
    for (length, batch) in [(1, 3), (33, 2), (7, 1)] {
        cell.agrees_at(&[("s", length), ("b", batch), ("h", 3), ("dk", 8), ("dv", 11)], &moderate);
    }
}

/// Gates of +-30, states that are passed in, everything else moderate.
fn extreme(input: &str) -> (f64, f64) {
    match input {
        "i" | "f" => (-30.0, 30.0),
        // A normaliser is a sum of positive weights.
        "n0" => (0.5, 1.5),
        _ => (-1.0, 1.0),
    }
}

#[test]
fn the_mlstm_runs_with_states_passed_in_and_extreme_gates() {
    let text = "use \"reference/mlstm.xl\"\n";
    let axes: &[&str] = &["b", "h"];
    let inputs = ["q", "k", "v", "i", "f", "C0", "n0", "m0"];
    let cell = Cell::new(text, "mlstm_from", &inputs.map(|input| (input, axes)));
    for (length, [batch, heads], [dk, dv]) in
        [(1, [2, 3], [5, 7]), (7, [1, 1], [3, 33]), (100, [3, 2], [20, 12])]
    {
        let sizes = [("s", length), ("b", batch), ("h", heads), ("dk", dk), ("dv", dv)];
        cell.agrees_at(&sizes, &extreme);
        cell.agrees_at(&sizes, &moderate);
    }
}

#[test]
fn the_slstm_runs_with_states_passed_in_and_extreme_gates() {
    let text = "use \"reference/slstm.xl\"\n";
    let batch: &[&str] = &["b"];
    let inputs = ["z", "i", "f", "o", "y0", "c0", "n0", "m0"];
    let cell = Cell::new(text, "slstm_from", &inputs.map(|input| (input, batch)));
    let cases = [(1, [2, 3], 5), (7, [1, 1], 3), (100, [3, 2], 20), (30, [5, 1], 64)];
    for (length, [batch, heads], width) in cases {
        let sizes = [("s", length), ("b", batch), ("h", heads), ("d", width), ("e", width)];
        cell.agrees_at(&sizes, &extreme);
    }
}
