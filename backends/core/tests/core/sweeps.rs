//! Sweeps: a scan over pieces of a sequence and what is computed of the pieces before and after it, as one kernel.

use crate::support::{agree_at, functions, module};
use carousel_core::kernel::{Place, Statement};
use carousel_core::program::Program;
use carousel_core::{Target, lower};
use carousel_ir::{Axes, Axis, Builder, DType, Direction, FunctionId, Module, Scan, Size, ValueId};

const F: DType = DType::F32;
const LENGTH: u64 = 4;

/// What reads the states.
#[derive(Clone, Copy, PartialEq)]
enum Reader {
    /// Each piece, the state before it.
    Own,
    /// Each piece, the state before the piece that is so many further back.
    Earlier(i64),
    /// Each piece, the state at the end.
    Last,
}

/// `state = decay state + sum of what a piece writes`, of which each step of a piece reads through a product, with `heads`
/// memories side by side.
fn memory(heads: u64, direction: Direction, reader: Reader) -> (Module, FunctionId) {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let h = b.axis("h", Size::Known(heads));
    let s = b.axis("s", Size::symbol("s"));
    let count = Size::symbol("s").ceil_div(Size::Known(LENGTH));
    let filled = b.axis("filled", Size::product([count.clone(), Size::Known(LENGTH)]));
    let piece = b.axis("piece", count);
    let step = b.axis("step", Size::Known(LENGTH));
    let [d, e] = [("d", 5), ("e", 6)].map(|(name, size)| b.axis(name, Size::Known(size)));
    let [k, q] = ["k", "q"].map(|name| b.argument(name, F, &[h, s, d]));
    let v = b.argument("v", F, &[h, s, e]);
    let gate = b.argument("gate", F, &[h, s]);
    let gate = b.sigmoid(gate);
    let parts = Axes::new([piece, step]);
    let [k, q, v, gate] = [k, q, v, gate].map(|x| {
        let x = b.pad(x, s, filled, Size::Known(0));
        b.split(x, filled, parts.clone())
    });
    let written = b.mul(k, gate);
    let written = b.dot(written, v, Axes::new([step]));
    let decay = b.sum(gate, Axes::new([step]));
    let decay = b.sigmoid(decay);
    let zero = b.constant(0.0, F);
    let start = b.broadcast(zero, &Axes::new([h, d, e]));
    let [last, states] = states(&mut b, [h, d, e], piece, direction, [start, decay, written]);
    let seen = match reader {
        Reader::Own => states,
        Reader::Earlier(by) => b.shift(states, piece, by),
        Reader::Last => last,
    };
    let read = b.dot(q, seen, Axes::new([d]));
    let gated = b.mul(read, gate);
    let whole = b.merge(gated, parts, filled);
    let y = b.slice(whole, filled, s, Size::Known(0));
    b.output("y", y);
    b.output("last", last);
    module(b)
}

/// `y = q reverse(k' forward(k v))`, with sigmoids of a gate as decays both ways.
fn there_and_back() -> (Module, FunctionId) {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let h = b.axis("h", Size::Known(4));
    let s = b.axis("s", Size::symbol("s"));
    let count = Size::symbol("s").ceil_div(Size::Known(LENGTH));
    let filled = b.axis("filled", Size::product([count.clone(), Size::Known(LENGTH)]));
    let piece = b.axis("piece", count);
    let step = b.axis("step", Size::Known(LENGTH));
    let [d, e] = [("d", 5), ("e", 6)].map(|(name, size)| b.axis(name, Size::Known(size)));
    let k = b.argument("k", F, &[h, s, d]);
    let v = b.argument("v", F, &[h, s, e]);
    let gate = b.argument("gate", F, &[h, s]);
    let parts = Axes::new([piece, step]);
    let [k, v, gate] = [k, v, gate].map(|x| {
        let x = b.pad(x, s, filled, Size::Known(0));
        b.split(x, filled, parts.clone())
    });
    let decay = b.sum(gate, Axes::new([step]));
    let decay = b.sigmoid(decay);
    let zero = b.constant(0.0, F);
    let start = b.broadcast(zero, &Axes::new([h, d, e]));
    let written = b.dot(k, v, Axes::new([step]));
    let [_, first] = states(&mut b, [h, d, e], piece, Direction::Forward, [start, decay, written]);
    let read = b.dot(k, first, Axes::new([d]));
    let written = b.dot(k, read, Axes::new([step]));
    let [_, second] = states(&mut b, [h, d, e], piece, Direction::Reverse, [start, decay, written]);
    let read = b.dot(k, second, Axes::new([d]));
    let whole = b.merge(read, parts, filled);
    let y = b.slice(whole, filled, s, Size::Known(0));
    b.output("y", y);
    module(b)
}

