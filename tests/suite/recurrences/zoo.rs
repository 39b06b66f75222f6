//! Published recurrences, one row each: what the derivation finds in them, and that every form computes them.

use super::derive::recurrence;
use super::transcriptions::{self, Given, Transcription};
use carousel_ir::text::Options;
use carousel_passes::forms::{Recurrence as Family, Stratum};
use carousel_reference::Tensor;
use carousel_testkit::data::{Draw, Sizes, with};
use carousel_testkit::recurrence::{Law, Recurrence, module};
use carousel_testkit::{Errors, Tolerance, Way, distance};
use carousel_tests::filetest::load_library;
use std::collections::BTreeMap;

/// What the recogniser makes of a loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// That many states become linear scans of that kind: all forms.
    Linear(Family, usize),
    /// It stays a loop.
    Loop(Family),
}

/// A recurrence.
pub(crate) struct Row {
    /// Its name: `models/xl/zoo/NAME.xl` has the functions `NAME` and `NAME_from`.
    pub(crate) name: &'static str,
    /// How many scales the compiler introduces.
    pub(crate) scales: usize,
    /// What its loop is.
    pub(crate) kind: Kind,
    /// Inputs that may have any size, as exponents or under a squashing function.
    pub(crate) gates: &'static [&'static str],
    /// Inputs that have no batch axis.
    pub(crate) shared: &'static [&'static str],
    /// Sizes of its axes, the sequence excepted.
    pub(crate) sizes: &'static [(&'static str, u64)],
    /// Its equations once more.
    pub(crate) transcription: Transcription,
}

const MATRIX: &[(&str, u64)] = &[("dk", 4), ("dv", 3)];
const HEADS: &[(&str, u64)] = &[("h", 2), ("dk", 4), ("dv", 3)];
const UNITS: &[(&str, u64)] = &[("h", 2), ("d", 3), ("e", 3)];
const QUERIES: &[(&str, u64)] = &[("t", 2), ("dk", 4), ("dv", 3)];
const MIXING: &[&str] = &["rz", "ri", "rf", "ro"];

