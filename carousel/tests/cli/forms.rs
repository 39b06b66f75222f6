//! Forms of linear scans from outside: which is taken, by what, and what is refused.

use std::path::Path;

use crate::support::{Run, f32s, folder, read_tensors, run_in, write_tensors};

/// A memory of vectors whose decay is given.
const MEMORY: &str = "fn memory(q: [s, k], k: [s, k], v: [s, d], f: [s]) -> (y: [s, d]) {
  scan s {
    state C: [k, d] = 0
    C' = sigmoid(f) * C + k * v
    yield y = sum[k](q * C')
  }
}
";

const STEPS: u64 = 37;

fn with_memory() -> tempfile::TempDir {
    let here = folder();
    std::fs::write(here.path().join("memory.xl"), MEMORY).expect("it is written");
    let numbers = |seed: u64, n: u64| -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 17) as f32 / 8.0 - 1.0).collect()
    };
    let [q, k, v, f] = [(0, 4), (1, 4), (2, 3), (3, 1)].map(|(seed, width)| numbers(seed, STEPS * width));
    let given = [
        f32s("q", &[STEPS as usize, 4], &q),
        f32s("k", &[STEPS as usize, 4], &k),
        f32s("v", &[STEPS as usize, 3], &v),
        f32s("f", &[STEPS as usize], &f),
    ];
    write_tensors(&here.path().join("x.safetensors"), &given);
    here
}

fn run(here: &Path, options: &[&str]) -> Run {
    let mut arguments =
        vec!["run", "memory.xl", "--fn", "memory", "--in", "x.safetensors", "--out", "y.safetensors"];
    arguments.extend(options);
    run_in(here, &arguments)
}

/// What `print` says of the choice.
fn report(here: &Path, options: &[&str]) -> String {
    let mut arguments = vec!["print", "memory.xl", "--fn", "memory", "--stage", "forms", "--report"];
    arguments.extend(options);
    let told = run_in(here, &arguments).ok().err;
    let from = told.find("forms:\n").unwrap_or_else(|| panic!("no forms in\n{told}"));
    told[from..].to_string()
}

#[test]
fn every_form_gives_the_same_numbers() {
    let here = with_memory();
    run(here.path(), &["--target", "reference"]).ok();
    let wanted = read_tensors(&here.path().join("y.safetensors"))["y"].clone();
    for form in ["auto", "recurrent", "parallel", "chunkwise", "chunkwise:5", "chunkwise:64"] {
        run(here.path(), &["--form", form]).ok();
        let found = &read_tensors(&here.path().join("y.safetensors"))["y"];
        assert_eq!(found.0, wanted.0);
        for (found, wanted) in found.1.iter().zip(&wanted.1) {
            assert!((found - wanted).abs() < 1e-5, "{form}: {found} is not {wanted}");
        }
    }
}

#[test]
fn what_is_asked_for_is_printed() {
    let here = with_memory();
    let text = |options: &[&str]| {
        let mut arguments = vec!["print", "memory.xl", "--fn", "memory", "--stage", "forms"];
        arguments.extend(options);
        run_in(here.path(), &arguments).ok().out
    };
    assert!(text(&["--form", "recurrent"]).contains("scan[s"), "{}", text(&["--form", "recurrent"]));
    assert!(!text(&["--form", "parallel"]).contains("scan["), "{}", text(&["--form", "parallel"]));
    assert!(
        text(&["--form", "chunkwise:16"]).contains("scan[chunk"),
        "{}",
        text(&["--form", "chunkwise:16"])
    );
    let told = report(here.path(), &["--bind", "k=64,d=64", "--expect", "s=4096"]);
    for part in ["taken as 4096", "state of 4096 elements", "recurrent", "chunkwise:256", "chosen"] {
        assert!(told.contains(part), "`{part}` is not in\n{told}");
    }
    assert!(report(here.path(), &["--bind", "k=64,d=64"]).contains("guessed to be 1024"));
}

#[test]
fn forms_that_cannot_be_are_refused() {
    let here = with_memory();
    for (form, part) in [
        ("fast", "chunkwise:L"),
        ("chunkwise:0", "a chunk has 1 to"),
        ("chunkwise:x", "a chunk has 1 to"),
        ("parallel:8", "`parallel` has no chunks"),
    ] {
        run(here.path(), &["--form", form]).refuses(&["--form", part]);
        run_in(here.path(), &["bench", "mlstm", "--form", form]).refuses(&[part]);
    }
    run(here.path(), &["--target", "reference", "--form", "parallel"]).refuses(&["--form", "--target cpu"]);
    run(here.path(), &["--expect", "s"]).refuses(&["NAME=SIZE"]);
}

#[test]
fn memory_that_no_form_keeps_is_told() {
    let here = with_memory();
    let told = run(here.path(), &["--memory-limit", "100B"]).ok().err;
    assert!(told.contains("warning: `memory`: no form") && told.contains("100 bytes"), "{told}");
    assert_eq!(run(here.path(), &["--memory-limit", "4GB"]).ok().err, "");
    run(here.path(), &["--memory-limit", "much"]).refuses(&["--memory-limit", "4GB"]);
    // A limit that only some keep turns the others down.
    let sizes = ["--bind", "k=64,d=64", "--expect", "s=4096", "--memory-limit", "1MiB"];
    assert!(report(here.path(), &sizes).contains("turned down: more than the limit of memory"));
}

#[test]
fn profiles_are_names_or_files() {
    let here = with_memory();
    let sizes = ["--bind", "k=64,d=64", "--expect", "s=4096"];
    let with = |profile: &str| report(here.path(), &[&sizes[..], &["--profile", profile]].concat());
    assert_ne!(with("neon"), with("x86-avx512"));
    assert_ne!(with("sm-90"), with("x86-avx512"));
    run(here.path(), &["--profile", "x86-avx51"]).refuses(&["did you mean `x86-avx512`?", "neon"]);
    run(here.path(), &["--profile", "no.toml"]).refuses(&["cannot read no.toml"]);
    std::fs::write(here.path().join("wrong.toml"), "name = 3").expect("it is written");
    run(here.path(), &["--profile", "wrong.toml"]).refuses(&["wrong.toml is no cost profile"]);
}

#[test]
fn a_calibrated_profile_is_a_profile() {
    let here = with_memory();
    let told = run_in(here.path(), &["bench", "calibrate", "--out", "here.toml", "--name", "mine"]).ok();
    assert_eq!(told.out, "");
    let text = std::fs::read_to_string(here.path().join("here.toml")).expect("it was written");
    assert!(text.contains("name = \"mine\""), "{text}");
    run(here.path(), &["--profile", "here.toml"]).ok();
    // A rate of nothing is no rate.
    let broken = text.replacen("peak = ", "peak = -", 1);
    std::fs::write(here.path().join("broken.toml"), broken).expect("it is written");
    run(here.path(), &["--profile", "broken.toml"]).refuses(&["broken.toml", "product.peak"]);
}
