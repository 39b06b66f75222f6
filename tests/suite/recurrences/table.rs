//! The README's table of recurrences: what is derived of each, and how far from the equations f32 is.

use super::zoo::{ROWS, Row};
use carousel_testkit::distance;
use carousel_testkit::recurrence::{Law, Recurrence};
use std::fmt::Write;
use std::path::Path;

/// What stands before and after the table.
const MARKS: [&str; 2] = ["<!-- recurrences -->\n", "<!-- end of recurrences -->\n"];

/// Two chunks of 16 and some more.
const STEPS: u64 = 37;

/// The next power of ten above twice an error, so that the last bits of a computer's functions do not show.
fn bound(error: f64) -> String {
    format!("1e{}", (2.0 * error).max(1e-8).log10().ceil())
}

/// The largest errors of the plain evaluation in f32, over all forms: of outputs and of gradients.
fn errors(row: &Row, recurrence: &Recurrence) -> [f64; 2] {
    let inputs = recurrence.inputs(&row.sizes(1, STEPS), 3, &|input| row.positive(input)).unwrap();
    let law = recurrence.law::<Law>(&inputs).unwrap();
    let mut worst = [0f64; 2];
    for way in recurrence.ways() {
        let found = recurrence.form(way).evaluate::<f32>(&inputs).unwrap();
        for ((found, law), output) in found.iter().zip(&law).zip(&recurrence.source().graph.outputs) {
            let place = usize::from(output.name.as_str().starts_with("grad."));
            worst[place] = worst[place].max(distance(found, law));
        }
    }
    worst
}

fn line(row: &Row) -> String {
    let recurrence = row.with_states();
    let [found] = recurrence.derived.linear.as_slice() else { panic!("{} is one loop", row.name) };
    let kind = found.kind.unwrap_or_else(|| panic!("{} has a kind: {found}", row.name));
    let forms = if found.outcome.is_ok() { kind.forms() } else { "recurrent" };
    let groups = recurrence.derived.stable.scans.iter().flat_map(|scan| &scan.groups);
    let scales: Vec<String> = groups.map(|g| format!("`{}`", g.update.replace('|', "\\|"))).collect();
    let [outputs, gradients] = errors(row, &recurrence).map(bound);
    let (name, letter, description) = (row.name, kind.letter(), kind.description());
    format!(
        "| [{name}](models/xl/zoo/{name}.xl) | {letter}, {description} | {} | {forms} | {outputs} | {gradients} |",
        scales.join(", ")
    )
}

/// `INSTA_UPDATE=always` writes it.
#[test]
fn the_readme_says_what_is_derived() {
    let mut table = String::from(
        "| recurrence | class | scale that is carried | forms | error of outputs, f32 | of gradients |\n|---|---|---|---|---|---|\n",
    );
    for row in &ROWS {
        writeln!(table, "{}", line(row)).expect("a string takes everything");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).expect("there is a README");
    let (before, rest) = readme.split_once(MARKS[0]).expect("it has a place for the table");
    let (now, after) = rest.split_once(MARKS[1]).expect("the place has an end");
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") && now != table {
        let new = path.with_extension("md.new");
        std::fs::write(&new, [before, MARKS[0], &table, MARKS[1], after].concat())
            .expect("it can be written");
        std::fs::rename(&new, &path).expect("it can be renamed");
    }
    assert_eq!(now, table, "INSTA_UPDATE=always writes the table anew");
}
