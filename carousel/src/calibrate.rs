//! A cost profile of the computer that this runs on, measured, or of a GPU that is not here, from counts.
//!
//! Each rate or fixed cost has a small program that it dominates. The program is measured, and the number is the one
//! with which its estimate takes as long; so a profile fits the estimate that it is for, whatever that counts. Invariant:
//! one thread, minima of many runs, or one run of the emulated device and published peaks; nothing is written, and nobody who does not ask for it gets measured numbers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use carousel_core::backend::{DataMut, Executable, Tensor};
use carousel_core::cost::{Machine, Profile, price};
use carousel_core::program::{Port, Program};
use carousel_core::values::Values;
use carousel_core::{Target, lower};
use carousel_cpu::CpuBackend;
use carousel_cuda::CudaBackend;
use carousel_cuda::emulated::{self, Record};
use carousel_cuda::roofline::{Gpu, Work};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{DType, Size};
use carousel_models::compile::simplified;

/// A number of a profile, what it is called, and the program that it dominates.
struct Trial {
    parameter: &'static str,
    of: fn(&mut Profile) -> &mut f64,
    text: &'static str,
    sizes: &'static [(&'static str, u64)],
}

/// In an order in which each needs only those before it.
#[rustfmt::skip]
const TRIALS: [Trial; 13] = [
    Trial {
        parameter: "overhead.kernel", of: |p| &mut p.overhead.kernel,
        text: "fn f(x: [d], a: [d, e = d]) -> (y: [d]) {
                 let p = sum[e](a * x[d -> e])
                 let q = sum[e](a * p[d -> e])
                 let r = sum[e](a * q[d -> e])
                 let y = sum[e](a * r[d -> e])
               }",
        sizes: &[("d", 4)],
    },
    Trial {
        parameter: "elements.vector", of: |p| &mut p.elements.vector,
        text: "fn f(b: [d], a: [s]) -> (y: [d]) {
                 scan s { state c: [d] = 0
                          c' = max(c * a, b) }
                 let y = c
               }",
        sizes: &[("s", 512), ("d", 2048)],
    },
    Trial {
        parameter: "overhead.statement", of: |p| &mut p.overhead.statement,
        text: "fn f(b: [d], a: [s]) -> (y: [d]) {
                 scan s { state c: [d] = 0
                          c' = max(c * a, b) }
                 let y = c
               }",
        sizes: &[("s", 8192), ("d", 4)],
    },
    Trial {
        parameter: "overhead.row", of: |p| &mut p.overhead.row,
        text: "fn f(b: [d], a: [s, r]) -> (y: [r, d]) {
                 scan s { state c: [r, d] = 0
                          c' = max(c * a, b) }
                 let y = c
               }",
        sizes: &[("s", 64), ("r", 256), ("d", 8)],
    },
    Trial {
        parameter: "elements.division", of: |p| &mut p.elements.division,
        text: "fn f(b: [d], a: [s]) -> (y: [d]) {
                 scan s { state c: [d] = 1
                          c' = b / max(c, a) }
                 let y = c
               }",
        sizes: &[("s", 512), ("d", 2048)],
    },
    Trial {
        parameter: "elements.transcendental", of: |p| &mut p.elements.transcendental,
        text: "fn f(b: [d], a: [s]) -> (y: [d]) {
                 scan s { state c: [d] = 0
                          c' = exp(max(c * a, b)) }
                 let y = c
               }",
        sizes: &[("s", 128), ("d", 2048)],
    },
    Trial {
        parameter: "overhead.call", of: |p| &mut p.overhead.call,
        text: "fn f(b: [d], a: [s]) -> (y: [d]) {
                 scan s { state c: [d] = 0
                          c' = exp(max(c * a, b)) }
                 let y = c
               }",
        sizes: &[("s", 4096), ("d", 16)],
    },
    Trial {
        parameter: "elements.scalar", of: |p| &mut p.elements.scalar,
        text: "fn f(x: [m, n]) -> (y: [n, m]) { let y = x * 3 }",
        sizes: &[("m", 48), ("n", 48)],
    },
    Trial {
        parameter: "elements.running", of: |p| &mut p.elements.running,
        text: "fn f(x: [n, s]) -> (y: [n, s]) { let y = cumsum[s](x) }",
        sizes: &[("n", 16), ("s", 256)],
    },
    Trial {
        parameter: "product.peak", of: |p| &mut p.product.peak,
        text: "fn f(a: [m, k], b: [k, n]) -> (c: [m, n]) { let c = sum[k](a * b) }",
        sizes: &[("m", 256), ("n", 256), ("k", 256)],
    },
    Trial {
        parameter: "product.half_narrow", of: |p| &mut p.product.half_narrow,
        text: "fn f(a: [h, m, k], b: [h, k, n]) -> (c: [h, m, n]) { let c = sum[k](a * b) }",
        sizes: &[("h", 16), ("m", 8), ("n", 128), ("k", 64)],
    },
    Trial {
        parameter: "product.half_wide", of: |p| &mut p.product.half_wide,
        text: "fn f(a: [h, m, k], b: [h, k, n]) -> (c: [h, m, n]) { let c = sum[k](a * b) }",
        sizes: &[("h", 16), ("m", 24), ("n", 24), ("k", 64)],
    },
    Trial {
        parameter: "product.half_depth", of: |p| &mut p.product.half_depth,
        text: "fn f(a: [h, m, k], b: [h, k, n]) -> (c: [h, m, n]) { let c = sum[k](a * b) }",
        sizes: &[("h", 16), ("m", 64), ("n", 64), ("k", 16)],
    },
];

