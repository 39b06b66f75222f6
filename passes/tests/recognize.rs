//! The recogniser: published cells as written become linear scans, and every form of them, forward and backward,
//! computes what the loop computes.

mod support;

use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{Axes, DType, FunctionId, Graph, Line, Module, Op};
use carousel_passes::forms::{Class, Form, Recognition, Recurrence, Stratum, expand, recognize};
use carousel_passes::{Rules, canonicalize};
use support::{Numbers, assert_close, differentiated, errors, inputs, run};

const MLSTM: &str = include_str!("../../models/xl/reference/mlstm.xl");
const SLSTM: &str = include_str!("../../models/xl/reference/slstm.xl");

const RESET: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s], r: bool[s], C0: [dk, dv], n0: [dk], m0: [])
  -> (h: [s, dv], C: [dk, dv], n: [dk], m: []) {
  scan s reset r {
    state C: [dk, dv] = C0
    state n: [dk] = n0
    state m: [] = m0
    m' = max(logsigmoid(f) + m, i)
    let forget = exp(logsigmoid(f) + m - m')
    C' = forget * C + exp(i - m') * k * v
    n' = forget * n + exp(i - m') * k
    yield h = sum[dk](q * C') / (max(abs(sum[dk](q * n')), exp(-m')) + 0.001)
  }
}";

const LINEAR_ATTENTION: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  scan s { state S: [dk, dv] = S0  S' = S + k * v  yield h = sum[dk](q * S') }
}";

const NORMALISED: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], S0: [dk, dv], n0: [dk]) -> (h: [s, dv], S: [dk, dv], n: [dk]) {
  scan s {
    state S: [dk, dv] = S0
    state n: [dk] = n0
    S' = S + k * v
    n' = n + k
    yield h = sum[dk](q * S') / sum[dk](q * n')
  }
}";

const RETENTION: &str = "
fn cell(q: [s, h, dk], k: [s, h, dk], v: [s, h, dv], a: [h], S0: [h, dk, dv]) -> (y: [s, h, dv], S: [h, dk, dv]) {
  scan s {
    state S: [h, dk, dv] = S0
    S' = 0.9 * exp(-exp(a)) * S + k * v
    yield y = sum[dk](q * S')
  }
}";

const GATED: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  scan s {
    state S: [dk, dv] = S0
    S' = sigmoid(g) * S + (1 - sigmoid(g)) * k * v
    yield h = sum[dk](q * S') / sqrt(|dk|)
  }
}";

const MAMBA: &str = "
fn cell(C: [s, dk], B: [s, dk], x: [s, h, dv], dt: [s, h], a: [h], D: [h], S0: [h, dk, dv])
  -> (y: [s, h, dv], S: [h, dk, dv]) {
  scan s {
    state S: [h, dk, dv] = S0
    let t = -logsigmoid(-dt)
    S' = exp(t * -exp(a)) * S + t * B * x
    yield y = sum[dk](C * S') + D * x
  }
}";

const BONUS: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s], u: [dk], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  scan s {
    state S: [dk, dv] = S0
    S' = sigmoid(g) * S + k * v
    yield h = sum[dk](q * (S + u * k * v))
  }
}";

const BONUS_RESET: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s], u: [dk], r: bool[s], S0: [dk, dv])
  -> (h: [s, dv], S: [dk, dv]) {
  scan s reset r {
    state S: [dk, dv] = S0
    S' = sigmoid(g) * S + k * v
    yield h = sum[dk](q * (S + u * k * v))
  }
}";

const TWO_MEMORIES: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], z: [s, dv], g: [s], S0: [dk, dv], T0: [dk, dv])
  -> (h: [s, dv], S: [dk, dv], T: [dk, dv]) {
  scan s {
    state S: [dk, dv] = S0
    state T: [dk, dv] = T0
    S' = sigmoid(g) * S + k * v
    T' = sigmoid(g) * T + k * z - q * v
    yield h = sum[dk](q * S') * tanh(sum[dk](q * T)) + sum[dk](k * T')
  }
}";

const BACKWARDS: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  scan s reverse {
    state S: [dk, dv] = S0
    S' = sigmoid(g) * S + k * v
    yield h = sum[dk](q * S')
  }
}";

