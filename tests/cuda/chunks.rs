//! Recurrences in chunks: how many launches they are, and what these cost.

use carousel_core::kernel::{Access, Place};
use carousel_core::lower;
use carousel_core::program::{Home, Program, Step};
use carousel_cuda::{target, target_with_bf16_factors};
use carousel_emulator::Record;
use carousel_ir::text::Options;
use carousel_models::library::bundled;
use carousel_reference::Tensor;
use carousel_testkit::device::{Mode, OnDevice, findings, set_mode};
use carousel_testkit::recurrence::{Law, Recurrence, module};
use carousel_testkit::{Cell, Cost, Way};
use carousel_tests::assembler;
use carousel_tests::emulated::backend;
use carousel_tests::parallel;
use std::collections::BTreeMap;

const INPUTS: [&str; 5] = ["q", "k", "v", "i", "f"];
/// Two tiles of a state, a chunk and a bit.
const SIZES: [(&str, u64); 4] = [("h", 1), ("s", 66), ("dk", 64), ("dv", 128)];

/// Steps, sizes of keys and values, and steps of a chunk; one head, as each does the same. The first are those that published kernels
/// are known for.
const SHAPES: [[u64; 4]; 4] =
    [[512, 128, 256, 128], [256, 64, 64, 64], [256, 128, 128, 64], [512, 64, 128, 128]];

fn text() -> &'static str {
    bundled("cells/mlstm.xl").expect("it is built in")
}

fn mlstm() -> Cell {
    let known = SIZES.into_iter().filter(|(name, _)| *name != "s");
    Cell::from_text(text(), "mlstm").over(INPUTS, "h").bind(known).sizes([SIZES[1]]).gates(["i", "f"])
}

/// A cell of a shape.
fn of_shape([s, dk, dv, _]: [u64; 4]) -> Cell {
    mlstm().bind([("dk", dk), ("dv", dv)]).sizes([("s", s)])
}

fn recurrence(cell: &Cell) -> &Recurrence {
    cell.recurrence().unwrap_or_else(|error| panic!("{error}"))
}

/// A cell's kernels.
fn lowered(cell: &Cell, [_, _, _, length]: [u64; 4]) -> Program {
    let form = recurrence(cell).form(Way::Chunkwise(length));
    form.lowered(&target()).unwrap_or_else(|error| panic!("{error}"))
}

/// Which passes are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passes {
    Forward,
    Both,
}

/// What they do.
fn launched(cell: &Cell, [s, _, _, length]: [u64; 4]) -> Vec<Record> {
    let recurrence = recurrence(cell);
    let sizes = BTreeMap::from([("s".to_string(), s)]);
    let inputs = recurrence.inputs(&sizes, 3, &|_| (-1.0, 1.0)).unwrap_or_else(|error| panic!("{error}"));
    set_mode(Mode::Strict);
    let form = recurrence.form(Way::Chunkwise(length));
    let launches = form.observe(backend(), &inputs).unwrap_or_else(|error| panic!("{error}")).launches;
    assert_eq!(findings(&launches), "");
    launches
}

/// How many launches there are that nothing of the cotangents reaches, and how many others.
fn without_and_with_cotangents(program: &Program) -> [usize; 2] {
    let routine = program.routines.last().expect("a function");
    let is_cotangent = |home: Home| matches!(home, Home::Input(n) if routine.inputs[n as usize].name.as_str().starts_with("cot."));
    let mut reached: Vec<bool> = routine.slots.iter().map(|slot| is_cotangent(slot.home)).collect();
    let (mut without, mut with) = (0, 0);
    for step in &routine.steps {
        let Step::Launch { kernel, buffers, .. } = step else { panic!("nothing is called") };
        let all = &program.kernels[kernel.0 as usize].buffers;
        let arguments = all.iter().filter(|buffer| matches!(buffer.place, Place::Argument(_)));
        let accesses: Vec<(usize, Access)> =
            buffers.iter().map(|slot| slot.0 as usize).zip(arguments.map(|buffer| buffer.access)).collect();
        if accesses.iter().any(|(slot, access)| *access != Access::Write && reached[*slot]) {
            let written = accesses.iter().filter(|(_, access)| *access != Access::Read);
            written.for_each(|(slot, _)| reached[*slot] = true);
            with += 1;
        } else {
            without += 1;
        }
    }
    [without, with]
}

#[test]
fn an_mlstm_in_chunks_is_few_launches() {
    assembler::installed();
    let way = Way::Chunkwise(64);
    let costs = |cell: &Cell| cell.report_on_device(way).unwrap_or_else(|error| panic!("{error}")).costs;
    let forward = costs(&mlstm().without_gradients());
    let bounds = forward.at_most(Cost::Launches, 2).at_most(Cost::SpilledBytes, 0);
    bounds.check().unwrap_or_else(|error| panic!("forward: {error}"));
    // The forward pass is in it.
    let both = mlstm().in_forms([way]);
    both.check_device().unwrap_or_else(|error| panic!("{error}"));
    let costs = costs(&both);
    let bounds = costs.at_most(Cost::Launches, 2 + 4).at_most(Cost::SpilledBytes, 0);
    bounds.check().unwrap_or_else(|error| panic!("with its gradient: {error}"));
}

/// A load of a tensor is any but those of numbers that four threads of a warp or more share each, such as the gate of a
/// row. One thread that loads a number for itself loads of a tensor.
#[test]
fn chunks_are_few_launches_that_load_16_bytes_a_thread() {
    let both = SHAPES.map(|shape| (shape, Passes::Both));
    // Forward kernels of other shapes are those of one of these, or among those with gradients.
    let cases = [both.as_slice(), &SHAPES.map(|shape| (shape, Passes::Forward))].concat();
    parallel::each(&cases, |(shape, passes)| {
        let (cell, most) = match passes {
            Passes::Both => (of_shape(*shape), [2, 4]),
            Passes::Forward => (of_shape(*shape).without_gradients(), [2, 0]),
        };
        let launches = without_and_with_cotangents(&lowered(&cell, *shape));
        assert!(launches[0] <= most[0] && launches[1] <= most[1], "{shape:?}: {launches:?}");
        if *passes == Passes::Both || SHAPES[..2].contains(shape) {
            let launches = launched(&cell, *shape);
            let sum = |count: fn(&Record) -> u64| launches.iter().map(count).sum::<u64>();
            let all = sum(|launch| launch.counters.loads - launch.counters.broadcast_loads);
            let wide = sum(|launch| launch.counters.wide_loads);
            assert!(100 * wide >= 95 * all, "{shape:?}: {wide} of {all} loads");
        }
    });
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