/// Each measurement goes on for about so long, and for at least so many runs.
const MEASURED: (Duration, usize) = (Duration::from_millis(60), 5);

/// How many times larger or smaller than before a number may be found to be.
const FARTHEST: f64 = 20.0;

/// How long a program takes, in seconds.
pub type Measure<'a> = dyn Fn(&Program) -> Result<f64, String> + 'a;

/// Measures a machine. `base` gives the schedule, the sizes of caches and what is not measured; `tell` hears of each number.
///
/// # Errors
/// What `measure` says.
pub fn calibrate(
    base: &Machine,
    name: &str,
    measure: &Measure<'_>,
    tell: &mut dyn FnMut(&str, f64),
) -> Result<Profile, String> {
    let mut profile = Profile { name: name.to_string(), ..base.profile.clone() };
    let program = |text: &str, sizes: &BTreeMap<String, u64>| program(text, sizes, &base.target);
    for trial in &TRIALS {
        let sizes: BTreeMap<String, u64> = trial.sizes.iter().map(|(n, s)| (n.to_string(), *s)).collect();
        let program = program(trial.text, &sizes)?;
        fit(&mut profile, &trial.of, &program, measure)?;
        tell(trial.parameter, *(trial.of)(&mut profile));
    }
    for level in 1..profile.memory.len() {
        let below = profile.memory[level - 1].bytes.unwrap_or(0.0);
        // Well inside of the level; far beyond the last cache.
        let bytes = profile.memory[level].bytes.map_or(4.0 * below, |holds| (below * holds).sqrt());
        let stream = program(
            "fn f(x: [n]) -> (y: [n]) { let y = x * 3 }",
            &BTreeMap::from([("n".to_string(), (bytes / 8.0) as u64)]),
        )?;
        fit(&mut profile, &|p| &mut p.memory[level].rate, &stream, measure)?;
        tell(&format!("memory[{level}].rate"), profile.memory[level].rate);
        // A turn along the short axis touches a line for each element of the long one.
        let apart = program(
            "fn f(x: [n, m]) -> (y: [m, n]) { let y = x * 3 }",
            &BTreeMap::from([("n".to_string(), (bytes / 68.0) as u64), ("m".to_string(), 16)]),
        )?;
        fit(&mut profile, &|p| &mut p.memory[level].scattered, &apart, measure)?;
        tell(&format!("memory[{level}].scattered"), profile.memory[level].scattered);
    }
    match profile.problem() {
        Some(problem) => Err(problem),
        None => Ok(profile),
    }
}

fn program(text: &str, sizes: &BTreeMap<String, u64>, target: &Target) -> Result<Program, String> {
    let told = |problems: Vec<carousel_ir::Diagnostic>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let parsed = parse_program("calibration.xl", text, &|path| Err(path.to_string()))
        .map_err(|failed| told(failed.diagnostics))?;
    let options = Options { sizes: sizes.clone(), ..Options::default() };
    let module = simplified(&elaborate(&parsed, &["f"], &options).map_err(told)?);
    let root = module.find("f").ok_or("the function is gone")?;
    lower(&module, root, target).map_err(told)
}

