//! Checkpoints of other programs on the command line: `info`, `logits`, `generate`.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::support::{folder, run_in};
use crate::training::{prepare, train};

pub(crate) fn golden(name: &str) -> String {
    let root = std::env::var_os("CAROUSEL_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden"), PathBuf::from);
    root.join("hf").join(name).display().to_string()
}

pub(crate) fn logits(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).expect("it was written");
    let file = SafeTensors::deserialize(&bytes).expect("it is a safetensors file");
    let tensor = file.tensor("logits").expect("it holds logits");
    let words = tensor.data().as_chunks::<4>().0;
    (tensor.shape().to_vec(), words.iter().map(|w| f32::from_le_bytes(*w)).collect())
}

#[test]
fn logits_are_the_same_in_pieces_and_as_recorded() {
    let here = folder();
    let checkpoint = golden("single_64");
    let bytes = std::fs::read(Path::new(&checkpoint).join("golden.safetensors")).expect("it is there");
    let recorded = SafeTensors::deserialize(&bytes).expect("it is a safetensors file");
    let ids = recorded.tensor("in.input_ids").expect("it holds tokens");
    let words = ids.data().as_chunks::<8>().0.iter();
    let tokens: Vec<String> = words.map(|w| i64::from_le_bytes(*w).to_string()).collect();
    let run = |out: &str, more: &[&str]| {
        let tokens = tokens.join(",");
        let mut all = vec!["logits", "--checkpoint", &checkpoint, "--tokens", &tokens, "--out", out];
        all.extend(more);
        run_in(here.path(), &all).ok();
        logits(&here.path().join(out))
    };
    let (shape, whole) = run("whole", &[]);
    let (_, pieces) = run("pieces", &["--piece", "4"]);
    assert_eq!(shape, [tokens.len(), 48]);
    let wanted = recorded.tensor("out.logits").expect("it holds logits");
    let wanted: Vec<f32> = wanted.data().as_chunks::<4>().0.iter().map(|w| f32::from_le_bytes(*w)).collect();
    let largest = wanted.iter().fold(0f32, |m, x| m.max(x.abs()));
    for found in [&whole, &pieces] {
        let worst = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(found.len() == wanted.len() && worst < 1e-5 * largest, "{worst} of {largest}");
    }
}

#[test]
fn info_tells_what_a_folder_holds() {
    let here = folder();
    let run = run_in(here.path(), &["info", &golden("bf16"), "--json"]).ok();
    let json = run.json();
    assert_eq!((json["vocabulary"].as_u64(), json["parameters"].as_u64()), (Some(50), Some(30_576)));
    assert_eq!(json["file_bytes"]["BF16"].as_u64(), Some(2 * 30_576));
    // Of each of 2 blocks and 4 heads: C of 4 x 8, n of 4, m.
    assert_eq!(json["state_bytes"].as_u64(), Some(2 * 4 * (32 + 4 + 1) * 4));
    assert!(run_in(here.path(), &["info", &golden("bf16")]).ok().out.contains("bytes of BF16"));
    run_in(here.path(), &["info", "nowhere"]).refuses(&["nowhere"]);
}

#[test]
fn tokens_go_in_and_come_out_as_numbers() {
    let here = folder();
    let checkpoint = golden("single");
    let generate = |more: &[&str]| {
        let mut all = vec!["generate", "--checkpoint", &checkpoint];
        all.extend(more);
        run_in(here.path(), &all)
    };
    let greedy = ["--temperature", "0", "--max-tokens", "5"];
    let first = generate(&[&["--tokens", "1,2,3"], &greedy[..]].concat()).ok().out;
    let numbers: Vec<u32> = first.trim().split(',').map(|n| n.parse().expect("a number")).collect();
    assert_eq!(numbers.len(), 5);
    // Going on from what was written gives the rest.
    let prompt = format!("1,2,3,{},{}", numbers[0], numbers[1]);
    let rest = generate(&["--tokens", &prompt, "--temperature", "0", "--max-tokens", "3"]).ok().out;
    assert_eq!(first.trim().splitn(3, ',').nth(2), Some(rest.trim()));
    generate(&["--tokens", "1,61"]).refuses(&["61", "0 to 60"]);
    generate(&["--tokens", "1,x"]).refuses(&["--tokens"]);
    generate(&["--prompt", "text"]).refuses(&["tokenizer.json", "--tokens"]);
    generate(&[]).refuses(&["--prompt"]);
}

#[test]
fn a_text_is_read_once_with_what_is_remembered_carried_on() {
    let here = folder();
    prepare(here.path());
    train(here.path(), &["--set", "steps=3", "--out", "out"]).ok();
    let checkpoint = ["--checkpoint", "out/checkpoint", "--json"];
    let afresh = run_in(here.path(), &[&["eval"], &checkpoint[..]].concat()).ok().json();
    let carried = run_in(here.path(), &[&["eval", "--carry"], &checkpoint[..]].concat()).ok().json();
    assert_eq!(afresh["tokens"], carried["tokens"]);
    let (afresh, carried) =
        (afresh["loss"].as_f64().expect("a loss"), carried["loss"].as_f64().expect("a loss"));
    assert!(afresh != carried && (afresh - carried).abs() < 0.5, "{afresh} {carried}");
}