#[rustfmt::skip]
pub(crate) const ROWS: [Row; 31] = [
    Row { name: "mlstm", scales: 1, kind: Kind::Linear(Family::Scalar, 2), gates: &["i", "f"], shared: &[], sizes: MATRIX, transcription: transcriptions::mlstm },
    Row { name: "mlstm_exp", scales: 1, kind: Kind::Linear(Family::Scalar, 2), gates: &["i", "f"], shared: &[], sizes: MATRIX, transcription: transcriptions::mlstm_exp },
    Row { name: "slstm", scales: 1, kind: Kind::Loop(Family::Nonlinear), gates: &["z", "i", "f", "o"], shared: MIXING, sizes: UNITS, transcription: transcriptions::slstm },
    Row { name: "slstm_unmixed", scales: 1, kind: Kind::Linear(Family::Elementwise, 2), gates: &["z", "i", "f", "o"], shared: &[], sizes: &[("d", 4)], transcription: transcriptions::slstm_unmixed },
    Row { name: "lstm", scales: 0, kind: Kind::Loop(Family::Nonlinear), gates: &["z", "i", "f", "o"], shared: MIXING, sizes: UNITS, transcription: transcriptions::lstm },
    Row { name: "gru", scales: 0, kind: Kind::Loop(Family::Nonlinear), gates: &["x", "r", "z"], shared: &["rx", "rr", "rz"], sizes: UNITS, transcription: transcriptions::gru },
    Row { name: "elman", scales: 0, kind: Kind::Loop(Family::Nonlinear), gates: &["x"], shared: &["r"], sizes: UNITS, transcription: transcriptions::elman },
    Row { name: "linear_rnn", scales: 0, kind: Kind::Loop(Family::Dense), gates: &[], shared: &["r"], sizes: &[("d", 3), ("e", 3)], transcription: transcriptions::linear_rnn },
    Row { name: "linear_attention", scales: 0, kind: Kind::Linear(Family::Scalar, 1), gates: &[], shared: &[], sizes: MATRIX, transcription: transcriptions::linear_attention },
    Row { name: "linear_attention_normalized", scales: 0, kind: Kind::Linear(Family::Scalar, 2), gates: &[], shared: &[], sizes: MATRIX, transcription: transcriptions::linear_attention_normalized },
    Row { name: "retnet", scales: 0, kind: Kind::Linear(Family::Scalar, 1), gates: &[], shared: &[], sizes: HEADS, transcription: transcriptions::retnet },
    Row { name: "lightning", scales: 0, kind: Kind::Linear(Family::Scalar, 1), gates: &[], shared: &[], sizes: HEADS, transcription: transcriptions::lightning },
    Row { name: "simple_gla", scales: 0, kind: Kind::Linear(Family::Scalar, 1), gates: &["g"], shared: &[], sizes: MATRIX, transcription: transcriptions::simple_gla },
    Row { name: "mamba2", scales: 0, kind: Kind::Linear(Family::Scalar, 1), gates: &["dt"], shared: &["a_log", "bias", "d"], sizes: &[("h", 2), ("n", 4), ("p", 3)], transcription: transcriptions::mamba2 },
    Row { name: "online_softmax", scales: 1, kind: Kind::Linear(Family::Scalar, 2), gates: &["bias"], shared: &[], sizes: QUERIES, transcription: transcriptions::online_softmax },
    Row { name: "forgetting_attention", scales: 1, kind: Kind::Linear(Family::Scalar, 2), gates: &["f"], shared: &[], sizes: QUERIES, transcription: transcriptions::forgetting_attention },
    Row { name: "two_memories", scales: 2, kind: Kind::Linear(Family::Scalar, 4), gates: &["i", "f", "j", "g"], shared: &[], sizes: MATRIX, transcription: transcriptions::two_memories },
    Row { name: "per_key", scales: 1, kind: Kind::Linear(Family::Diagonal, 2), gates: &["i", "f"], shared: &[], sizes: MATRIX, transcription: transcriptions::per_key },
    Row { name: "gla", scales: 0, kind: Kind::Linear(Family::Diagonal, 1), gates: &["g"], shared: &[], sizes: MATRIX, transcription: transcriptions::gla },
    Row { name: "hgrn2", scales: 0, kind: Kind::Linear(Family::Diagonal, 1), gates: &["f"], shared: &["g"], sizes: MATRIX, transcription: transcriptions::hgrn2 },
    Row { name: "rwkv6", scales: 0, kind: Kind::Linear(Family::Diagonal, 1), gates: &["w"], shared: &["u"], sizes: MATRIX, transcription: transcriptions::rwkv6 },
    Row { name: "mamba", scales: 0, kind: Kind::Linear(Family::Diagonal, 1), gates: &["dt"], shared: &["a_log", "bias", "D"], sizes: &[("d", 3), ("n", 4)], transcription: transcriptions::mamba },
    Row { name: "gsa", scales: 0, kind: Kind::Linear(Family::Diagonal, 2), gates: &["g"], shared: &[], sizes: &[("m", 4), ("dk", 3), ("dv", 2)], transcription: transcriptions::gsa },
    Row { name: "hgrn", scales: 0, kind: Kind::Linear(Family::Elementwise, 1), gates: &["f"], shared: &["g"], sizes: &[("d", 4)], transcription: transcriptions::hgrn },
    Row { name: "mingru", scales: 0, kind: Kind::Linear(Family::Elementwise, 1), gates: &["z"], shared: &[], sizes: &[("d", 4)], transcription: transcriptions::mingru },
    Row { name: "rglru", scales: 0, kind: Kind::Linear(Family::Elementwise, 1), gates: &["r", "i"], shared: &["lambda"], sizes: &[("d", 4)], transcription: transcriptions::rglru },
    Row { name: "rwkv4", scales: 1, kind: Kind::Linear(Family::Elementwise, 2), gates: &["k"], shared: &["w", "u"], sizes: &[("d", 4)], transcription: transcriptions::rwkv4 },
    Row { name: "deltanet", scales: 0, kind: Kind::Linear(Family::LowRank, 1), gates: &["b"], shared: &[], sizes: MATRIX, transcription: transcriptions::deltanet },
    Row { name: "gated_deltanet", scales: 0, kind: Kind::Linear(Family::LowRank, 1), gates: &["b", "a"], shared: &[], sizes: MATRIX, transcription: transcriptions::gated_deltanet },
    Row { name: "kda", scales: 0, kind: Kind::Linear(Family::LowRank, 1), gates: &["b", "a"], shared: &[], sizes: MATRIX, transcription: transcriptions::kda },
    Row { name: "rwkv7", scales: 0, kind: Kind::Linear(Family::LowRank, 1), gates: &["w", "a"], shared: &[], sizes: MATRIX, transcription: transcriptions::rwkv7 },
];