/// Finds the number with which the estimate is the measured time. The estimate grows with fixed costs and half extents
/// and falls with rates; where the time cannot be reached within a factor of [`FARTHEST`], something else dominates the
/// program on this computer, and the number stays what it was.
fn fit(
    profile: &mut Profile,
    of: &dyn Fn(&mut Profile) -> &mut f64,
    program: &Program,
    measure: &Measure<'_>,
) -> Result<(), String> {
    let measured = measure(program)?;
    let start = of(profile).max(f64::MIN_POSITIVE);
    let mut estimate = |number: f64| -> Result<f64, String> {
        *of(profile) = number;
        price(program, &|_| 1, profile).map(|p| p.seconds).map_err(|e| e.to_string())
    };
    let (mut low, mut high) = (start / FARTHEST, start * FARTHEST);
    let (first, last) = (estimate(low)?, estimate(high)?);
    let grows = last > first;
    if measured < first.min(last) || measured > first.max(last) {
        *of(profile) = start;
        return Ok(());
    }
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if (estimate(middle)? > measured) == grows { high = middle } else { low = middle }
    }
    // Three digits are more than a measurement has.
    let number = (low * high).sqrt();
    let digit = 10f64.powf(number.log10().floor() - 2.0);
    *of(profile) = (number / digit).round() * digit;
    Ok(())
}

/// The shortest of many runs on one core of this computer.
///
/// # Errors
/// What the backend says.
pub fn on_one_core(program: &Program) -> Result<f64, String> {
    let executable = CpuBackend::new(1).executable(program.clone()).map_err(|e| e.to_string())?;
    let mut numbers = Numbers::of(&executable);
    let (inputs, mut outputs) = numbers.tensors();
    let (mut best, mut runs, started) = (f64::INFINITY, 0, Instant::now());
    while runs < MEASURED.1 || started.elapsed() < MEASURED.0 {
        let run = Instant::now();
        executable.run(&inputs, &mut outputs).map_err(|e| e.to_string())?;
        best = best.min(run.elapsed().as_secs_f64());
        runs += 1;
    }
    Ok(best)
}

/// How long the resource of a GPU that is busiest is busy in a run on the emulated device, with `start` seconds for each kernel.
///
/// # Errors
/// What the backend says.
pub fn on_emulated_device(
    backend: &CudaBackend,
    gpu: &Gpu,
    start: f64,
    program: &Program,
) -> Result<f64, String> {
    let executable = backend.executable(program.clone()).map_err(|e| e.to_string())?;
    let mut numbers = Numbers::of(&executable);
    let (inputs, mut outputs) = numbers.tensors();
    emulated::take_records();
    executable.run(&inputs, &mut outputs).map_err(|e| e.to_string())?;
    let seconds =
        |record: &Record| start + gpu.seconds(&Work::from(&record.counters), record.grid.iter().product());
    Ok(emulated::take_records().iter().map(seconds).sum())
}

/// Inputs for a function whose sizes are all known, and room for its outputs.
struct Numbers {
    inputs: Vec<(Values, Vec<u64>)>,
    outputs: Vec<Values>,
}

impl Numbers {
    fn of(executable: &dyn Executable) -> Numbers {
        let shape = |port: &Port| -> Vec<u64> { port.sizes.iter().filter_map(Size::known).collect() };
        let count = |port: &Port| shape(port).iter().product::<u64>();
        let numbers = |port: &Port| (0..count(port)).map(|i| 0.5 + (i % 97) as f32 / 194.0).collect();
        let input = |port: &Port| (Values::F32(numbers(port)), shape(port));
        let output = |port: &Port| Values::zeros(DType::F32, count(port) as usize);
        Numbers {
            inputs: executable.inputs().iter().map(input).collect(),
            outputs: executable.outputs().iter().map(output).collect(),
        }
    }

    fn tensors(&mut self) -> (Vec<Tensor<'_>>, Vec<DataMut<'_>>) {
        let inputs = self.inputs.iter().map(|(values, shape)| Tensor { data: values.as_data(), shape });
        (inputs.collect(), self.outputs.iter_mut().map(Values::as_mut).collect())
    }
}
