//! The examples of README.md and docs/*.md: programs elaborate, commands exist, and Rust is tested by the facade crate.
//!
//! Rewrite rules are tried. Commands are not run: they build, train and write files. That the program knows the subcommand and its options, and
//! that the files they name are there, is checked.

use carousel_ir::text::{Options, check, elaborate, parse_program};
use carousel_ir::{RenderStyle, Severity, Sources};
use carousel_models::compile::PassOptions;
use carousel_models::forms::FormOptions;
use carousel_models::trials::add_rules;
use carousel_passes::forms::{Form, Wanted};
use carousel_passes::{Outcome, RuleSets};
use carousel_tests::filetest::load_library;
use carousel_tests::workspace::{files, read, root};

/// A fenced block of a document.
struct Block {
    /// The document and the line of the fence.
    place: String,
    language: String,
    text: String,
}

/// Programs other than ours that commands may call.
const KNOWN_PROGRAMS: &[&str] =
    &["cargo", "cd", "git", "rustup", "curl", "export", "head", "tail", "cat", "jq", "ls", "pip"];

fn documents() -> Vec<(String, String)> {
    let readme = read("README.md").ok().map(|text| ("README.md".to_string(), text));
    readme.into_iter().chain(files("docs", "md").into_iter().map(|f| (f.path, f.text))).collect()
}

fn blocks(language: &str) -> Vec<Block> {
    let found: Vec<Block> = documents()
        .iter()
        .flat_map(|(path, text)| split(path, text))
        .filter(|b| b.language == language)
        .collect();
    println!("{} blocks of {language}", found.len());
    found
}

fn split(path: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                let language = info.split([' ', ',']).next().unwrap_or_default().to_string();
                blocks.push(Block { place: format!("{path}:{}", at + 1), language, text: String::new() });
                open = true;
            }
            None if open => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
            None => {}
        }
    }
    assert!(!open, "{path}: the last block is not closed");
    blocks
}

#[test]
fn programs_elaborate() {
    for block in blocks("xl") {
        let program = parse_program(&block.place, &block.text, &load_library)
            .unwrap_or_else(|failed| panic!("{failed}"));
        let problems = check(&program);
        let is_wrong = problems.iter().any(|p| p.severity == Severity::Error);
        assert!(!is_wrong, "{}", program.sources.render(&problems, RenderStyle::Plain));
    }
}

/// The blocks of one document.
fn blocks_of(document: &str, language: &str) -> Vec<Block> {
    blocks(language).into_iter().filter(|b| b.place.starts_with(document)).collect()
}

/// Our rules and those of the blocks, if they hold.
fn accepted(blocks: &[Block]) -> Result<RuleSets, String> {
    let (mut rules, mut sources) = (RuleSets::default(), Sources::default());
    for block in blocks {
        add_rules(&mut rules, &mut sources, &block.place, &block.text)
            .map_err(|problems| sources.render(&problems, RenderStyle::Plain))?;
    }
    Ok(rules)
}

/// The recurrence in the document about forms takes the rule that stands below it, and only if it is there.
#[test]
fn rules_of_forms_do_what_is_said_of_them() {
    let rules = accepted(&blocks_of("docs/forms.md", "rules")).unwrap_or_else(|why| panic!("{why}"));
    let block = blocks_of("docs/forms.md", "xl").pop().expect("there is an example");
    let program = parse_program(&block.place, &block.text, &load_library).expect("it is elaborated");
    let name = program.definitions[0].name.name.to_string();
    let module = elaborate(&program, &[&name], &Options::default()).expect("it is elaborated");
    let root = module.find(&name).expect("it is there");
    let taken = |rules: RuleSets| {
        let passes = PassOptions { rules, ..PassOptions::default() };
        let module = passes.derived(&passes.simplified(&module).0).module;
        let forms = FormOptions { wanted: Wanted::Only(Form::Parallel), ..FormOptions::default() };
        passes.in_forms(&module, &[root], &forms).1.groups[0].rules.clone()
    };
    assert!(taken(rules).contains(&"parallel-sum".to_string()));
    assert_eq!(taken(RuleSets::default()), ["parallel-read", "parallel-state"]);
}

/// The rules in a document hold; those in blocks of `refused` do not. Every recurrence in the document about rules can be
/// made stable with them, and with none of them left out.
#[test]
fn rules_do_what_is_said_of_them() {
    for block in blocks("refused") {
        let problem = accepted(std::slice::from_ref(&block)).expect_err("it is wrong");
        assert!(problem.contains("rule-wrong"), "{problem}");
    }
    let rules = blocks_of("docs/rules.md", "rules");
    assert!(rules.len() > 1, "there are examples");
    let with = |skip: Option<usize>| {
        let (mut all, mut unstable) = (blocks_of("docs/rules.md", "rules"), Vec::new());
        skip.map(|place| all.remove(place));
        let rules = accepted(&all).unwrap_or_else(|why| panic!("{why}"));
        let passes = PassOptions { rules, ..PassOptions::default() };
        for block in blocks_of("docs/rules.md", "xl") {
            let program = parse_program(&block.place, &block.text, &load_library).expect("it is elaborated");
            let name = program.definitions[0].name.name.to_string();
            let module = elaborate(&program, &[&name], &Options::default()).expect("it is elaborated");
            let stable = passes.derived(&passes.simplified(&module).0).stable;
            unstable.extend(
                stable.scans.iter().filter(|s| s.outcome != Outcome::Stabilized).map(|_| name.clone()),
            );
        }
        unstable
    };
    assert_eq!(with(None), Vec::<String>::new());
    for (place, rule) in rules.iter().enumerate() {
        assert!(!with(Some(place)).is_empty(), "{} is for nothing", rule.place);
    }
}