impl Row {
    pub(crate) fn text(&self) -> String {
        load_library(&format!("zoo/{}.xl", self.name)).unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }

    /// The function with states in and out, mapped over a batch.
    pub(crate) fn with_states(&self) -> Recurrence {
        self.mapped(&format!("{}_from", self.name))
    }

    /// The function that starts from empty memory, mapped over a batch.
    pub(crate) fn without_states(&self) -> Recurrence {
        self.mapped(self.name)
    }

    fn mapped(&self, function: &str) -> Recurrence {
        let (module, root) = module(&self.text(), function, &Options::default()).unwrap();
        let names = module[root].graph.inputs.iter().map(|i| i.name.as_str());
        let map = names.filter(|n| !self.shared.contains(n)).map(|n| (n.to_string(), vec!["b".to_string()]));
        recurrence(&self.text(), function, &map.collect())
    }

    /// Sizes for so many steps of so many sequences.
    pub(crate) fn sizes(&self, batch: u64, steps: u64) -> Sizes {
        let sizes = self.sizes.iter().map(|(axis, size)| (axis.to_string(), *size)).collect();
        with(&sizes, &[("b", batch), ("s", steps)])
    }

    /// Data on which no result is a small difference of large numbers, with moderate gates.
    pub(crate) fn positive(&self, input: &str) -> (f64, f64) {
        if self.gates.contains(&input) { (-2.0, 2.0) } else { (0.1, 1.0) }
    }
}

/// Signed data: sums may nearly cancel.
fn signed(_: &str) -> (f64, f64) {
    (-1.0, 1.0)
}

/// On signed data f32 may lose everything; how much the same form loses is what is compared with.
const SIGNED: Tolerance = Tolerance { own: f64::MAX, ..Tolerance::WELL_CONDITIONED };

