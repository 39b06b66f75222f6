//! What people get wrong, and what they are told.

use super::*;
use crate::{Diagnostic, Severity, Sources};

/// The messages for a program, whether it fails in the parser or later.
fn problems(text: &str) -> (Sources, Vec<Diagnostic>) {
    match parse_program("test.xl", text, &no_files) {
        Err(failed) => (failed.sources, failed.diagnostics),
        Ok(program) => {
            let problems = check(&program);
            (program.sources, problems)
        }
    }
}

/// Codes and lines of the messages, in the order of the text.
fn codes(text: &str) -> Vec<(&'static str, usize)> {
    let (sources, mut problems) = problems(text);
    problems.sort_by_key(|p| p.span);
    problems
        .iter()
        .map(|p| {
            assert_eq!(p.severity, Severity::Error);
            (p.code, sources.line_column(p.span).unwrap_or_else(|| panic!("{p} has no place")).0)
        })
        .collect()
}

#[test]
fn ten_mistakes_make_ten_messages() {
    let text = "\
fn cell(q: [s, dk], v: [s, dv], i: [s], tokens: i32[s]) -> (h: [s, dv], z: [s]) {
  let a = sigmid(i)
  let b = sum[dx](q * v)
  let c = q + tokens
  let d = qq * 2
  let e = max(i)
  let g = cast[f17](i)
  scan s {
    state C: [dk, dv] = 0
    state n: [dk] = 0
    C' = C + q * v
    n' = n + q * v
    yield h = sum[dk](q * C')
  }
  let i = 3
  param w: [dk] ~ zeros
}
";
    let expected = [
        ("output", 1),
        ("function-unknown", 2),
        ("axis-unknown", 3),
        ("dtype", 4),
        ("name-unknown", 5),
        ("arity", 6),
        ("dtype", 7),
        ("axes", 12),
        ("duplicate", 15),
        ("param", 16),
    ];
    assert_eq!(codes(text), expected);
    let (sources, problems) = problems(text);
    let text = sources.render(&problems, crate::RenderStyle::Plain);
    for advice in ["did you mean `sigmoid`", "did you mean `dk`", "did you mean `q`", "make it a `block`"] {
        assert!(text.contains(advice), "{advice} in\n{text}");
    }
}

