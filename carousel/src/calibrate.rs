//! A cost profile of the computer that this runs on, measured.
//!
//! Each rate or fixed cost has a small program that it dominates. The program is measured, and the number is the one
//! with which its estimate takes as long; so a profile fits the estimate that it is for, whatever that counts. Invariant:
//! one thread, minima of many runs; nothing is written, and nobody who does not ask for it gets measured numbers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use carousel_core::backend::{DataMut, Executable, Tensor};
use carousel_core::cost::{Profile, price};
use carousel_core::program::Program;
use carousel_core::values::Values;
use carousel_core::{Target, lower};
use carousel_cpu::CpuBackend;
use carousel_ir::DType;
use carousel_ir::text::{Options, elaborate, parse_program};
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

/// Measures this computer. `base` gives the sizes of caches and what is not measured; `tell` hears of each number.
pub fn calibrate(base: &Profile, name: &str, tell: &mut dyn FnMut(&str, f64)) -> Result<Profile, String> {
    let mut profile = Profile { name: name.to_string(), ..base.clone() };
    for trial in &TRIALS {
        let sizes: BTreeMap<String, u64> = trial.sizes.iter().map(|(n, s)| (n.to_string(), *s)).collect();
        let program = program(trial.text, &sizes)?;
        fit(&mut profile, &trial.of, &program)?;
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
        fit(&mut profile, &|p| &mut p.memory[level].rate, &stream)?;
        tell(&format!("memory[{level}].rate"), profile.memory[level].rate);
        // A turn along the short axis touches a line for each element of the long one.
        let apart = program(
            "fn f(x: [n, m]) -> (y: [m, n]) { let y = x * 3 }",
            &BTreeMap::from([("n".to_string(), (bytes / 68.0) as u64), ("m".to_string(), 16)]),
        )?;
        fit(&mut profile, &|p| &mut p.memory[level].scattered, &apart)?;
        tell(&format!("memory[{level}].scattered"), profile.memory[level].scattered);
    }
    match profile.problem() {
        Some(problem) => Err(problem),
        None => Ok(profile),
    }
}

fn program(text: &str, sizes: &BTreeMap<String, u64>) -> Result<Program, String> {
    let told = |problems: Vec<carousel_ir::Diagnostic>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let parsed = parse_program("calibration.xl", text, &|path| Err(path.to_string()))
        .map_err(|failed| told(failed.diagnostics))?;
    let options = Options { sizes: sizes.clone(), ..Options::default() };
    let module = simplified(&elaborate(&parsed, &["f"], &options).map_err(told)?);
    let root = module.find("f").ok_or("the function is gone")?;
    lower(&module, root, &Target::default()).map_err(told)
}

/// Finds the number with which the estimate is the measured time. The estimate grows with fixed costs and half extents
/// and falls with rates; where the time cannot be reached within a factor of [`FARTHEST`], something else dominates the
/// program on this computer, and the number stays what it was.
fn fit(
    profile: &mut Profile,
    of: &dyn Fn(&mut Profile) -> &mut f64,
    program: &Program,
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

/// The shortest of many runs, in seconds.
fn measure(program: &Program) -> Result<f64, String> {
    let executable = CpuBackend::new(1).executable(program.clone()).map_err(|e| e.to_string())?;
    let shape = |port: &carousel_core::program::Port| -> Vec<u64> {
        port.sizes.iter().filter_map(carousel_ir::Size::known).collect()
    };
    let shapes: Vec<Vec<u64>> = executable.inputs().iter().map(shape).collect();
    let numbers = |shape: &Vec<u64>| {
        let count = shape.iter().product::<u64>();
        Values::F32((0..count).map(|i| 0.5 + (i % 97) as f32 / 194.0).collect())
    };
    let inputs: Vec<Values> = shapes.iter().map(numbers).collect();
    let inputs: Vec<Tensor<'_>> =
        inputs.iter().zip(&shapes).map(|(v, shape)| Tensor { data: v.as_data(), shape }).collect();
    let mut outputs: Vec<Values> = executable
        .outputs()
        .iter()
        .map(|port| Values::zeros(DType::F32, shape(port).iter().product::<u64>() as usize))
        .collect();
    let mut outputs: Vec<DataMut<'_>> = outputs.iter_mut().map(Values::as_mut).collect();
    let (mut best, mut runs, started) = (f64::INFINITY, 0, Instant::now());
    while runs < MEASURED.1 || started.elapsed() < MEASURED.0 {
        let run = Instant::now();
        executable.run(&inputs, &mut outputs).map_err(|e| e.to_string())?;
        best = best.min(run.elapsed().as_secs_f64());
        runs += 1;
    }
    Ok(best)
}
