//! Recurrences in chunks: how many launches they are, and what these cost.

use carousel_core::kernel::{Access, Place};
use carousel_core::lower;
use carousel_core::program::{Home, Program, Step};
use carousel_cuda::{target, target_with_bf16_factors};
use carousel_emulator::Record;
use carousel_ir::FunctionId;
use carousel_ir::text::Options;
use carousel_models::library::bundled;
use carousel_reference::Tensor;
use carousel_testkit::device::{Mode, OnDevice, findings, set_mode};
use carousel_testkit::recurrence::{Law, Recurrence, module};
use carousel_testkit::{Cell, Cost, Way};
use carousel_tests::assembler;
use carousel_tests::emulated::backend;
use carousel_tests::filetest::load_library;
use carousel_tests::parallel;
use std::collections::BTreeMap;

const INPUTS: [&str; 5] = ["q", "k", "v", "i", "f"];
/// Two tiles of a state, a chunk and a bit.
const SIZES: [(&str, u64); 4] = [("h", 1), ("s", 66), ("dk", 64), ("dv", 128)];

/// Steps, sizes of keys and values, and steps of a chunk; one head, as each does the same. The first are those that published kernels
/// are known for. (Where the square root of keys is a power of two, dividing by it is no work of its own.)
const SHAPES: [[u64; 4]; 4] =
    [[512, 128, 256, 128], [256, 128, 128, 128], [384, 128, 128, 128], [256, 128, 192, 128]];

fn text() -> &'static str {
    bundled("cells/mlstm.xl").expect("it is built in")
}

fn mlstm() -> Cell {
    let known = SIZES.into_iter().filter(|(name, _)| *name != "s");
    Cell::from_text(text(), "mlstm").over(INPUTS, "h").bind(known).sizes([SIZES[1]]).gates(["i", "f"])
}

/// A cell of a shape, for any number of heads.
fn of_shape([_, dk, dv, _]: [u64; 4]) -> Cell {
    Cell::from_text(text(), "mlstm").over(INPUTS, "h").bind([("dk", dk), ("dv", dv)])
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
    let sizes = BTreeMap::from([("s", s), ("h", 1), ("b", 1)].map(|(name, size)| (name.to_string(), size)));
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

/// Bytes that each launch reads, for a head and a chunk of length L: those that `docs/cuda.md` derives, for chunks of 128.
fn reads(passes: Passes, [_, dk, dv, length]: [u64; 4]) -> Vec<f64> {
    let tiles = (dk.div_ceil(64) * dv.div_ceil(64)) as f64;
    let [dk, dv, l] = [dk, dv, length].map(|size| size as f64);
    // Products read both factors for each of their tiles of 64 by 64.
    let product = |m: f64, n: f64, k: f64| m * n * k / 8.0;
    let [keys, values, states] = [product(l, l, dk), product(l, dv, l), product(l, dv, dk)];
    match passes {
        Passes::Forward => {
            let gates = 40.0 * l + 12.0 * l * l;
            vec![tiles * 1040.0 * l, gates + 16.0 * l * dk + 12.0 * l * dv + keys + values + states]
        }
        Passes::Both => vec![
            tiles * 1296.0 * l,
            108.0 * l + 20.5 * l * l + 20.0 * l * dk + 16.0 * l * dv + keys + values + states,
            tiles * 828.0 * l,
            168.75 * l
                + 68.25 * l * l
                + 24.25 * l * dk
                + 36.5 * l * dv
                + 5.0 * keys
                + 3.0 * values
                + 3.0 * states,
            134.0 * l + 24.0 * l * dk + 8.0 * dk * dv,
        ],
    }
}

/// A load of a tensor is any but those of numbers that four threads of a warp or more share each, such as the gate of a
/// row. One thread that loads a number for itself loads of a tensor.
#[test]
fn chunks_are_few_launches_that_read_what_was_derived() {
    let both = SHAPES.map(|shape| (shape, Passes::Both));
    let cases = [both.as_slice(), &SHAPES.map(|shape| (shape, Passes::Forward))].concat();
    parallel::each(&cases, |(shape, passes)| {
        let (cell, most) = match passes {
            Passes::Both => (of_shape(*shape), [2, 4]),
            Passes::Forward => (of_shape(*shape).without_gradients(), [2, 0]),
        };
        let launches = without_and_with_cotangents(&lowered(&cell, *shape));
        assert!(launches[0] <= most[0] && launches[1] <= most[1], "{shape:?}: {launches:?}");
        let launches = launched(&cell, *shape);
        let sum = |count: fn(&Record) -> u64| launches.iter().map(count).sum::<u64>();
        let all = sum(|launch| launch.counters.loads - launch.counters.broadcast_loads);
        let wide = sum(|launch| launch.counters.wide_loads);
        assert!(100 * wide >= 95 * all, "{shape:?}: {wide} of {all} loads");
        let chunks = shape[0].div_ceil(shape[3]) as f64;
        for (launch, of_chunk) in launches.iter().zip(reads(*passes, *shape)) {
            let off = launch.counters.read_bytes as f64 / (chunks * of_chunk) - 1.0;
            assert!(off.abs() < 0.01, "{shape:?}, {}: {off}", launch.kernel);
        }
    });
}

/// A recurrence of the zoo in chunks, at a size for which every axis is long enough.
struct Zoo {
    name: &'static str,
    inputs: &'static [&'static str],
    over: &'static str,
    known: &'static [(&'static str, u64)],
    chunk: u64,
    /// Launches forward, and both ways.
    launches: [usize; 2],
    /// What is run: compilers take seconds for some kernels.
    measured: Passes,
    /// Of 100 loads of tensors, how many are of 16 bytes a thread.
    wide: u64,
    /// Bytes that it reads at most.
    read: u64,
}

