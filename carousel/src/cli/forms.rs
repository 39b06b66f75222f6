//! Options of the commands that compile: the forms of linear scans, and what they are chosen by.

use std::path::Path;

use carousel_core::cost::{Machine, Profile};
use carousel_ir::nearest;
use carousel_models::forms::FormOptions;
use carousel_passes::forms::{FormReport, Wanted};
use clap::Args;

use super::common::{Failure, remark};

/// How forms of linear scans are chosen.
#[derive(Args)]
pub(super) struct FormArguments {
    /// The form of linear scans: auto (the cheapest one), recurrent, parallel, chunkwise, or chunkwise:L or associative:L with L steps
    /// a chunk.
    #[arg(long, default_value = "auto", value_name = "FORM")]
    pub(super) form: Wanted,
    /// The machine that forms are priced for: x86-avx512, x86-avx2 and neon (both scaled from it, not measured), sm-90 (from
    /// counts and published peaks, not measured), or a file that `bench calibrate` wrote. That of the target if not given.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// Memory that the program may take beside its inputs and outputs, `4GB`: forms with which it takes more are turned
    /// down.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory_limit: Option<u64>,
    /// What dynamic sizes are taken for when forms are priced, `s=4096,b=16`.
    #[arg(long, value_name = "NAME=SIZE,..", value_delimiter = ',', value_parser = size)]
    expect: Vec<(String, u64)>,
}

impl FormArguments {
    /// What the compiler goes by, for a machine whose costs may be given otherwise.
    pub(super) fn options(&self, mut machine: Machine) -> Result<FormOptions, Failure> {
        if let Some(given) = &self.profile {
            machine.profile = profile(given)?;
        }
        Ok(FormOptions {
            wanted: self.form,
            machine,
            memory_limit: self.memory_limit,
            sizes: self.expect.iter().cloned().collect(),
            ..FormOptions::default()
        })
    }
}

/// Says what a user should know of the choice.
pub(super) fn warn(report: &FormReport) {
    report.warnings().iter().for_each(|warning| remark(&format!("warning: {warning}\n")));
}

/// A built-in profile, or one from a file.
fn profile(name: &str) -> Result<Profile, Failure> {
    if let Some(profile) = Profile::named(name) {
        return Ok(profile);
    }
    let path = Path::new(name);
    if path.extension().is_none() && !path.exists() {
        let known = Profile::builtin().map(|p| p.name);
        let near = nearest(name, known.iter().map(String::as_str));
        let help = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let known = known.join(", ");
        let message = format!("--profile `{name}`: neither a file nor one of {known}{help}");
        return Err(Failure::Input(message));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::Input(format!("--profile: cannot read {}: {e}", path.display())))?;
    let profile: Profile = toml::from_str(&text)
        .map_err(|e| Failure::Input(format!("--profile: {} is no cost profile: {e}", path.display())))?;
    match profile.problem() {
        Some(problem) => Err(Failure::Input(format!("--profile: {}: {problem}", path.display()))),
        None => Ok(profile),
    }
}

/// A number of bytes with a unit: powers of 1000, or of 1024 with an `i`.
fn memory(text: &str) -> Result<u64, String> {
    let problem = || "expected a number of bytes with a unit, as in 4GB or 512MiB".to_string();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: f64 = match &text[digits.len()..] {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => f64::from(1 << 20),
        "GiB" => f64::from(1 << 30),
        "TiB" => 1024.0 * f64::from(1 << 30),
        _ => return Err(problem()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| problem())?;
    let bytes = number * unit;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(problem()) }
}

fn size(text: &str) -> Result<(String, u64), String> {
    let pair = text.split_once('=').map(|(name, size)| (name.trim(), size.trim().parse()));
    match pair {
        Some((name, Ok(size))) if !name.is_empty() => Ok((name.to_string(), size)),
        Some(_) | None => Err("expected NAME=SIZE, as in s=4096".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_units() {
        assert_eq!(memory("4GB"), Ok(4_000_000_000));
        assert_eq!(memory("1.5KiB"), Ok(1536));
        assert_eq!(memory("100"), Ok(100));
        for wrong in ["", "GB", "-1GB", "0", "4 G", "4GX", "nan", "1e40", "infB"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }
}