#[test]
fn commands_exist() {
    let mut problems = Vec::new();
    for block in blocks("sh") {
        for command in block.text.replace("\\\n", " ").lines().map(str::trim) {
            if let Err(why) = check_command(command) {
                problems.push(format!("{}: `{command}`: {why}", block.place));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn check_command(command: &str) -> Result<(), String> {
    let command = command.strip_prefix("$ ").unwrap_or(command);
    let command = command.split(" #").next().unwrap_or_default();
    for part in command.split(['|', ';']).flat_map(|c| c.split("&&")) {
        let words: Vec<&str> = part.split_whitespace().skip_while(|w| is_assignment(w)).collect();
        let (Some(program), rest) = (words.first(), words.get(1..).unwrap_or_default()) else { continue };
        if program.starts_with('#') {
            continue;
        }
        let dashes = rest.iter().position(|w| *w == "--");
        if program.ends_with("carousel") {
            check_own(rest)?;
        } else if let ("cargo", Some(at)) = (*program, rest.iter().position(|word| *word == "--example")) {
            let name = rest.get(at + 1).ok_or("no example is named")?;
            let is_there = |path: String| root().join(path).exists();
            let places = [".rs", "/main.rs"].map(|end| format!("carousel/examples/{name}{end}"));
            places
                .into_iter()
                .any(is_there)
                .then_some(())
                .ok_or_else(|| format!("there is no example {name}"))?;
        } else if *program == "cargo" && rest.first() == Some(&"run") {
            let own = dashes.ok_or("nothing after `--` says what to do")?;
            check_own(&rest[own + 1..])?;
        } else if let Some(script) = program.strip_prefix("./").or(program.contains('/').then_some(*program))
        {
            let is_there = root().join(script).exists() || script.starts_with("target/");
            is_there.then_some(()).ok_or_else(|| format!("there is no file {script}"))?;
        } else if !KNOWN_PROGRAMS.contains(program) {
            return Err(format!("`{program}` is not a program that the documents may ask for"));
        }
    }
    Ok(())
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

/// A subcommand of the program, with options that it declares and files that are there.
fn check_own(words: &[&str]) -> Result<(), String> {
    let Some(subcommand) = words.first().filter(|w| !w.starts_with('-')) else { return Ok(()) };
    let source = read(&format!("carousel/src/cli/{subcommand}.rs"))
        .map_err(|_| format!("there is no subcommand `{subcommand}`"))?;
    let shared: String = files("carousel/src/cli", "rs")
        .into_iter()
        .filter(|f| f.path.ends_with("/common.rs") || f.path.ends_with("/mod.rs"))
        .map(|f| f.text)
        .collect();
    for option in words[1..].iter().filter_map(|w| w.strip_prefix("--")) {
        let option = option.split('=').next().unwrap_or_default();
        let field = format!("{}:", option.replace('-', "_"));
        let declared = |text: &str| text.contains(&field) || text.contains(&format!("\"{option}\""));
        if !["help", "version"].contains(&option) && !declared(&source) && !declared(&shared) {
            return Err(format!("`{subcommand}` has no option --{option}"));
        }
    }
    let folders = ["models/", "tests/", "recipes/"];
    let mut named = words[1..].iter().filter(|word| folders.iter().any(|folder| word.starts_with(folder)));
    match named.find(|path| !root().join(path).exists()) {
        Some(path) => Err(format!("there is no file {path}")),
        None => Ok(()),
    }
}

#[test]
fn rust_examples_are_tested_by_the_facade() {
    if blocks("rust").iter().any(|b| b.place.starts_with("README.md")) {
        let facade = read("carousel/src/lib.rs").expect("the facade crate");
        assert!(
            facade.contains("include_str!(\"../../README.md\")"),
            "the facade does not test the README's Rust"
        );
    }
}

/// The example of the test kit is a test of the kit, word for word.
#[test]
fn the_example_of_the_test_kit_is_run() {
    for (language, path) in [("rust", "testkit/tests/document.rs"), ("xl", "testkit/tests/notebook.xl")] {
        let source = read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let blocks = blocks_of("docs/testkit.md", language);
        assert!(!blocks.is_empty(), "there is an example");
        for block in blocks {
            assert!(source.contains(&block.text), "{} is not in {path}", block.place);
        }
    }
}

#[test]
fn wrong_commands_are_noticed() {
    assert_eq!(check_command("cargo run --release -- train"), Ok(()));
    assert!(check_command("cargo run --release -- trian").is_err());
    assert!(check_command("carousel train --no-such-option 3").is_err());
    assert!(check_command("carousel train --text a.txt && ./no-such-script").is_err());
    assert!(check_command("cargo run --release --example no-such").is_err());
    assert!(check_command("carousel train recipes/no-such.toml").is_err());
    assert!(check_command("CAROUSEL_GOLDEN=x cargo test golden").is_ok());
    assert_eq!(split("a.md", "x\n```sh\nls\n```\n").len(), 1);
}