/// Resets to the declared constants, which are not 0.
const RESET_TO_CONSTANTS: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s], r: bool[s])
  -> (h: [s, dv], old: [s, dv], S: [dk, dv], n: [dk]) {
  scan s reset r {
    state S: [dk, dv] = 0.5
    state n: [dk] = 1
    S' = sigmoid(g) * S + k * v
    n' = sigmoid(g) * n + k
    yield h = sum[dk](q * S') / sum[dk](q * n')
    yield old = sum[dk](k * S)
  }
}";

/// A loop in every step, whose result is written.
const NESTED: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], x: [s, e], w: [e], g: [s], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  scan s {
    state S: [dk, dv] = S0
    let a = inner(x, w)
    S' = sigmoid(g + a) * S + (a * k) * v
    yield h = sum[dk](q * S') + a
  }
}
fn inner(x: [e], w: [e]) -> (y: []) {
  scan e {
    state y: [] = 0
    y' = tanh(y + x * w)
  }
}";

const EXPONENTIAL_FORGET: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s], C0: [dk, dv], n0: [dk], m0: [])
  -> (h: [s, dv], C: [dk, dv], n: [dk], m: []) {
  scan s {
    state C: [dk, dv] = C0
    state n: [dk] = n0
    state m: [] = m0
    m' = max(f + m, i)
    C' = exp(f + (m - m')) * C + exp(i - m') * k * v
    n' = exp(f + (m - m')) * n + exp(i - m') * k
    yield h = sum[dk](q * C') / sum[dk](q * n')
  }
}";

fn program(text: &str, entry: &str, map: &[&str]) -> Module {
    let parsed = parse_program("cell.xl", text, &|path| Err(format!("no file `{path}`")));
    let parsed = parsed.unwrap_or_else(|failed| panic!("{failed}"));
    let mut options = Options { dtype: DType::F32, ..Options::default() };
    for (axis, size) in [("dk", 3), ("dv", 2), ("h", 2), ("d", 3), ("e", 3), ("n", 2)] {
        options.sizes.insert(axis.into(), size);
    }
    for input in map {
        options.map.insert((*input).into(), vec!["b".into(), "head".into()]);
    }
    elaborate(&parsed, &[entry], &options).unwrap_or_else(|problems| panic!("{entry}: {problems:?}"))
}

fn root(module: &Module) -> FunctionId {
    FunctionId(module.functions.len() as u32 - 1)
}

/// Positive keys and queries, so that no sum nearly cancels.
fn draw(gates: f64) -> impl FnMut(&str, &mut Numbers) -> f64 {
    move |name, numbers| match name {
        "q" | "k" | "B" | "C" | "C0" | "n0" | "S0" | "T0" => numbers.next(0.1, 1.0),
        "r" => numbers.next(0.0, 0.6),
        "i" | "f" | "g" | "dt" => match numbers.below(10) {
            0 => numbers.next(-gates, gates) * 1.7,
            _ => numbers.next(-gates, gates),
        },
        _ => numbers.next(-1.0, 1.0),
    }
}

const PER_KEY: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s, dk], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  scan s { state S: [dk, dv] = S0  S' = sigmoid(g) * S + k * v  yield h = sum[dk](q * S') }
}";

const PER_KEY_OLD: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s, dk], r: bool[s]) -> (h: [s, dv], S: [dk, dv]) {
  scan s reverse reset r { state S: [dk, dv] = 0  S' = sigmoid(g) * S + k * v  yield h = sum[dk](q * S) }
}";

const PER_SLOT: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s, dv], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  scan s { state S: [dk, dv] = S0  S' = sigmoid(g) * S + k * v  yield h = sum[dk](q * S') }
}";

const ELEMENTWISE: &str = "
fn cell(x: [s, d], g: [s, d], c0: [d]) -> (h: [s, d], c: [d]) {
  scan s { state c: [d] = c0  c' = sigmoid(g) * c + (1 - sigmoid(g)) * x  yield h = tanh(c') }
}";

const MAMBA_1: &str = "
fn cell(x: [s, d], dt: [s, d], B: [s, n], C: [s, n], a: [d, n], S0: [d, n]) -> (y: [s, d], S: [d, n]) {
  let step = -logsigmoid(-dt)
  scan s { state S: [d, n] = S0  S' = exp(-exp(a) * step) * S + step * B * x  yield y = sum[n](C * S') }
}";

const DELTA: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], b: [s], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  let u = k / sqrt(sum[dk](k * k))
  scan s {
    state S: [dk, dv] = S0
    S' = S + sigmoid(b) * u * (v - sum[dk](u * S))
    yield h = sum[dk](q * S')
  }
}";

