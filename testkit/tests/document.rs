//! The example of `docs/testkit.md`.

use carousel_testkit::{Cell, Cost, Error, Way, device};
use std::path::Path;

const TEXT: &str = include_str!("notebook.xl");

/// The cell with its memory passed in and out, over a batch.
fn notebook() -> Cell {
    Cell::from_text(TEXT, "notebook_from")
        .over(["q", "k", "v", "i", "f", "C0", "n0"], "b")
        .sizes([("b", 2), ("s", 37), ("dk", 4), ("dv", 3)])
        .gates(["i", "f"])
}

/// The cell with a memory that is empty at first and not returned, which would be more than f32 holds where gates are extreme.
fn notebook_alone() -> Cell {
    Cell::from_text(TEXT, "notebook").sizes([("s", 37), ("dk", 4), ("dv", 3)]).gates(["i", "f"])
}

#[test]
fn every_form_is_the_equations() -> Result<(), Error> {
    notebook().lengths("s", [1, 7, 37]).check_forms()
}

#[test]
fn extreme_gates_are_finite_and_right() -> Result<(), Error> {
    notebook_alone().lengths("s", [1, 20, 70]).check_gates()
}

#[test]
fn its_kernels_are_these() -> Result<(), Error> {
    let report = notebook_alone().without_gradients().report(Way::Recurrent)?;
    insta::assert_snapshot!("derivation", report.derivation);
    insta::assert_snapshot!("kernels", report.kernels);
    Ok(())
}

#[test]
fn it_costs_no_more_than_this() -> Result<(), Error> {
    let report = notebook().report(Way::Chunkwise(16))?;
    report.costs.at_most(Cost::Launches, 20).at_most(Cost::ArenaBytes, 100_000).check()
}

#[test]
fn a_gpu_would_do_it_right() -> Result<(), Error> {
    device::install(Path::new("../target/cuda-tools"))?;
    let cell = notebook().in_forms([Way::Recurrent, Way::Chunkwise(16)]);
    cell.check_device()?;
    let report = cell.report_on_device(Way::Chunkwise(16))?;
    report.costs.at_most(Cost::Launches, 20).at_most(Cost::ReadBytes, 1_000_000).check()
}