const ZOO: [Zoo; 3] = [
    Zoo {
        name: "gla",
        inputs: &["q", "k", "v", "g"],
        over: "h",
        known: &[("dk", 64), ("dv", 64)],
        chunk: 16,
        launches: [2, 3],
        measured: Passes::Both,
        wide: 99,
        read: 9_500_000,
    },
    Zoo {
        name: "mamba2",
        inputs: &["x", "dt", "B", "C", "a_log", "bias", "d"],
        over: "b",
        known: &[("h", 4), ("n", 64), ("p", 64)],
        chunk: 64,
        launches: [3, 10],
        measured: Passes::Forward,
        wide: 94,
        read: 1_600_000,
    },
    Zoo {
        name: "deltanet",
        inputs: &["q", "k", "v", "b"],
        over: "h",
        known: &[("dk", 64), ("dv", 64)],
        chunk: 64,
        launches: [8, 14],
        measured: Passes::Forward,
        wide: 99,
        read: 1_250_000,
    },
];

/// Decays for each key, keys that all heads share, a memory that reads itself.
#[test]
fn recurrences_of_the_zoo_read_neighbours_in_few_launches() {
    parallel::each(&ZOO, |zoo| {
        let text = load_library(&format!("zoo/{}.xl", zoo.name)).unwrap_or_else(|why| panic!("{why}"));
        let cell = || {
            let known = zoo.known.iter().copied();
            Cell::from_text(&text, zoo.name).over(zoo.inputs.iter().copied(), zoo.over).bind(known)
        };
        let (forward, both, shape) = (cell().without_gradients(), cell(), [128, 0, 0, zoo.chunk]);
        let count = |cell: &Cell| without_and_with_cotangents(&lowered(cell, shape)).iter().sum::<usize>();
        let found = [count(&forward), count(&both)];
        assert!(found[0] <= zoo.launches[0] && found[1] <= zoo.launches[1], "{}: {found:?}", zoo.name);
        let launches = match zoo.measured {
            Passes::Forward => launched(&forward, shape),
            Passes::Both => launched(&both, shape),
        };
        let sum = |count: fn(&Record) -> u64| launches.iter().map(count).sum::<u64>();
        let all = sum(|launch| launch.counters.loads - launch.counters.broadcast_loads);
        let (wide, read) =
            (sum(|launch| launch.counters.wide_loads), sum(|launch| launch.counters.read_bytes));
        assert!(100 * wide >= zoo.wide * all, "{}: {wide} of {all} loads", zoo.name);
        assert!(read <= zoo.read, "{}: {read} bytes", zoo.name);
    });
}

#[test]
fn factors_in_bf16_are_as_near_as_bf16() {
    let map: BTreeMap<_, _> = INPUTS.map(|input| (input.to_string(), vec!["h".to_string()])).into();
    let known = SIZES.into_iter().filter(|(name, _)| *name != "s");
    let sizes = known.map(|(name, size)| (name.to_string(), size)).collect();
    let (written, root) =
        module(text(), "mlstm", &Options { map, sizes, ..Options::default() }).expect("a cell");
    let recurrence = Recurrence::new(&written, root).unwrap_or_else(|error| panic!("{error}"));
    let sizes = SIZES.map(|(name, size)| (name.to_string(), size)).into();
    let inputs: Vec<Tensor<f64>> =
        recurrence.inputs(&sizes, 3, &|_| (-1.0, 1.0)).expect("all sizes are given");
    let law = recurrence.law::<Law>(&inputs).expect("values");
    let form = recurrence.form(Way::Chunkwise(64));
    let root = FunctionId(form.module.functions.len() as u32 - 1);
    let program = lower(&form.module, root, &target_with_bf16_factors()).expect("verified modules lower");
    let device = OnDevice::of(backend(), program).unwrap_or_else(|why| panic!("{why}"));
    let found = device.run(&inputs).unwrap_or_else(|why| panic!("{why}"));
    let square = |all: &mut dyn Iterator<Item = f64>| all.map(|x| x * x).sum::<f64>();
    for ((name, found), law) in recurrence.outputs().zip(&found).zip(&law) {
        let off = square(&mut found.values.iter().zip(law).map(|(found, law)| found - law));
        let off = (off / square(&mut law.iter().copied())).sqrt();
        assert!((1e-5..=5e-3).contains(&off), "{name}: {off}");
    }
}
