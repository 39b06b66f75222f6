//! Damaged programs: whatever tokens are lost, doubled or exchanged, nothing panics and every message has a place.

use super::*;
use crate::text::lexer::lex;
use proptest::prelude::*;

fn texts() -> Vec<String> {
    let names = ["cells/slstm.xl", "blocks/mlstm.xl", "reference/mlstm.xl", "models/lm.xl", "layers/loss.xl"];
    names.iter().map(|n| model_files(n).expect("it is readable")).collect()
}

/// One change: what is done (delete, double, exchange, cut), and where, as fractions of the length.
fn damage(text: &str, changes: &[(u8, f64, f64)]) -> String {
    let mut problems = Vec::new();
    let lexemes = lex(0, text, &mut problems);
    let mut words: Vec<&str> =
        lexemes.iter().map(|l| &text[l.span.start as usize..l.span.end as usize]).collect();
    for (what, a, b) in changes {
        if words.len() < 2 {
            break;
        }
        let place = |x: f64| ((x * words.len() as f64) as usize).min(words.len() - 1);
        let (a, b) = (place(*a), place(*b));
        match what % 4 {
            0 => {
                words.remove(a);
            }
            1 => words.insert(a, words[b]),
            2 => words.swap(a, b),
            _ => words.truncate(a.max(1)),
        }
    }
    words.join(" ")
}

fn examine(text: &str) {
    match parse_program("damaged.xl", text, &model_files) {
        Err(failed) => {
            assert!(!failed.diagnostics.is_empty());
            assert!(failed.diagnostics.iter().all(|d| d.span.is_known()), "{failed}");
        }
        Ok(program) => {
            for problem in check(&program) {
                assert!(problem.span.is_known(), "{problem}");
            }
            for definition in &program.definitions {
                if let Ok(module) = elaborate(&program, &[definition.name.name.as_str()], &Options::default())
                {
                    let problems = verify(&module);
                    assert!(problems.is_empty(), "{problems:?} for\n{text}");
                    round_trip(&module);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_sources_are_refused_or_meaningful(
        which in 0usize..5,
        changes in proptest::collection::vec((any::<u8>(), 0.0..1.0f64, 0.0..1.0f64), 1..6),
    ) {
        examine(&damage(&texts()[which], &changes));
    }

    #[test]
    fn damaged_modules_are_refused_or_verified(
        changes in proptest::collection::vec((any::<u8>(), 0.0..1.0f64, 0.0..1.0f64), 1..4),
    ) {
        let program = parsed(&model_files("cells/slstm.xl").expect("readable"));
        let text = print(&elaborated(&program, &["slstm"], &Options::default()));
        if let Ok(module) = parse_module(&damage(&text, &changes)) {
            prop_assert!(verify(&module).is_empty());
            round_trip(&module);
        }
    }

    #[test]
    fn any_text_is_survived(text in "[a-z(){}\\[\\]=<>|'+*/!,.:;~ \n0-9-]{0,200}") {
        let _ = parse_program("any.xl", &format!("fn f(x: [s]) -> (y: [s]) {{ {text}"), &no_files);
        let _ = parse_module(&text);
    }
}
