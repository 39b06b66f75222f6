//! Stabilised recurrences against the equations as written, evaluated with unlimited range: values in f64 and f32,
//! gradients.

use crate::cells;
use crate::support::{module, stable};
use carousel_autodiff::{Options, gradient};
use carousel_ir::{DType, FunctionId, Module};
use carousel_passes::{Rules, StableOptions, canonicalize, stabilize};
use carousel_reference::{Data, Extended, Scalar, Tensor, evaluate};
use std::collections::BTreeMap;

/// A recurrence with the names of its gates, and of what is kept positive to be well conditioned.
struct Case {
    name: &'static str,
    text: &'static str,
    gates: &'static [&'static str],
    positive: &'static [&'static str],
    /// The error that is allowed in f64, and in f32.
    double: f64,
    single: f64,
}

const CASES: &[Case] = &[
    Case {
        name: "mlstm",
        text: cells::MLSTM,
        gates: &["i", "f"],
        positive: &["q", "k"],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "mlstm exp",
        text: cells::MLSTM_EXP,
        gates: &["i", "f"],
        positive: &["q", "k"],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "mlstm log forget, resets, states",
        text: cells::MLSTM_LOG_FORGET,
        gates: &["i", "f"],
        positive: &["q", "k", "C0", "n0"],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "slstm",
        text: cells::SLSTM,
        gates: &["i", "f", "o"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "slstm plain",
        text: cells::SLSTM_PLAIN,
        gates: &["i", "f", "o"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case { name: "rwkv4", text: cells::RWKV4, gates: &["k"], positive: &[], double: 1e-9, single: 5e-3 },
    Case {
        name: "two memories",
        text: cells::TWO_MEMORIES,
        gates: &["i", "f", "g", "x"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "per key",
        text: cells::PER_KEY,
        gates: &["i", "f"],
        positive: &["q", "k"],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "online softmax",
        text: cells::ONLINE_SOFTMAX,
        gates: &["x"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case { name: "mixed", text: cells::MIXED, gates: &["i", "f"], positive: &[], double: 1e-9, single: 5e-3 },
    Case {
        name: "product",
        text: cells::PRODUCT,
        gates: &["f"],
        positive: &["z"],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "coupled",
        text: cells::COUPLED,
        gates: &["i", "f"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "exp features",
        text: cells::EXP_FEATURES,
        gates: &["k", "q"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "constant decay",
        text: cells::CONSTANT_DECAY,
        gates: &["i"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "two factors",
        text: cells::TWO_FACTORS,
        gates: &["i", "g", "f"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "masked",
        text: cells::MASKED,
        gates: &["i", "f"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "batched",
        text: cells::BATCHED,
        gates: &["i", "f"],
        positive: &["q", "k"],
        double: 1e-9,
        single: 5e-3,
    },
    Case { name: "log sum", text: cells::LOG_SUM, gates: &["x"], positive: &[], double: 1e-9, single: 5e-3 },
    Case {
        name: "stacked",
        text: cells::STACKED,
        gates: &["i", "f", "g", "x"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "nested",
        text: cells::NESTED,
        gates: &["x", "i", "f"],
        positive: &[],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "unit",
        text: cells::UNIT,
        gates: &["i", "f"],
        positive: &["z"],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "resets to constants",
        text: cells::RESET_TO_CONSTANTS,
        gates: &["i", "f"],
        positive: &["q", "k"],
        double: 1e-9,
        single: 5e-3,
    },
    Case {
        name: "smooth",
        text: cells::SMOOTH,
        gates: &["i", "f"],
        positive: &["q", "k"],
        double: 1e-9,
        single: 5e-3,
    },
    Case { name: "half", text: cells::HALF, gates: &["i", "f"], positive: &[], double: 1e-9, single: 5e-3 },
    Case {
        name: "slstm states",
        text: cells::SLSTM_STATES,
        gates: &["i", "f"],
        positive: &["c0", "n0"],
        double: 1e-9,
        single: 5e-3,
    },
    // Divisors near 0: ill-conditioned as written.
    Case {
        name: "mlstm signed",
        text: cells::MLSTM,
        gates: &["i", "f"],
        positive: &[],
        double: 1e-7,
        single: 1e-1,
    },
    Case {
        name: "published",
        text: cells::PUBLISHED,
        gates: &["i", "f"],
        positive: &["q", "k"],
        double: 1e-9,
        single: 5e-3,
    },
];

/// xorshift64.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    /// In \[-1, 1).
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// How the gates are drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Gates {
    /// Up to that size.
    Within(f64),
    /// Small, with a spike of that size now and then.
    Spikes(f64),
    /// Near that number.
    Near(f64),
}

const GATES: [Gates; 9] = [
    Gates::Within(1.0),
    Gates::Within(20.0),
    Gates::Within(300.0),
    Gates::Within(1000.0),
    Gates::Spikes(60.0),
    Gates::Spikes(-120.0),
    Gates::Spikes(1000.0),
    Gates::Near(-1000.0),
    Gates::Near(1000.0),
];

const SIZES: [(&str, usize); 7] = [("dk", 3), ("dv", 2), ("d", 3), ("h", 2), ("e", 3), ("l", 4), ("b", 2)];

fn shape(module: &Module, function: FunctionId, input: usize, length: usize) -> Vec<usize> {
    let graph = &module[function].graph;
    let size = |name: &str| SIZES.iter().find(|(n, _)| *n == name).map_or(length, |(_, size)| *size);
    graph.inputs[input].ty.axes.iter().map(|a| size(a.as_str())).collect()
}

/// Every number is one that f32 holds, so that all types of number see the same input.
fn inputs(case: &Case, module: &Module, function: FunctionId, length: usize, gates: Gates) -> Vec<Vec<f64>> {
    let mut random = Random::new(length as u64 * 31 + 7);
    let graph = &module[function].graph;
    let one = |(place, input): (usize, &carousel_ir::Input)| -> Vec<f64> {
        let count: usize = shape(module, function, place, length).iter().product();
        let (name, dtype) = (input.name.as_str(), input.ty.dtype);
        let mut element = || {
            let (x, y) = (random.next(), random.next());
            let value = if dtype == DType::Bool {
                f64::from(u8::from(x > 0.8))
            } else if case.gates.contains(&name) {
                match gates {
                    Gates::Within(size) => x * size,
                    Gates::Spikes(size) => {
                        if y > 0.85 {
                            size
                        } else {
                            x
                        }
                    }
                    Gates::Near(size) => size + x,
                }
            } else if case.positive.contains(&name) {
                0.55 + 0.45 * x
            } else {
                x
            };
            f64::from(value as f32)
        };
        (0..count).map(|_| element()).collect()
    };
    graph.inputs.iter().enumerate().map(one).collect()
}

fn tensors<S: Scalar>(
    module: &Module,
    function: FunctionId,
    length: usize,
    values: &[Vec<f64>],
) -> Vec<Tensor<S>> {
    let graph = &module[function].graph;
    let one = |(place, values): (usize, &Vec<f64>)| {
        let shape = shape(module, function, place, length);
        if graph.inputs[place].ty.dtype == DType::Bool {
            Tensor::bools(&shape, values.iter().map(|v| *v != 0.0))
        } else {
            Tensor::floats(&shape, values.iter().copied())
        }
    };
    values.iter().enumerate().map(one).collect()
}

fn run<S: Scalar>(module: &Module, function: FunctionId, inputs: &[Tensor<S>]) -> Vec<Tensor<S>> {
    evaluate(module, function, inputs).unwrap_or_else(|e| panic!("{e}"))
}

/// The worst error, relative to the number or to a thousandth; infinite if `found` is not finite where `wanted` is.
fn worst(found: &[f64], wanted: &[f64], largest: f64) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let pairs = found.iter().zip(wanted).filter(|(_, w)| w.abs() < largest);
    pairs
        .map(|(f, w)| if f.is_finite() { (f - w).abs() / (1e-3 + w.abs()) } else { f64::INFINITY })
        .fold(0.0, f64::max)
}

/// The worst error, relative to the largest entry.
fn worst_of_tensor(found: &[f64], wanted: &[f64]) -> f64 {
    let largest = wanted.iter().fold(0.1f64, |m, w| m.max(w.abs()));
    let error = |(f, w): (&f64, &f64)| if f.is_finite() { (f - w).abs() / largest } else { f64::INFINITY };
    found.iter().zip(wanted).map(error).fold(0.0, f64::max)
}

#[test]
fn values_are_those_of_the_equations() {
    let mut errors: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for case in CASES {
        let (source, function) = module(case.text);
        let (stable, _, _) = stable(case.text);
        for gates in GATES {
            for length in [1, 2, 7, 64] {
                let values = inputs(case, &source, function, length, gates);
                let wanted = run::<Extended>(&source, function, &tensors(&source, function, length, &values));
                let f64s = run::<f64>(&stable, function, &tensors(&source, function, length, &values));
                let f32s = run::<f32>(&stable, function, &tensors(&source, function, length, &values));
                for (place, wanted) in wanted.iter().enumerate() {
                    let wanted = wanted.to_f64();
                    let what = format!("{} {gates:?} length {length} output {place}", case.name);
                    let double = worst(&f64s[place].to_f64(), &wanted, 1e290);
                    assert!(double < case.double, "{what}: error {double} in f64");
                    let single = worst(&f32s[place].to_f64(), &wanted, 1e30);
                    assert!(single < 10.0 * case.single, "{what}: error {single} in f32");
                    let known = errors.entry(case.name).or_default();
                    *known = (known.0.max(double), known.1.max(single));
                }
            }
        }
    }
    eprintln!("{errors:#?}");
}

#[test]
fn the_canonical_form_before_and_after_changes_nothing() {
    for case in CASES {
        let (source, function) = module(case.text);
        let (first, _) = canonicalize(&source, Rules::builtin());
        let (stable, report) = stabilize(&first, &StableOptions::default());
        let (last, _) = canonicalize(&stable, Rules::builtin());
        assert!(report.refused().count() == 0, "{}: {report}", case.name);
        for gates in GATES {
            let values = inputs(case, &source, function, 7, gates);
            let wanted = run::<Extended>(&source, function, &tensors(&source, function, 7, &values));
            let f64s = run::<f64>(&last, function, &tensors(&source, function, 7, &values));
            let f32s = run::<f32>(&last, function, &tensors(&source, function, 7, &values));
            for (place, wanted) in wanted.iter().enumerate() {
                let what = format!("{} {gates:?} output {place}", case.name);
                let double = worst(&f64s[place].to_f64(), &wanted.to_f64(), 1e290);
                assert!(double < case.double, "{what}: error {double} in f64");
                let single = worst(&f32s[place].to_f64(), &wanted.to_f64(), 1e30);
                assert!(single < 10.0 * case.single, "{what}: error {single} in f32");
            }
        }
    }
}

#[test]
fn gradients_are_those_of_the_equations() {
    let mut errors: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for case in CASES {
        let (source, function) = module(case.text);
        let (stable, _, _) = stable(case.text);
        let options = Options::default();
        let (by_source, of_source) = gradient(&source, function, &options).expect("it has float outputs");
        let (by_stable, of_stable) = gradient(&stable, function, &options).expect("it has float outputs");
        for gates in GATES {
            for length in [1, 2, 7, 64] {
                let mut values = inputs(case, &source, function, length, gates);
                let outputs =
                    run::<Extended>(&source, function, &tensors(&source, function, length, &values));
                let graph = &by_source[of_source].graph;
                let mut random = Random::new(length as u64);
                // Final states are as large as the equations make them: their cotangents only where that is moderate.
                for (place, output) in outputs.iter().enumerate() {
                    let quiet = place > 0 && gates != Gates::Within(1.0);
                    let count = output.to_f64().len();
                    values.push((0..count).map(|_| if quiet { 0.0 } else { random.next() }).collect());
                }
                assert_eq!(graph.inputs.len(), values.len());
                let exact =
                    run::<Extended>(&by_source, of_source, &tensors(&by_source, of_source, length, &values));
                let f64s =
                    run::<f64>(&by_stable, of_stable, &tensors(&by_source, of_source, length, &values));
                let f32s =
                    run::<f32>(&by_stable, of_stable, &tensors(&by_source, of_source, length, &values));
                for place in outputs.len()..exact.len() {
                    let wanted = exact[place].to_f64();
                    let name = graph.outputs[place].name;
                    let what = format!("{} {gates:?} length {length} {name}", case.name);
                    let double = worst(&f64s[place].to_f64(), &wanted, 1e290);
                    assert!(double < 10.0 * case.double, "{what}: error {double} in f64");
                    let single = worst_of_tensor(&f32s[place].to_f64(), &wanted);
                    assert!(single < case.single, "{what}: error {single} in f32");
                    let known = errors.entry(case.name).or_default();
                    *known = (known.0.max(double), known.1.max(single));
                }
            }
        }
    }
    eprintln!("{errors:#?}");
}

#[test]
fn the_equations_overflow_as_written() {
    let (source, function) = module(cells::MLSTM);
    let values = inputs(&CASES[0], &source, function, 7, Gates::Within(1000.0));
    let outputs = run::<f32>(&source, function, &tensors(&source, function, 7, &values));
    assert!(matches!(outputs[0].data, Data::Float(_)) && !outputs[0].is_finite());
}

/// Inputs with some of them replaced by zeros.
fn without(module: &Module, function: FunctionId, zero: &[&str], mut values: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for (input, values) in module[function].graph.inputs.iter().zip(&mut values) {
        if zero.contains(&input.name.as_str()) {
            values.fill(0.0);
        }
    }
    values
}

#[test]
fn zero_states_from_outside_have_no_scale() {
    for (text, zero) in [(cells::SLSTM_STATES, ["c0", "n0"]), (cells::MLSTM_LOG_FORGET, ["C0", "n0"])] {
        let case =
            Case { name: "", text, gates: &["i", "f"], positive: &["q", "k"], double: 1e-9, single: 5e-3 };
        let (source, function) = module(text);
        let (stable, _, _) = stable(text);
        for gates in GATES {
            let values = inputs(&case, &source, function, 7, gates);
            let values = without(&source, function, &zero, values);
            let wanted = run::<Extended>(&source, function, &tensors(&source, function, 7, &values));
            let found = run::<f32>(&stable, function, &tensors(&source, function, 7, &values));
            let error = worst(&found[0].to_f64(), &wanted[0].to_f64(), 1e30);
            assert!(error < 1e-2, "{gates:?}: {error}");
        }
    }
}

#[test]
fn zero_states_from_outside_have_gradients() {
    for (text, zero) in [(cells::SLSTM_STATES, ["c0", "n0"]), (cells::MLSTM_LOG_FORGET, ["C0", "n0"])] {
        let case =
            Case { name: "", text, gates: &["i", "f"], positive: &["q", "k"], double: 1e-9, single: 5e-3 };
        let (source, function) = module(text);
        let (stable, _, _) = stable(text);
        let (by_source, of_source) =
            gradient(&source, function, &Options::default()).expect("it has outputs");
        let (by_stable, of_stable) =
            gradient(&stable, function, &Options::default()).expect("it has outputs");
        let graph = &by_source[of_source].graph;
        for gates in [Gates::Within(1.0), Gates::Within(20.0), Gates::Within(300.0)] {
            for length in [1, 7] {
                let mut values = inputs(&case, &source, function, length, gates);
                values = without(&source, function, &zero, values);
                // No reset before the first step.
                for (input, values) in source[function].graph.inputs.iter().zip(&mut values) {
                    if input.ty.dtype == DType::Bool {
                        values.iter_mut().for_each(|r| *r = 0.0);
                    }
                }
                let outputs =
                    run::<Extended>(&source, function, &tensors(&source, function, length, &values));
                for (place, output) in outputs.iter().enumerate() {
                    let cotangent = if place == 0 { 1.0 } else { 0.0 };
                    values.push(vec![cotangent; output.to_f64().len()]);
                }
                let arguments = tensors(&by_source, of_source, length, &values);
                let exact = run::<Extended>(&by_source, of_source, &arguments);
                let found =
                    run::<f64>(&by_stable, of_stable, &tensors(&by_source, of_source, length, &values));
                let single =
                    run::<f32>(&by_stable, of_stable, &tensors(&by_source, of_source, length, &values));
                for place in outputs.len()..exact.len() {
                    let name = graph.outputs[place].name.as_str();
                    let wanted = exact[place].to_f64();
                    let error = worst(&found[place].to_f64(), &wanted, 1e290);
                    assert!(error < 1e-9, "{gates:?} {length} {name}: {error}");
                    let single = worst(&single[place].to_f64(), &wanted, 1e30);
                    // At larger gates some of these derivatives are below what f32 holds.
                    assert!(single < 1e-2 || gates == Gates::Within(300.0), "{gates:?} {name}: {single}");
                    if name == format!("grad.{}", zero[0]) && gates == Gates::Within(1.0) {
                        assert!(wanted.iter().any(|x| x.abs() > 1e-3), "{name} is felt");
                    }
                }
            }
        }
    }
}

#[test]
fn a_decay_of_zero_has_a_gradient_of_zero() {
    let case =
        Case { name: "", text: cells::RWKV4, gates: &["k"], positive: &[], double: 1e-9, single: 5e-3 };
    let (source, function) = module(case.text);
    let (stable, _, _) = stable(case.text);
    let (derived, root) = gradient(&stable, function, &Options::default()).expect("it has outputs");
    let graph = &derived[root].graph;
    let mut values = inputs(&case, &source, function, 7, Gates::Within(1.0));
    let w = graph.inputs.iter().position(|i| i.name.as_str() == "w").expect("it is an input");
    values[w].iter_mut().for_each(|w| *w = 1000.0);
    let outputs = run::<f32>(&stable, function, &tensors(&source, function, 7, &values));
    values.push(vec![1.0; outputs[0].to_f64().len()]);
    let found = run::<f32>(&derived, root, &tensors(&derived, root, 7, &values));
    for (output, found) in graph.outputs.iter().zip(&found) {
        assert!(found.to_f64().iter().all(|x| x.is_finite()), "{}", output.name);
        if output.name.as_str() == "grad.w" {
            assert!(found.to_f64().iter().all(|x| *x == 0.0));
        }
    }
}

#[test]
fn a_query_of_zero_gives_zero() {
    // The divisor is the clamp alone, which is exp(-1000) in the scale of the memory.
    for text in [cells::MLSTM, cells::MLSTM_EXP, cells::PER_KEY, cells::SMOOTH] {
        let case = Case { name: "", text, gates: &["i", "f"], positive: &[], double: 1e-9, single: 5e-3 };
        let (stable, function, _) = stable(text);
        let (derived, of_derived) = gradient(&stable, function, &Options::default()).expect("it has outputs");
        for gates in GATES {
            let values = without(&stable, function, &["q"], inputs(&case, &stable, function, 7, gates));
            let tensors = tensors::<f32>(&stable, function, 7, &values);
            let found = run(&stable, function, &tensors);
            assert!(found[0].to_f64().iter().all(|x| *x == 0.0), "{gates:?}");
            let cotangent = Tensor::floats(&found[0].shape, found[0].to_f64().iter().map(|_| 50.0));
            let arguments: Vec<_> = tensors.into_iter().chain([cotangent]).collect();
            let gradients = run(&derived, of_derived, &arguments);
            let graph = &derived[of_derived].graph;
            for (output, gradient) in graph.outputs.iter().zip(&gradients).skip(1) {
                // By q it is as large as the memory.
                if output.name.as_str() != "grad.q" {
                    assert!(gradient.to_f64().iter().all(|x| *x == 0.0), "{gates:?} {}", output.name);
                }
            }
        }
    }
}

#[test]
fn long_sequences_lose_nothing() {
    // A scale that did not decay with the memory would leave nothing of it after a spike.
    for text in [cells::CONSTANT_DECAY, cells::SLSTM_PLAIN, cells::TWO_FACTORS] {
        let case =
            Case { name: "", text, gates: &["i", "f", "g"], positive: &[], double: 1e-9, single: 5e-3 };
        let (source, function) = module(text);
        let (stable, _, _) = stable(text);
        let mut values = inputs(&case, &source, function, 2000, Gates::Within(2.0));
        let spiked = source[function].graph.inputs.iter().position(|i| i.name.as_str() == "i");
        values[spiked.expect("there is an input gate")][..3].fill(1000.0);
        let wanted = run::<Extended>(&source, function, &tensors(&source, function, 2000, &values));
        let found = run::<f32>(&stable, function, &tensors(&source, function, 2000, &values));
        let error = worst(&found[0].to_f64(), &wanted[0].to_f64(), 1e30);
        assert!(error < 2e-2, "{error}");
    }
}