const DELTA_GATED: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], b: [s], g: [s], r: bool[s], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  let u = k / sqrt(sum[dk](k * k))
  scan s reset r {
    state S: [dk, dv] = S0
    let kept = sigmoid(g) * S
    S' = kept + sigmoid(b) * u * (v - sum[dk](u * kept))
    yield h = sum[dk](q * S')
  }
}";

const DELTA_KEYED: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], b: [s], g: [s, dk], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  let u = k / sqrt(sum[dk](k * k))
  scan s {
    state S: [dk, dv] = S0
    let kept = sigmoid(g) * S
    S' = kept + sigmoid(b) * u * (v - sum[dk](u * kept))
    yield h = sum[dk](q * S')
  }
}";

const LOW_RANK: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], b: [s, dk], g: [s, dk], S0: [dk, dv]) -> (h: [s, dv], S: [dk, dv]) {
  let u = q / sqrt(sum[dk](q * q))
  scan s reverse {
    state S: [dk, dv] = S0
    S' = sigmoid(g) * S - sigmoid(b) * u * sum[dk](u * S) + k * v
    yield h = sum[dk](q * S')
  }
}";

fn linear_scans(graph: &Graph) -> usize {
    graph.nodes.iter().filter(|n| matches!(n.op, Op::LinRead { .. })).count()
}

const FORMS: [Form; 7] = [
    Form::Recurrent,
    Form::Parallel,
    Form::Chunkwise(16),
    Form::Chunkwise(64),
    Form::Chunkwise(100),
    Form::TwoLevel(64, 16),
    Form::Associative(16),
];

/// Recognises the cell, as it is and in canonical form, and compares every form with the loop.
fn check(what: &str, module: &Module, scans: usize, lengths: &[u64], gates: &[f64]) {
    let f = root(module);
    let (canonical, _) = canonicalize(module, Rules::builtin());
    for (kind, source) in [("as written", module), ("canonical", &canonical)] {
        let (found, report) = recognize(source);
        assert!(report.iter().all(|r| r.outcome.is_ok()), "{what}, {kind}: {}", report[0]);
        assert_eq!(linear_scans(&found[f].graph), scans, "{what}, {kind}");
        let (wanted, g) = differentiated(module, f);
        let (derived, g_found) = differentiated(&found, f);
        let mut worst = (0.0f64, 0.0f64);
        for form in FORMS {
            let (expanded, _) = expand(&derived, &form);
            for length in lengths {
                for gate in gates {
                    let mut numbers = Numbers::new(*length * 31 + *gate as u64);
                    let sizes = [("s", *length), ("b", 2), ("head", 2)];
                    let inputs = inputs(&wanted, g, &sizes, &mut numbers, &mut draw(*gate));
                    let wanted_values = run(&wanted, g, &inputs);
                    assert!(
                        wanted_values.iter().all(carousel_reference::Tensor::is_finite),
                        "{what} is finite"
                    );
                    let values = run(&expanded, g_found, &inputs);
                    let errors = errors(&wanted, g, &values, &wanted_values);
                    let at = format!("{what}, {kind}, {form:?}, {length} steps, gates {gate}");
                    assert_close(&at, &errors, 1e-10);
                    for (name, error) in errors {
                        let slot = if name.starts_with("grad.") { &mut worst.1 } else { &mut worst.0 };
                        *slot = slot.max(error);
                    }
                }
            }
        }
        println!("{what}, {kind}: forward {:.1e}, gradients {:.1e}", worst.0, worst.1);
    }
}

const LENGTHS: [u64; 6] = [1, 2, 7, 64, 100, 257];

#[test]
fn published_mlstm() {
    check("mLSTM", &program(MLSTM, "mlstm_from", &[]), 2, &LENGTHS, &[2.0, 60.0]);
    check("mLSTM with resets", &program(RESET, "cell", &[]), 2, &LENGTHS, &[2.0, 60.0]);
    check("mLSTM, exponential", &program(EXPONENTIAL_FORGET, "cell", &[]), 2, &LENGTHS, &[2.0, 60.0]);
}

#[test]
fn attention_without_decay() {
    check("linear attention", &program(LINEAR_ATTENTION, "cell", &[]), 1, &LENGTHS, &[1.0]);
    check("normalised", &program(NORMALISED, "cell", &[]), 2, &LENGTHS, &[1.0]);
}

#[test]
fn bounded_gates() {
    check("retention", &program(RETENTION, "cell", &[]), 1, &LENGTHS, &[1.0]);
    check("gated", &program(GATED, "cell", &[]), 1, &LENGTHS, &[2.0, 60.0]);
    check("Mamba2", &program(MAMBA, "cell", &[]), 1, &LENGTHS, &[2.0, 60.0]);
    check("backwards", &program(BACKWARDS, "cell", &[]), 1, &LENGTHS, &[2.0, 60.0]);
}

#[test]
fn decays_of_their_own() {
    check("per key", &program(PER_KEY, "cell", &[]), 1, &LENGTHS, &[2.0, 60.0]);
    check("per key, for batches", &program(PER_KEY, "cell", &["q", "k", "v", "g"]), 1, &[1, 7, 70], &[60.0]);
    check("per key, backwards", &program(PER_KEY_OLD, "cell", &[]), 1, &LENGTHS, &[2.0, 60.0]);
    check("per slot", &program(PER_SLOT, "cell", &[]), 1, &LENGTHS, &[2.0]);
    check("elementwise", &program(ELEMENTWISE, "cell", &[]), 1, &LENGTHS, &[2.0, 60.0]);
    check("elementwise, two axes", &program(MAMBA_1, "cell", &[]), 1, &LENGTHS, &[2.0]);
    let (found, report) = recognize(&program(PER_KEY, "cell", &[]));
    assert_eq!(report[0].kind, Some(Recurrence::Diagonal), "{}", report[0]);
    assert_eq!(found.functions.len(), 1);
    let (_, report) = recognize(&program(ELEMENTWISE, "cell", &[]));
    assert_eq!(report[0].kind, Some(Recurrence::Elementwise), "{}", report[0]);
}

#[test]
fn memories_that_read_themselves() {
    check("delta rule", &program(DELTA, "cell", &[]), 2, &LENGTHS, &[2.0]);
    check("delta rule, gated", &program(DELTA_GATED, "cell", &[]), 2, &LENGTHS, &[2.0]);
    check("delta rule, keys gated", &program(DELTA_KEYED, "cell", &[]), 2, &LENGTHS, &[2.0]);
    check("low rank", &program(LOW_RANK, "cell", &[]), 3, &LENGTHS, &[2.0]);
    check("for heads", &program(DELTA_KEYED, "cell", &["v", "b", "S0"]), 2, &[1, 7, 70], &[2.0]);
    let (_, report) = recognize(&program(DELTA, "cell", &[]));
    assert_eq!(report[0].kind, Some(Recurrence::LowRank), "{}", report[0]);
}

#[test]
fn old_reads_and_several_memories() {
    check("bonus", &program(BONUS, "cell", &[]), 1, &LENGTHS, &[2.0, 60.0]);
    check("bonus with resets", &program(BONUS_RESET, "cell", &[]), 1, &LENGTHS, &[2.0, 60.0]);
    check("two memories", &program(TWO_MEMORIES, "cell", &[]), 5, &LENGTHS, &[2.0, 60.0]);
}

#[test]
fn resets_to_other_values_than_zero() {
    check("resets to constants", &program(RESET_TO_CONSTANTS, "cell", &[]), 6, &LENGTHS, &[2.0, 60.0]);
}

#[test]
fn loops_in_every_step() {
    let nested = program(NESTED, "cell", &[]);
    check("a loop in every step", &nested, 1, &LENGTHS, &[2.0]);
}

#[test]
fn mapped_cells() {
    let all = ["q", "k", "v", "i", "f", "C0", "n0", "m0"];
    let module = program(MLSTM, "mlstm_from", &all);
    check("mLSTM for batches and heads", &module, 2, &[1, 7, 70], &[2.0, 60.0]);
    // Resets belong to the batch, the initial state to nobody.
    let module = program(RESET, "cell", &["q", "k", "v", "i", "f"]);
    check("mLSTM for batches, one start", &module, 2, &[1, 7, 70], &[2.0]);
    // One key for all heads.
    let module = program(GATED, "cell", &["q"]);
    check("one memory for all heads", &module, 2, &[1, 7, 70], &[2.0]);
}

#[test]
fn strata_are_reported() {
    let (_, report) = recognize(&program(MLSTM, "mlstm_from", &[]));
    let states = report[0].outcome.as_ref().unwrap();
    let of = |name: &str| states.iter().find(|(n, _)| n.as_str() == name).unwrap().1;
    assert_eq!([of("C"), of("n"), of("m")], [Stratum::Linear, Stratum::Linear, Stratum::Kept]);
    assert_eq!(report[0].to_string(), "mlstm_from, loop along s: `C` linear, `n` linear, `m` a loop");
}

/// What is refused, and why.
fn refused(text: &str, entry: &str) -> Class {
    let module = program(text, entry, &[]);
    let (same, report) = recognize(&module);
    assert!(same.functions.iter().all(|f| linear_scans(&f.graph) == 0));
    match report.as_slice() {
        [Recognition { outcome: Err(refusal), .. }] => {
            println!("{refusal}");
            refusal.class
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_recurrences_are_left_with_the_reason() {
    let dense = "
fn cell(x: [s, d], r: [d, e = d]) -> (h: [s, d]) {
  scan s { state y: [d] = 0  y' = x + sum[e](r * y[d -> e])  yield h = y' }
}";
    assert_eq!(refused(dense, "cell"), Class::Contracted);
    let two_ways = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], u: [s, dk]) -> (h: [s, dv]) {
  scan s {
    state S: [dk, dv] = 0
    S' = S + k * (v - sum[dk](k * S)) - u * sum[dk](u * S)
    yield h = sum[dk](q * S')
  }
}";
    assert_eq!(refused(two_ways, "cell"), Class::Contracted);
    let squared = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv]) -> (h: [s, dv]) {
  scan s { state S: [dk, dv] = 0  S' = S + k * tanh(sum[dk](k * S)) + k * v  yield h = sum[dk](q * S') }
}";
    assert_eq!(refused(squared, "cell"), Class::Nonlinear);
    let growing = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s]) -> (h: [s, dv]) {
  scan s { state S: [dk, dv] = 0  S' = exp(g) * S + k * v  yield h = sum[dk](q * S') }
}";
    assert_eq!(refused(growing, "cell"), Class::Unbounded);
    let signed = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s]) -> (h: [s, dv]) {
  scan s { state S: [dk, dv] = 0  S' = tanh(g) * S + k * v  yield h = sum[dk](q * S') }
}";
    assert_eq!(refused(signed, "cell"), Class::Unbounded);
    let whole = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], g: [s]) -> (h: [s, dv]) {
  scan s { state S: [dk, dv] = 0  S' = sigmoid(g) * S + k * v  yield h = sum[dk](q * tanh(S')) }
}";
    assert_eq!(refused(whole, "cell"), Class::Other);
    let (_, report) = recognize(&program(SLSTM, "slstm_from", &[]));
    assert_eq!(report[0].kind, Some(Recurrence::Nonlinear), "{}", report[0]);
}