/// The errors on positive and on signed data.
fn check(row: &Row, recurrence: &Recurrence, steps: u64, way: Way) -> [Errors; 2] {
    // Few elements where there are many steps.
    let batch = if steps <= 64 { 2 } else { 1 };
    let sizes = row.sizes(batch, steps);
    let draws: [Draw<'_>; 2] = [&|input| row.positive(input), &signed];
    [0, 1].map(|at| {
        let inputs = recurrence.inputs(&sizes, 3, draws[at]).unwrap();
        let law = recurrence.law::<Law>(&inputs).unwrap();
        let tolerance = [Tolerance::WELL_CONDITIONED, SIGNED][at];
        let errors = recurrence.check(way, &inputs, &law, tolerance);
        errors.unwrap_or_else(|why| {
            panic!("{}, {steps} steps, {} data: {why}", row.name, ["positive", "signed"][at])
        })
    })
}

/// Checks these lengths in these forms, and prints the largest errors of each form.
fn check_all(row: &Row, lengths: &[u64], is_tried: impl Fn(Way) -> bool) {
    let recurrence = row.with_states();
    for way in recurrence.ways().filter(|way| is_tried(*way)) {
        let errors = lengths.iter().map(|steps| check(row, &recurrence, *steps, way));
        let worst = errors.reduce(|[a, b], [c, d]| [a.max(c), b.max(d)]).expect("there are lengths");
        println!("{}, {way:?}: {}; signed: {}", row.name, worst[0], worst[1]);
    }
}

#[test]
fn the_derivation_finds_what_the_table_says() {
    for row in &ROWS {
        for recurrence in [row.with_states(), row.without_states()] {
            let name = row.name;
            let scans = &recurrence.derived.stable.scans;
            assert_eq!(
                scans.iter().map(|s| s.groups.len()).sum::<usize>(),
                row.scales,
                "{name}: {}",
                scans[0]
            );
            assert!(scans.iter().all(|s| s.alarms == 0), "{name}: {}", scans[0]);
            let [loop_] = recurrence.derived.linear.as_slice() else { panic!("{name} is one loop") };
            let family = loop_.kind.unwrap_or_else(|| panic!("{name} has a kind: {loop_}"));
            let kind = match &loop_.outcome {
                Ok(states) => {
                    Kind::Linear(family, states.iter().filter(|(_, s)| *s == Stratum::Linear).count())
                }
                Err(_) => Kind::Loop(family),
            };
            assert_eq!(kind, row.kind, "{name}: {loop_}");
            assert_eq!(recurrence.ways().count() > 1, matches!(row.kind, Kind::Linear(..)), "{name}");
        }
    }
}

#[test]
fn every_form_is_the_equations_at_every_length() {
    for row in &ROWS {
        check_all(row, &[1, 2, 7, 64, 100, 257], |_| true);
    }
}

/// But for all pairs of steps, which take the reference long.
#[test]
fn long_sequences_agree() {
    for row in &ROWS {
        check_all(row, &[1000], |way| !matches!(way, Way::Parallel));
    }
}

/// Of decays that are one number a step; others have a weight a pair for each of their elements.
#[test]
fn all_pairs_of_many_steps_agree() {
    for row in ROWS.iter().filter(|row| matches!(row.kind, Kind::Linear(Family::Scalar, _))) {
        check_all(row, &[1000], |way| matches!(way, Way::Parallel));
    }
}

/// Compares the equations and their gradients with a transcription.
pub(crate) fn check_transcription(
    name: &str,
    recurrence: &Recurrence,
    inputs: Vec<Tensor<f64>>,
    transcription: Transcription,
    seed: u32,
) {
    let wanted = recurrence.named(recurrence.law::<f64>(&inputs).unwrap());
    let graph = &recurrence.source().graph;
    let given = Given::new(graph.inputs.iter().map(|i| i.name.to_string()).zip(inputs));
    let found = transcription(&given);
    for (output, values) in &found {
        let error = distance(values, &wanted[*output]);
        assert!(error <= 1e-12, "{name}: `{output}` is off by {error:.1e}");
    }
    let outputs = wanted.keys().filter(|name| !name.starts_with("grad."));
    assert_eq!(outputs.count(), found.len(), "{name}: every output is transcribed");
    let (derived, measured) = given.slopes(transcription, &wanted, seed);
    let error = (derived - measured).abs() / measured.abs().max(1.0);
    assert!(error <= 1e-7, "{name}: slope {derived}, measured {measured}");
}

#[test]
fn sources_are_what_their_transcriptions_compute() {
    for row in &ROWS {
        let recurrence = recurrence(&row.text(), &format!("{}_from", row.name), &BTreeMap::new());
        for (seed, draw) in [(1, (&|i: &str| row.positive(i)) as Draw<'_>), (2, &signed)] {
            let inputs = recurrence.inputs(&row.sizes(1, 9), seed, draw).unwrap();
            check_transcription(row.name, &recurrence, inputs, row.transcription, seed + 10);
        }
    }
}
