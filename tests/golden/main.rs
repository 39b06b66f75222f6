//! One trial per golden case and target. Reads the folder in `CAROUSEL_GOLDEN`, or else the copy beside this file.
//!
//! Each trial prints its target, the worst error and its tolerance. Cases of families that are
//! not handled yet are ignored trials, and the families are named in the end.

use carousel_tests::golden::families::{Precision, program};
use carousel_tests::golden::manifest::{Case, Manifest};
use carousel_tests::golden::run::{Target, run};
use carousel_tests::golden::{GoldenError, folder};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials() {
        Ok((trials, later)) => {
            let conclusion = libtest_mimic::run(&arguments, trials);
            for (family, cases) in later {
                println!("not handled yet: {family} ({cases} cases)");
            }
            conclusion.exit_code()
        }
        Err(error) => {
            eprintln!("golden: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The trials, and how many cases each family has that is not handled yet.
fn trials() -> Result<(Vec<Trial>, BTreeMap<String, usize>), GoldenError> {
    let (mut trials, mut later) = (Vec::new(), BTreeMap::new());
    for case in Manifest::read(&folder())?.cases {
        let Some(program) = program(&case, Precision::Double)? else {
            *later.entry(case.family.clone()).or_default() += 1;
            trials.push(Trial::test(format!("golden {}", case.name), || Ok(())).with_ignored_flag(true));
            continue;
        };
        for target in Target::all(program.loops) {
            let case = case.clone();
            let name = format!("golden {} {}", case.name, target.name());
            trials.push(Trial::test(name, move || trial(&case, target)));
        }
    }
    Ok((trials, later))
}

fn trial(case: &Case, target: Target) -> Result<(), Failed> {
    let Some(program) = program(case, target.precision())? else {
        return Err("the family is not handled".into());
    };
    let report = run(&folder(), case, &program, target)?;
    let (name, target) = (&case.name, target.name());
    println!("{name}: {target}, {} tensors, worst {}", report.compared, report.worst);
    if report.failures.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    Err(format!("beyond tolerance: {}", lines.join(", ")).into())
}