/// Axes of all values, those in the bodies of loops included.
fn values(graph: &Graph, found: &mut Vec<Axes>) {
    for node in &graph.nodes {
        found.extend(node.types.iter().map(|t| t.axes.clone()));
        if let Op::Scan { scan } = &node.op {
            values(&scan.body, found);
        }
    }
}

#[test]
fn no_state_of_every_step_becomes_a_value() {
    let module = program(MLSTM, "mlstm_from", &[]);
    let (derived, _) = differentiated(&recognize(&module).0, root(&module));
    let (expanded, _) = expand(&derived, &Form::Chunkwise(64));
    let mut all = Vec::new();
    expanded.functions.iter().for_each(|f| {
        assert!(!f.graph.nodes.iter().any(|n| Line::of(&n.op).is_some()));
        values(&f.graph, &mut all);
    });
    let both = Axes::new(["dk".into(), "dv".into()]);
    let mut states = 0;
    for axes in all.iter().filter(|a| both.is_subset(a)) {
        assert!(axes.iter().all(|a| ["dk", "dv", "chunk"].contains(&a.as_str())), "[{axes}]");
        states += 1;
    }
    assert!(states > 0);
}

#[test]
fn what_reads_have_in_common_is_computed_once() {
    let module = program(MLSTM, "mlstm_from", &[]);
    let (expanded, sites) = expand(&recognize(&module).0, &Form::Chunkwise(16));
    assert_eq!(sites.len(), 2);
    let graph = &expanded[root(&expanded)].graph;
    let wide = |op: &Op, axes: &[&str]| {
        let axes = Axes::new(axes.iter().map(|a| (*a).into()));
        graph.nodes.iter().filter(|n| n.op.kind() == op.kind() && n.types[0].axes == axes).count()
    };
    let pairs = ["chunk", "step", "written"];
    assert_eq!(wide(&Op::Exp, &pairs), 1, "the weights");
    assert_eq!(wide(&Op::Dot { axes: Axes::none() }, &pairs), 1, "the products of keys and queries");
}
