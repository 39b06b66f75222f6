//! The paper's claims on a laptop: trains the recipes in `recipes/` with all variants and seeds of `recipes/studies.toml`, records the
//! results in `recipes/results`, and draws the tables and plots of `docs/recipes.md` from them.
//!
//! `cargo run --release --example recipes` runs what is not recorded yet, at the root of the repository; with names of studies it runs all
//! of these, and no others. `cargo run --release --example recipes -- --draw` draws only.

pub(crate) mod draw;
pub(crate) mod study;

use std::error::Error;
use std::path::Path;

use study::{Results, Studies};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(".");
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let studies = Studies::read(root)?;
    if let Some(name) = asked.iter().find(|name| *name != "--draw" && studies.find(name).is_none()) {
        let known: Vec<&str> = studies.study.iter().map(|study| study.name.as_str()).collect();
        return Err(format!("there is no study `{name}`; there are {}", known.join(", ")).into());
    }
    for study in studies.study.iter().filter(|study| asked.is_empty() || asked.contains(&study.name)) {
        let is_again = asked.contains(&study.name);
        let mut results =
            if is_again { Results::default() } else { Results::read(root, study).unwrap_or_default() };
        for variant in &study.variant {
            for seed in &studies.seeds {
                if results.find(&variant.name, *seed).is_some() {
                    continue;
                }
                println!("{}, {}, seed {seed}", study.name, variant.name);
                let run = study.run(root, variant, *seed)?;
                println!("  {:.3} in {:.0} s", study.measure.of(&run), run.seconds);
                results.runs.push(run);
                results.write(root, study)?;
            }
        }
    }
    for (path, text) in draw::documents(root, &studies)? {
        std::fs::write(root.join(path), text)?;
    }
    Ok(())
}