#[test]
fn the_parser_goes_on_after_an_error() {
    let text = "\
fn a(x: [s]) -> (y: [s]) {
  let y = x +
  let z = (x * 2
  scam s { }
  y = x $ 2
}
fn b(x [s]) -> (y: [s]) { let y = x }
fn c(x: [s]) -> (y: [s]) {
  let y = a < b < c
  let = 3
  let w = x[s ->
}
blok d(x: [s]) -> (y: [s]) {}
fn e(x: f3[s]) -> (y: [s]) { let y = x }
";
    let lines: Vec<usize> = codes(text).iter().map(|c| c.1).collect();
    for line in [2, 3, 4, 5, 7, 9, 10, 11, 13, 14] {
        assert!(lines.contains(&line), "line {line} in {:?}", codes(text));
    }
    assert!(lines.len() <= 13, "{:?}", codes(text));
}

#[rustfmt::skip]
const SINGLE: &[(&str, &str)] = &[
    // Equations of scans.
    ("cycle",           "fn f(x: [s]) -> (y: [s]) { scan s { state a: [] = 0 ; state b: [] = 0 ; a' = b' ; b' = a' ; yield y = a + x } }"),
    ("cycle",           "fn f(x: [s]) -> (y: [s]) { scan s { let a = b + 1 ; let b = a * x ; yield y = a } }"),
    ("state-equation",  "fn f(x: [s]) -> (y: [s]) { scan s { state a: [] = 0 ; yield y = a + x } }"),
    ("duplicate",       "fn f(x: [s]) -> (a: []) { scan s { state a: [] = 0 ; a' = a + x ; a' = a } }"),
    ("state-unknown",   "fn f(x: [s]) -> (a: []) { scan s { state a: [] = 0 ; a' = a + x ; b' = a } }"),
    ("state-unknown",   "fn f(x: [s]) -> (y: [s]) { scan s { yield y = x' } }"),
    ("scan",            "fn f(x: [s]) -> (a: []) { scan s { state a: [s] = 0 ; a' = a + x } }"),
    ("scan",            "fn f(x: [s]) -> (a: []) { scan s { state a: [] = x ; a' = a + x } }"),
    ("scan",            "fn f(x: [s]) -> (y: [s]) { scan s { let a = 1 ; a = 2 ; yield y = x } }"),
    ("scan",            "fn f(x: [s], r: [s]) -> (a: []) { scan s reset r { state a: [] = 0 ; a' = a + x } }"),
    ("axis-unknown",    "fn f(x: [s]) -> (y: [s]) { scan t { yield y = x } }"),
    ("axis-missing",    "fn f(x: [s, d]) -> (y: [s]) { scan s { yield y = sum[s](x) } }"),
    ("dtype",           "fn f(x: [s]) -> (a: i32) { scan s { state a: i32 = 0 ; a' = x } }"),
    ("scan",            "fn f(x: [s]) -> (y: [s]) { let y = x ; y' = x }"),
    ("duplicate",       "fn f(x: [s]) -> (y: [s]) { scan s { let a = x ; let a = x * 2 ; yield y = a } }"),
    // Types and axes.
    ("size",            "fn f(x: [s = 3]) -> (y: [t = 5]) { let y = x[s -> t = 1..6] }"),
    ("size",            "fn f(x: [e = 10]) -> (y: [h, d]) { let y = x[e => h = 4, d] }"),
    ("axis-clash",      "fn f(x: [s, s]) -> (y: [s]) { let y = sum[s](x) }"),
    ("axis-clash",      "fn f(x: [s, t = s]) -> (y: [s]) { let y = x[s -> t] }"),
    ("axes",            "fn f(x: [s, d]) -> (y: [s]) { let y = x }"),
    ("dtype",           "fn f(x: i32[s]) -> (y: [s]) { let y = x }"),
    ("dtype",           "fn f(x: i32[s]) -> (y: i32[s]) { let y = x + 0.5 }"),
    ("dtype",           "fn f(x: [s]) -> (y: [s]) { let y = select(x, x, 0) }"),
    ("size",            "fn f(x: [s]) -> (y: [t]) { let y = x[s -> t = 3..1] }"),
    ("output",          "fn f(x: [s]) -> (y: [s]) { let z = x }"),
    ("output",          "fn f(x: [s]) -> () { let z = x }"),
    ("compile-time",    "fn f(x: [s]) -> (y: [s]) { let y = if x > 0 { x } else { 0 } }"),
    ("compile-time",    "block f(x: [s]) -> (y: [s]) { param w: [s] ~ normal(0, 1 / x) ; let y = x * w }"),
    ("power",           "fn f(x: [s]) -> (y: [s]) { let y = x^0.5 }"),
    ("view",            "fn f(x: [s]) -> (y: [s]) { let y = x[s] }"),
    ("operation",       "fn f(x: [s]) -> (y: [s]) { let y = cumsum(x) }"),
    ("initialiser",     "block f(x: [s]) -> (y: [s]) { param w: [s] ~ norml(0, 1) ; let y = x * w }"),
    ("initialiser",     "block f(x: [s]) -> (y: [s]) { param w: [s] ~ normal(0) ; let y = x * w }"),
    ("constant",        "fn f(x: [s]) -> (y: [s]) { let y = x * (9223372036854775807 + 1) }"),
    ("constant",        "fn f(x: [s]) -> (y: [s]) { let y = x * (1 / 0) }"),
    // Calls.
    ("arity",           "fn g(x: []) -> (y: []) { let y = x } fn f(x: [s]) -> (y: [s]) { let y = g(x, x) }"),
    ("axis-missing",    "fn g(x: [d]) -> (y: []) { let y = sum[d](x) } fn f(x: [s]) -> (y: [s]) { let y = g(x) }"),
    ("axis-clash",      "fn g(x: [s], w: [d]) -> (y: [s]) { let y = x * sum[d](w) } fn f(x: [s, d], w: [d]) -> (y: [s, d]) { let y = g(x, w) }"),
    ("dtype",           "fn g(x: i32) -> (y: i32) { let y = x } fn f(x: [s]) -> (y: [s]) { let y = g(x) }"),
    ("recursion",       "fn f(x: [s]) -> (y: [s]) { let y = f(x) }"),
    ("recursion",       "fn f(x: [s]) -> (y: [s]) { let g(a) = g(a) ; let y = g(x) }"),
    ("tuple",           "fn g(x: []) -> (a: [], b: []) { let a = x ; let b = x } fn f(x: [s]) -> (y: [s]) { let y = g(x) * 2 }"),
    ("arity",           "fn g(x: []) -> (a: [], b: []) { let a = x ; let b = x } fn f(x: [s]) -> (y: [s]) { let (y, u, v) = g(x) }"),
    ("config-missing",  "fn g<n: int>(x: []) -> (y: []) { let y = x * n } fn f(x: [s]) -> (y: [s]) { let y = g(x) }"),
    ("config-unknown",  "fn g<n: int>(x: []) -> (y: []) { let y = x * n } fn f(x: [s]) -> (y: [s]) { let y = g<n = 1, m = 2>(x) }"),
    ("config",          "fn g<n: int>(x: []) -> (y: []) { let y = x * n } fn f(x: [s]) -> (y: [s]) { let y = g<n = true>(x) }"),
    ("match",           "fn f<a: enum(one, two)>(x: []) -> (y: []) { let y = match a { one => x, too => x, two => x } }"),
    ("match",           "fn f<a: enum(one, two)>(x: []) -> (y: []) { let y = match a { one => x } }"),
    ("duplicate",       "block g(x: []) -> (y: []) { param w: [] ~ ones ; let y = x * w } model f(x: [s]) -> (y: [s]) { let y = g(g(x)) }"),
    ("scan",            "block g(x: []) -> (y: []) { param w: [] ~ ones ; let y = x * w } model f(x: [s]) -> (y: [s]) { scan s { yield y = g(x) } }"),
    ("call",            "block g(x: []) -> (y: []) { param w: [] ~ ones ; let y = x * w } fn h(x: []) -> (y: []) { let y = g(x) } model f(x: [s]) -> (y: [s]) { let y = h(x) }"),
    ("alias",           "fn g(x: []) -> (y: []) { let y = x } fn f(x: [s]) -> (y: [s]) { let y = g(x) as z }"),
    ("duplicate",       "fn exp(x: []) -> (y: []) { let y = x }"),
    ("duplicate",       "fn g(x: []) -> (y: []) { let y = x } fn g(x: []) -> (y: []) { let y = x }"),
    ("duplicate",       "fn g(x: [], x: []) -> (y: []) { let y = x }"),
    ("remat",           "remat fn g(x: []) -> (y: []) { let y = x }"),
    // Limits.
    ("limit",           "fn f(x: [s]) -> (y: [s]) { repeat i in 0..1000000000 { x = x + 1 } let y = x }"),
];

#[test]
fn single_mistakes_make_single_messages() {
    let mut wrong = Vec::new();
    for (code, text) in SINGLE {
        let found: Vec<&str> = codes(text).iter().map(|c| c.0).collect();
        if found != [*code] {
            wrong.push(format!("{code}: {:?}\n{text}", problems(text).1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn work_is_limited() {
    let deep = format!("fn f(x: [s]) -> (y: [s]) {{ let y = {}x{} }}", "(".repeat(5000), ")".repeat(5000));
    assert!(codes(&deep).iter().any(|c| c.0 == "limit"));
    let long = format!("fn f(x: [s]) -> (y: [s]) {{ let y = x{} }}", " + x".repeat(5000));
    assert!(codes(&long).iter().any(|c| c.0 == "limit"));
    let minus = format!("fn f(x: [s]) -> (y: [s]) {{ let y = {}x }}", "-".repeat(5000));
    assert!(codes(&minus).iter().any(|c| c.0 == "limit"));
    // Each function uses the one before twice: 2^40 expansions.
    let mut doubling = "fn f0(x: []) -> (y: []) { let y = x }\n".to_string();
    for n in 1..=40 {
        doubling += &format!("fn f{n}(x: []) -> (y: []) {{ let y = f{0}(f{0}(x)) }}\n", n - 1);
    }
    let program = parsed(&doubling);
    let problems = elaborate(&program, &["f40"], &Options::default()).expect_err("too much");
    assert!(problems.iter().any(|p| p.code == "limit"), "{problems:?}");
    // Sizes stay without a dtype for a while; that must not double either.
    let mut sizes = "fn f(x: [s]) -> (y: [s]) { let a0 = |s|\n".to_string();
    for n in 1..=60 {
        sizes += &format!("let a{n} = a{0} + a{0}\n", n - 1);
    }
    assert_eq!(codes(&(sizes + "let y = x * a60 }")), []);
}

#[test]
fn long_chains_of_calls_end() {
    let block = "param w: [] ~ ones ; if true { let y = CALL }";
    let expanded = "let w = 2 ; let y = CALL";
    let looped = "let w: [t = 2] = x ; scan t { yield all = CALL } let y = sum[t](all)";
    for (kind, body) in [("block", block), ("fn", expanded), ("fn", looped)] {
        for deep in [50, 2000] {
            let mut text = format!("{kind} f0(x: []) -> (y: []) {{ let y = x }}\n");
            for n in 1..=deep {
                let body = body.replace("CALL", &format!("-(-(-(f{}(x * w))))", n - 1));
                text += &format!("{kind} f{n}(x: []) -> (y: []) {{ {body} }}\n");
            }
            let program = parsed(&text);
            let result = elaborate(&program, &[&format!("f{deep}")], &Options::default());
            match result {
                Ok(module) => assert!(deep == 50 && verify(&module).is_empty()),
                Err(problems) => {
                    assert!(deep == 2000 && problems[0].code == "limit", "{kind} {}", problems[0])
                }
            }
        }
    }
}

#[test]
fn unknown_entries_and_keys_get_suggestions() {
    let program = parsed("model net<layers: int = 2>(x: [s]) -> (y: [s]) { let y = x }");
    let problems = elaborate(&program, &["nett"], &Options::default()).expect_err("no such function");
    assert_eq!(problems[0].help.as_deref(), Some("did you mean `net`?"));
    let config = [("layer".to_string(), ConfigValue::Int(3))].into();
    let options = Options { config, ..Options::default() };
    let problems = elaborate(&program, &["net"], &options).expect_err("no such key");
    assert_eq!(
        (problems[0].code, problems[0].help.as_deref()),
        ("config-unknown", Some("did you mean `layers`?"))
    );
}
