//! `carousel bench calibrate`.

use std::path::PathBuf;

use carousel_core::cost::Profile;

use super::common::{Failure, remark, tell};

/// Measure this computer and write a cost profile, for --profile.
///
/// Other programs that run meanwhile spoil the numbers. The built-in profiles serve as well unless the computer is an
/// unusual one, and give the same programs everywhere.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  carousel bench calibrate --out here.toml\n  \
                        carousel bench mlstm --seq 4096 --profile here.toml")]
pub(super) struct Arguments {
    /// The file; standard output if not given.
    #[arg(long, value_name = "FILE.toml")]
    out: Option<PathBuf>,
    /// What the profile is called.
    #[arg(long, default_value = "calibrated")]
    name: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut told = |parameter: &str, number: f64| remark(&format!("{parameter:<26} {number:.3e}\n"));
    let profile = carousel::calibrate::calibrate(&Profile::default(), &arguments.name, &mut told)
        .map_err(Failure::Work)?;
    let text = toml::to_string(&profile).map_err(Failure::work)?;
    match &arguments.out {
        None => tell(&text),
        Some(path) => std::fs::write(path, text)
            .map_err(|e| Failure::Work(format!("cannot write {}: {e}", path.display()))),
    }
}
