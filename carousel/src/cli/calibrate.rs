//! `carousel bench calibrate`.

use std::path::PathBuf;

use carousel::calibrate::{calibrate, on_emulated_device, on_one_core};
use carousel_core::cost::{Machine, Overhead, Profile};
use carousel_cuda::emulated;
use carousel_cuda::roofline::GPUS;

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
    /// Instead of this computer, a GPU that is not here (H100): counts of the emulated device at the peaks that are published.
    /// A forecast, which knows nothing of latencies.
    #[arg(long)]
    emulate: bool,
    /// What the profile is called.
    #[arg(long, default_value = "calibrated")]
    name: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut told = |parameter: &str, number: f64| remark(&format!("{parameter:<26} {number:.3e}\n"));
    let name = &arguments.name;
    let profile = if arguments.emulate {
        let backend = emulated::backend().map_err(Failure::work)?;
        let (mut base, [_, gpu]) = (carousel_cuda::machine(), GPUS);
        // Counts know nothing of latencies and caches: rates are found without them.
        let Profile { overhead, memory, .. } = base.profile.clone();
        base.profile.overhead = Overhead { kernel: overhead.kernel, ..Overhead::default() };
        base.profile.memory.truncate(1);
        base.profile.memory[0].bytes = None;
        let measure = |program: &_| on_emulated_device(&backend, &gpu, overhead.kernel, program);
        calibrate(&base, name, &measure, &mut told).map(|profile| Profile { overhead, memory, ..profile })
    } else {
        calibrate(&Machine::default(), name, &on_one_core, &mut told)
    };
    let profile = profile.map_err(Failure::Work)?;
    let text = toml::to_string(&profile).map_err(Failure::work)?;
    match &arguments.out {
        None => tell(&text),
        Some(path) => std::fs::write(path, text)
            .map_err(|e| Failure::Work(format!("cannot write {}: {e}", path.display()))),
    }
}
