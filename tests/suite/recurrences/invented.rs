//! Recurrences that no paper has, from their text alone: taken apart, or refused for the right reason, and in every form
//! what their transcriptions compute.

use super::derive::recurrence;
use super::transcriptions::{Transcription, invented as own};
use super::zoo::check_transcription;
use carousel_passes::Outcome;
use carousel_passes::forms::{Recognition, Stratum};
use carousel_testkit::Tolerance;
use carousel_testkit::data::Sizes;
use carousel_testkit::recurrence::{Law, Recurrence};
use std::collections::BTreeMap;

const TEXT: &str = include_str!("invented.xl");

/// A recurrence, and what becomes of it.
struct Row {
    name: &'static str,
    /// How many scales are carried, or why there is none although it can overflow.
    scales: Result<usize, &'static str>,
    /// Its loops: the kind and the states that become linear scans, or why none does.
    loops: &'static [&'static str],
    /// The inputs that may have either sign.
    signed: &'static [&'static str],
    transcription: Transcription,
}

const NO_SCALE: &str = "nothing takes the scale of `h` away, which grows without bound";

#[rustfmt::skip]
const ROWS: [Row; 22] = [
    Row { name: "crossed_gates", scales: Ok(0), loops: &["S: C D"], signed: &["f"], transcription: own::crossed_gates },
    Row { name: "shared_normaliser", scales: Ok(1), loops: &["S: C n"], signed: &["i", "f"], transcription: own::shared_normaliser },
    Row { name: "growing", scales: Ok(1), loops: &["S: C n"], signed: &["f"], transcription: own::growing },
    Row { name: "growing_bare", scales: Err(NO_SCALE), loops: &["`C`: its decay is not known to be at most 1 (unbounded decay)"], signed: &["f"], transcription: own::growing_bare },
    Row { name: "signed_decay", scales: Ok(0), loops: &["`C`: its decay is not known to be positive (unbounded decay)"], signed: &["f"], transcription: own::signed_decay },
    Row { name: "root_normaliser", scales: Err(NO_SCALE), loops: &["`C`: its decay is not known to be at most 1 (unbounded decay)"], signed: &["i", "f"], transcription: own::root_normaliser },
    Row { name: "clamped", scales: Ok(0), loops: &["`c`: it goes into its own update nonlinearly (nonlinear)"], signed: &["f", "x"], transcription: own::clamped },
    Row { name: "clamped_read", scales: Ok(0), loops: &["S: C"], signed: &["f"], transcription: own::clamped_read },
    Row { name: "masked", scales: Ok(0), loops: &["S: C"], signed: &["f", "w"], transcription: own::masked },
    Row { name: "rows_and_columns", scales: Ok(0), loops: &["D: C"], signed: &["f", "g"], transcription: own::rows_and_columns },
    Row { name: "relay", scales: Ok(0), loops: &["S: C D"], signed: &["f", "g"], transcription: own::relay },
    Row { name: "momentum", scales: Ok(0), loops: &["`M`: all its elements are used at every step (other)"], signed: &["f", "g"], transcription: own::momentum },
    Row { name: "diary", scales: Ok(0), loops: &["P: S D"], signed: &["b", "f"], transcription: own::diary },
    Row { name: "corrected_and_normalised", scales: Err(NO_SCALE), loops: &["P: S n"], signed: &["b", "f", "i"], transcription: own::corrected_and_normalised },
    Row { name: "corrected_twice", scales: Ok(0), loops: &["`S`: it is contracted in two ways in its own update (contracted)"], signed: &["b"], transcription: own::corrected_twice },
    Row { name: "rotation", scales: Ok(0), loops: &["its states go into each other's updates (coupled)"], signed: &["a"], transcription: own::rotation },
    Row { name: "running_mean", scales: Ok(0), loops: &["S: m n"], signed: &["w"], transcription: own::running_mean },
    Row { name: "backwards", scales: Ok(1), loops: &["S: C n"], signed: &["i", "j", "f"], transcription: own::backwards },
    Row { name: "both_ways", scales: Ok(0), loops: &["S: C", "S: D"], signed: &["f"], transcription: own::both_ways },
    Row { name: "two_axes", scales: Ok(0), loops: &["E: c", "E: d"], signed: &["f", "g"], transcription: own::two_axes },
    Row { name: "grid", scales: Ok(0), loops: &["`row`: it goes through a loop in its own update (other)"], signed: &["f", "g"], transcription: own::grid },
    Row { name: "over_depth", scales: Ok(0), loops: &["E: c"], signed: &["g"], transcription: own::over_depth },
];

impl Row {
    fn recurrence(&self) -> Recurrence {
        recurrence(TEXT, self.name, &BTreeMap::new())
    }

    fn draw(&self, input: &str) -> (f64, f64) {
        if self.signed.contains(&input) { (-2.0, 2.0) } else { (0.1, 1.0) }
    }
}

/// Sizes where loops go so many steps, whatever axis they go along.
fn sizes(steps: u64) -> Sizes {
    let sizes = [("s", steps), ("u", steps.min(9)), ("l", steps), ("dk", 3), ("dv", 2), ("d", 3)];
    sizes.map(|(axis, size)| (axis.to_string(), size)).into()
}

fn summary(loop_: &Recognition) -> String {
    match &loop_.outcome {
        Err(refusal) => refusal.to_string(),
        Ok(states) => {
            let kind = loop_.kind.expect("what is taken apart has a kind");
            let linear = states.iter().filter(|(_, stratum)| *stratum == Stratum::Linear);
            linear.fold(format!("{}:", kind.letter()), |text, (name, _)| format!("{text} {name}"))
        }
    }
}

#[test]
fn they_are_taken_apart_or_refused_for_the_right_reason() {
    for row in &ROWS {
        let derived = row.recurrence().derived;
        let loops: Vec<String> = derived.linear.iter().map(summary).collect();
        assert_eq!(loops, row.loops, "{}", row.name);
        let scans = &derived.stable.scans;
        assert!(scans.iter().all(|scan| scan.alarms == 0), "{}", row.name);
        let refused = scans.iter().find_map(|scan| match &scan.outcome {
            Outcome::Refused { reason, .. } => Some(reason.as_str()),
            Outcome::Stabilized | Outcome::Rewritten | Outcome::LeftAlone { .. } => None,
        });
        let scales = refused.map_or(Ok(scans.iter().map(|scan| scan.groups.len()).sum()), Err);
        assert_eq!(scales, row.scales, "{}", row.name);
    }
}

#[test]
fn every_form_is_the_equations() {
    for row in &ROWS {
        let recurrence = row.recurrence();
        for steps in [1, 7, 37] {
            let inputs = recurrence.inputs(&sizes(steps), 5, &|input| row.draw(input)).unwrap();
            let law = recurrence.law::<Law>(&inputs).unwrap();
            for way in recurrence.ways() {
                let checked = recurrence.check(way, &inputs, &law, Tolerance::WELL_CONDITIONED);
                checked.unwrap_or_else(|why| panic!("{}, {steps} steps: {why}", row.name));
            }
        }
    }
}

#[test]
fn texts_are_what_their_transcriptions_compute() {
    for row in &ROWS {
        let recurrence = row.recurrence();
        let inputs = recurrence.inputs(&sizes(9), 1, &|input| row.draw(input)).unwrap();
        check_transcription(row.name, &recurrence, inputs, row.transcription, 11);
    }
}