/// The state at the end, and those before each piece.
fn states(
    b: &mut Builder<'_>,
    [h, d, e]: [Axis; 3],
    piece: Axis,
    direction: Direction,
    operands: [ValueId; 3],
) -> [ValueId; 2] {
    let mut inner = Builder::body(b.axes().clone());
    let state = inner.argument("state", F, &[h, d, e]);
    let decay = inner.argument("decay", F, &[h]);
    let written = inner.argument("written", F, &[h, d, e]);
    let kept = inner.mul(decay, state);
    let next = inner.add(kept, written);
    inner.output("state", next);
    inner.output("before", state);
    let body = inner.finish().unwrap_or_else(|problems| panic!("{}", problems[0]));
    let results = b.scan(Scan { axis: piece, direction, states: 1, sequences: 2, body }, &operands);
    [results[0], results[1]]
}

/// The kernels whose grid points multiply in a loop over pieces.
fn sweeps(program: &Program) -> usize {
    let multiplies = |body: &[Statement]| body.iter().any(|s| matches!(s, Statement::Product { .. }));
    let is_sweep = |statement: &Statement| match statement {
        Statement::Loop { body, .. } => multiplies(body),
        Statement::Map { .. }
        | Statement::Reduce { .. }
        | Statement::Product { .. }
        | Statement::Cumulative { .. }
        | Statement::ScatterAdd { .. } => false,
    };
    program.kernels.iter().filter(|kernel| kernel.body.iter().any(is_sweep)).count()
}

#[test]
fn states_and_pieces_stay_in_scratch() {
    for direction in [Direction::Forward, Direction::Reverse] {
        let (module, root) = memory(4, direction, Reader::Own);
        let program = functions(&module, root);
        assert_eq!(program.kernels.len(), 1, "{program}");
        assert_eq!(sweeps(&program), 1, "{program}");
        let arguments = program.kernels[0].buffers.iter().filter(|b| matches!(b.place, Place::Argument(_)));
        assert_eq!(arguments.count(), 6, "there is more in memory than inputs and outputs\n{program}");
        agree_at(&module, root, &["s"], &[[1], [3], [4], [7], [8], [33]]);
    }
}

#[test]
fn other_pieces_and_the_end_are_read_after_the_loop() {
    for direction in [Direction::Forward, Direction::Reverse] {
        for reader in [Reader::Earlier(1), Reader::Earlier(-1), Reader::Last] {
            let (module, root) = memory(4, direction, reader);
            agree_at(&module, root, &["s"], &[[1], [4], [7], [13]]);
        }
    }
}

#[test]
fn few_points_stay_apart_by_pieces() {
    let (module, root) = memory(1, Direction::Forward, Reader::Own);
    let program = functions(&module, root);
    assert_eq!(sweeps(&program), 0, "{program}");
}

/// A memory from the start to the end and one from the end to the start that is written what was read of the first.
#[test]
fn sweeps_one_after_the_other_hand_on_in_scratch() {
    let (module, root) = there_and_back();
    let program = functions(&module, root);
    assert_eq!(program.kernels.len(), 1, "{program}");
    let loops = program.kernels[0].body.iter().filter(|s| matches!(s, Statement::Loop { .. }));
    assert_eq!(loops.count(), 2, "{program}");
    let arguments = program.kernels[0].buffers.iter().filter(|b| matches!(b.place, Place::Argument(_)));
    assert_eq!(arguments.count(), 4, "there is more in memory than inputs and outputs\n{program}");
    agree_at(&module, root, &["s"], &[[1], [3], [4], [7], [8], [33]]);
}

/// Where states are apart, tiles of them go through the pieces, and what reads them has a point for each piece.
#[test]
fn states_apart_have_a_kernel_of_tiles() {
    for direction in [Direction::Forward, Direction::Reverse] {
        let (module, root) = memory(4, direction, Reader::Own);
        let target = Target { sweep_points: u64::MAX, state_tile: Some(4), ..Target::default() };
        let program = lower(&module, root, &target).expect("verified modules lower");
        let [states, readers] = program.kernels.as_slice() else { panic!("{program}") };
        // Heads, two tiles of 5 rows, two of 6 columns; heads and pieces.
        assert_eq!((states.grid.len(), readers.grid.len()), (3, 2), "{program}");
        assert_eq!(sweeps(&program), 1, "{program}");
        // Keys, values, gates; the states before the pieces, and that at the end.
        let arguments = states.buffers.iter().filter(|b| matches!(b.place, Place::Argument(_)));
        assert_eq!(arguments.count(), 5, "{program}");
    }
}

/// Two memories, one of which is written what was read of the other: the states of each have a kernel of their own.
#[test]
fn states_that_wait_for_others_come_after_them() {
    let (module, root) = there_and_back();
    let target = Target { sweep_points: u64::MAX, state_tile: Some(4), ..Target::default() };
    let program = lower(&module, root, &target).expect("verified modules lower");
    let scans = program.kernels.iter().map(|kernel| kernel.name.contains("scan"));
    assert_eq!(scans.collect::<Vec<_>>(), [true, false, true, false], "{program}");
}
