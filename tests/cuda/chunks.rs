//! Recurrences in chunks: how many launches they are, and what these cost.

use carousel_core::lower;
use carousel_cuda::target_with_bf16_factors;
use carousel_ir::text::Options;
use carousel_models::library::bundled;
use carousel_reference::Tensor;
use carousel_testkit::device::OnDevice;
use carousel_testkit::recurrence::{Law, Recurrence, module};
use carousel_testkit::{Cell, Cost, Way};
use carousel_tests::assembler;
use carousel_tests::emulated::backend;
use std::collections::BTreeMap;

const INPUTS: [&str; 5] = ["q", "k", "v", "i", "f"];
/// Two tiles of a state, a chunk and a bit.
const SIZES: [(&str, u64); 4] = [("h", 1), ("s", 66), ("dk", 64), ("dv", 128)];

fn text() -> &'static str {
    bundled("cells/mlstm.xl").expect("it is built in")
}

fn mlstm() -> Cell {
    let known = SIZES.into_iter().filter(|(name, _)| *name != "s");
    Cell::from_text(text(), "mlstm").over(INPUTS, "h").bind(known).sizes([SIZES[1]]).gates(["i", "f"])
}

#[test]
fn an_mlstm_in_chunks_is_few_launches() {
    assembler::installed();
    let way = Way::Chunkwise(64);
    let costs = |cell: &Cell| cell.report_on_device(way).unwrap_or_else(|error| panic!("{error}")).costs;
    let forward = costs(&mlstm().without_gradients());
    let bounds = forward.at_most(Cost::Launches, 2).at_most(Cost::SpilledBytes, 0);
    bounds.check().unwrap_or_else(|error| panic!("forward: {error}"));
    // A warp's load of 16 bytes a thread is 512 bytes.
    let of = |cost| forward.get(cost).unwrap_or_default();
    let (wide, all) = (512 * of(Cost::WideLoads), of(Cost::ReadBytes));
    assert!(100 * wide >= 95 * all, "{wide} of {all} bytes are read 16 at a time");
    // The forward pass is in it.
    let both = mlstm().in_forms([way]);
    both.check_device().unwrap_or_else(|error| panic!("{error}"));
    let costs = costs(&both);
    let bounds = costs.at_most(Cost::Launches, 2 + 4).at_most(Cost::SpilledBytes, 0);
    bounds.check().unwrap_or_else(|error| panic!("with its gradient: {error}"));
}

#[test]
fn factors_in_bf16_are_as_near_as_bf16() {
    let map: BTreeMap<_, _> = INPUTS.map(|input| (input.to_string(), vec!["h".to_string()])).into();
    let known = SIZES.into_iter().filter(|(name, _)| *name != "s");
    let sizes = known.map(|(name, size)| (name.to_string(), size)).collect();
    let (written, root) =
        module(text(), "mlstm", &Options { map, sizes, ..Options::default() }).expect("a cell");
    let recurrence = Recurrence::without_gradients(&written, root);
    let sizes = SIZES.map(|(name, size)| (name.to_string(), size)).into();
    let inputs: Vec<Tensor<f64>> =
        recurrence.inputs(&sizes, 3, &|_| (-1.0, 1.0)).expect("all sizes are given");
    let law = recurrence.law::<Law>(&inputs).expect("values");
    let form = recurrence.form(Way::Chunkwise(64));
    let root = form.module.find("mlstm").expect("the cell");
    let program = lower(&form.module, root, &target_with_bf16_factors()).expect("verified modules lower");
    let device = OnDevice::of(backend(), program).unwrap_or_else(|why| panic!("{why}"));
    let found = device.run(&inputs).unwrap_or_else(|why| panic!("{why}"));
    let square = |all: &mut dyn Iterator<Item = f64>| all.map(|x| x * x).sum::<f64>();
    let off = square(&mut found[0].values.iter().zip(&law[0]).map(|(found, law)| found - law));
    let off = (off / square(&mut law[0].iter().copied())).sqrt();
    assert!((1e-5..=5e-3).contains(&off), "{off}");
}
