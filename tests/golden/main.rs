//! One trial per golden case and target. Reads the folder in `CAROUSEL_GOLDEN`, or else the copy beside this file.
//!
//! Each trial prints its target, the worst error and its tolerance.

use carousel_tests::golden::families::{Precision, program};
use carousel_tests::golden::manifest::{Case, Manifest};
use carousel_tests::golden::run::{Target, run};
use carousel_tests::golden::{GoldenError, folder};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("golden: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Result<Vec<Trial>, GoldenError> {
    let mut trials = Vec::new();
    for case in Manifest::read(&folder())?.cases {
        for target in Target::all(&program(&case, Precision::Double)?.loops) {
            let case = case.clone();
            let name = format!("golden {} {}", case.name, target.name());
            trials.push(Trial::test(name, move || trial(&case, target)));
        }
    }
    Ok(trials)
}

fn trial(case: &Case, target: Target) -> Result<(), Failed> {
    let program = program(case, target.precision())?;
    let report = run(&folder(), case, &program, target)?;
    let (name, target) = (&case.name, target.name());
    println!("{name}: {target}, {} tensors, worst {}", report.compared, report.worst);
    if report.failures.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    Err(format!("beyond tolerance: {}", lines.join(", ")).into())
}
