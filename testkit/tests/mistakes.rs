//! What the kit says of mistakes: of the compiler, of a cell, of a test.

use carousel_ir::text::Options;
use carousel_testkit::data::Sizes;
use carousel_testkit::recurrence::{Law, Recurrence, module};
use carousel_testkit::{Cell, Cost, Error, Tolerance, Way, assembler, device};
use std::path::Path;

const AVERAGE: &str = "
fn average(x: [s, d], rate: [d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    c' = sigmoid(rate) * c + sigmoid(-rate) * x
    yield y = c'
  }
}";

fn average() -> Cell {
    Cell::from_text(AVERAGE, "average").sizes([("s", 20), ("d", 3)])
}

/// The sentences of an error.
fn said<T>(result: Result<T, Error>) -> String {
    result.err().expect("something is wrong").to_string()
}

/// A compiler that takes one rate for another is found out in every form, with what is off and where.
#[test]
fn equations_that_are_others_are_noticed() {
    let elaborated = |text| module(text, "average", &Options::default()).unwrap();
    let ((wrong, root), (law, _)) =
        (elaborated(&AVERAGE.replace("(-rate)", "(0.01 - rate)")), elaborated(AVERAGE));
    let recurrence = Recurrence::with_law(&wrong, root, &law).unwrap();
    let sizes: Sizes = [("s".to_string(), 20), ("d".to_string(), 3)].into();
    let inputs = recurrence.inputs(&sizes, 1, &|_| (0.1, 1.0)).unwrap();
    let law = recurrence.law::<Law>(&inputs).unwrap();
    for way in recurrence.ways() {
        let why = said(recurrence.check(way, &inputs, &law, Tolerance::WELL_CONDITIONED));
        assert!(why.starts_with(&format!("{way}, reference in f32: `y` is off by ")), "{why}");
        assert!(why.ends_with("e-3, allowed 1.0e-3"), "{why}");
    }
}

/// Nothing takes the scale of this memory away, so that f32 overflows where what is returned is moderate.
#[test]
fn a_cell_that_overflows_is_noticed() {
    let text = "
        fn bounded(k: [s, d], f: [s, d]) -> (h: [s, d]) {
          scan s {
            state c: [d] = 0
            c' = exp(f) * c + k
            yield h = tanh(c')
          }
        }";
    let cell = Cell::from_text(text, "bounded").sizes([("s", 20), ("d", 3)]).gates(["f"]);
    cell.check_forms().unwrap();
    let Err(Error::Wrong(wrong)) = cell.check_gates() else { panic!("it overflows") };
    let first = wrong[0].to_string();
    assert!(
        first.starts_with("gates within 60, d = 3, s = 20: chosen, reference in f32: `h` is off by "),
        "{first}"
    );
    assert!(wrong.iter().any(|mismatch| mismatch.to_string().contains("is not finite")), "{wrong:?}");
}

#[test]
fn tests_that_ask_for_what_is_not_there_are_told() {
    let cases = [
        (said(average().over(["z"], "b").check_forms()), "`average` has no input `z`; there are `x`, `rate`"),
        (said(average().gates(["z"]).check_gates()), "no input `z`; there are `x`, `rate`, `cot.y`"),
        (said(average().draw("z", 0.0..1.0).check_forms()), "no input `z`"),
        (said(average().sizes([("b", 2)]).check_forms()), "no open size `b`; there are `d`, `s`"),
        (said(average().lengths("t", [2]).check_forms()), "no open size `t`"),
        (said(average().check_gates()), "no input is a gate"),
        (
            said(Cell::from_text(AVERAGE, "average").check_forms()),
            "has the axis `s` of size s, which is not given",
        ),
        (said(Cell::from_text(AVERAGE, "mean").check_forms()), "mean"),
        (
            said(Cell::from_text("fn f(x: [s]) -> (y: [s]) { let y = x + z }", "f").check_forms()),
            "cell.xl:1:",
        ),
    ];
    for (found, wanted) in cases {
        assert!(found.contains(wanted), "{found}\ndoes not say {wanted}");
    }
    let plain = Cell::from_text("fn f(x: [s]) -> (y: [s]) { let y = exp(x) }", "f").sizes([("s", 5)]);
    plain.check_forms().unwrap();
    assert!(
        said(plain.report(Way::Parallel)).contains("there is no form `parallel`: its only one is `chosen`")
    );
    let why = said(plain.draw("x", 100.0..101.0).check_forms());
    assert!(why.contains("the equations themselves overflow: `y`"), "{why}");
}

#[test]
fn costs_above_their_bounds_are_all_told() {
    let costs = average().report(Way::Chosen).unwrap().costs;
    let [launches, bytes] = [Cost::Launches, Cost::ArenaBytes].map(|cost| costs.get(cost).unwrap());
    let bounds = |less: u64| {
        let bounds = costs.at_most(Cost::Launches, launches - less).at_most(Cost::ArenaBytes, bytes);
        bounds.at_most(Cost::PriceNanoseconds, 1_000_000_000 * (1 - less)).check()
    };
    bounds(0).unwrap();
    let why = said(bounds(1));
    assert!(
        why.starts_with(&format!("launches: {launches}, at most {} allowed\nprice in ", launches - 1)),
        "{why}"
    );
    let why = said(costs.at_most(Cost::SpilledBytes, 0).check());
    assert!(why.contains("spilled bytes: not measured, at most 0 allowed; reports of the device"), "{why}");
}

#[test]
fn other_functions_of_the_text_change_nothing() {
    let more = format!("fn other(x: [s]) -> (y: [s]) {{ let y = exp(x) }}\n{AVERAGE}");
    let other = Cell::from_text(&more, "average").sizes([("s", 20), ("d", 3)]);
    for way in average().forms().unwrap() {
        assert_eq!(average().report(way).unwrap(), other.report(way).unwrap());
    }
}

/// A further output adds lines, and leaves nearly all of those that were there.
#[test]
fn one_more_operation_leaves_the_text_as_it_is() {
    let more = AVERAGE
        .replace("(y: [s, d])", "(y: [s, d], z: [s, d])")
        .replace("= c'\n  }", "= c'\n    yield z = abs(x)\n  }");
    let cells = [AVERAGE, &more].map(|text| Cell::from_text(text, "average").sizes([("s", 20), ("d", 3)]));
    let [before, after] = cells.map(|cell| cell.without_gradients().report(Way::Recurrent).unwrap());
    for (before, after) in [(before.kernels, after.kernels), (before.code, after.code)] {
        assert!(before != after);
        let left = before.lines().filter(|line| after.contains(line)).count();
        assert!(left * 10 >= before.lines().count() * 9, "{before}\n{after}");
    }
}

#[test]
fn the_assembler_tells_registers() {
    device::install(Path::new("../target/cuda-tools")).unwrap();
    assembler::install(Path::new("../target/cuda-assembler")).unwrap();
    let costs = average().report_on_device(Way::Recurrent).unwrap().costs;
    costs.at_most(Cost::SpilledBytes, 0).at_most(Cost::Registers, 255).check().unwrap();
    let measured = [Cost::Registers, Cost::WarpInstructions, Cost::ReadBytes, Cost::WrittenBytes];
    assert!(measured.iter().all(|cost| costs.get(*cost).is_some_and(|amount| amount > 0)), "{costs}");
}
