//! Cells on the device with their gradients, at several lengths, as the reference evaluates them.

use crate::expected::Expected;
use carousel_autodiff::{Options as GradientOptions, gradient};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{Axis, FunctionId, Module, Name, RenderStyle, philox};
use carousel_models::compile::{derived, in_forms};
use carousel_models::library::bundled;
use carousel_reference::Tensor;
use carousel_testkit::device::OnDevice;
use carousel_testkit::machine::canonical;
use carousel_tests::emulated::backend;
use carousel_tests::filetest::load_library;
use carousel_tests::workspace;
use std::collections::BTreeMap;

/// A cell with the derivative of all it returns by all it takes, as written and on the device.
pub(crate) struct Cell {
    written: (Module, FunctionId),
    compiled: Vec<(&'static str, OnDevice)>,
}

impl Cell {
    /// Compiles as the equations stand and as the compiler derives them; sizes that the text does not tell are dynamic.
    pub(crate) fn new(text: &str, function: &str, mapped: &[&str]) -> Cell {
        let load = |path: &str| bundled(path).map(str::to_string).ok_or_else(|| format!("no file `{path}`"));
        let program = parse_program("cell.xl", text, &load).unwrap_or_else(|failed| panic!("{failed}"));
        let axes = vec!["b".to_string(), "h".to_string()];
        let map: BTreeMap<_, _> = mapped.iter().map(|input| (input.to_string(), axes.clone())).collect();
        let module = elaborate(&program, &[function], &Options { map, ..Options::default() })
            .unwrap_or_else(|d| panic!("{}", program.sources.render(&d, RenderStyle::Plain)));
        let root = module.find(function).expect("elaborated functions are there");
        let derive = |module: &Module| {
            gradient(module, root, &GradientOptions::default()).unwrap_or_else(|d| panic!("{d:?}"))
        };
        let simple = |module: &Module| canonical(module).unwrap_or_else(|why| panic!("{why}"));
        let (as_written, its_gradient) = derive(&simple(&module));
        let (stable, stable_gradient) = derive(&derived(&module));
        let stable = simple(&in_forms(&simple(&stable)));
        let on_device = |module: &Module, root| {
            OnDevice::new(backend(), module, root).unwrap_or_else(|why| panic!("{why}"))
        };
        let compiled = vec![
            ("as written", on_device(&simple(&as_written), its_gradient)),
            ("derived", on_device(&stable, stable_gradient)),
        ];
        Cell { written: derive(&module), compiled }
    }

    pub(crate) fn agrees_at(&self, sizes: &[(&str, u64)]) {
        let (module, root) = &self.written;
        let graph = &module[*root].graph;
        let size = |name: Name| sizes.iter().find(|(n, _)| *n == name.as_str()).map(|(_, size)| *size);
        let axis = |axis: Axis| graph.axes.size(axis).evaluate(&size).expect("all sizes are given") as usize;
        let tensor = |(place, input): (usize, &carousel_ir::Input)| {
            let shape: Vec<usize> = input.ty.axes.iter().map(axis).collect();
            let reach = if matches!(input.name.as_str(), "i" | "f") { 6.0 } else { 1.0 };
            let draw = |i| reach * (2.0 * f64::from(philox::uniform(11, place as u32, 0, i)) - 1.0);
            let draws = (0..shape.iter().product::<usize>() as u64).map(|i| f64::from(draw(i) as f32));
            Tensor::floats(&shape, draws)
        };
        let inputs: Vec<Tensor<f64>> = graph.inputs.iter().enumerate().map(tensor).collect();
        let expected = Expected::new(module, *root, &inputs);
        for (way, compiled) in &self.compiled {
            let found = compiled.run(&inputs).unwrap_or_else(|why| panic!("{way}, {sizes:?}: {why}"));
            let compared = expected.compare(&found, expected.least_scale());
            compared.unwrap_or_else(|why| panic!("{way}, {sizes:?}: {why}"));
        }
    }
}

#[test]
fn the_cell_of_the_readme() {
    let readme = workspace::read("README.md").expect("the README");
    let (_, rest) = readme.split_once("```xl\n").expect("a cell in the README");
    let (cell, _) = rest.split_once("```").expect("the end of the cell");
    let cell = Cell::new(cell, "ema_memory", &["q", "k", "v", "f"]);
    for (length, dk, dv) in [(1, 3, 5), (7, 8, 11), (37, 4, 3)] {
        cell.agrees_at(&[("s", length), ("b", 2), ("h", 2), ("dk", dk), ("dv", dv)]);
    }
}

#[test]
fn a_gated_delta_rule() {
    let text = load_library("zoo/gated_deltanet.xl").expect("it is in the zoo");
    let cell = Cell::new(&text, "gated_deltanet", &["q", "k", "v", "b", "a"]);
    for (length, dk, dv) in [(1, 3, 5), (19, 5, 4)] {
        cell.agrees_at(&[("s", length), ("b", 1), ("h", 2), ("dk", dk), ("dv", dv)]);
    }
}
