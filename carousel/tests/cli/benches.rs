//! `bench`: every case gives numbers.

use crate::support::{folder, run_in};

#[track_caller]
fn measure(case: &str, form: &str, options: &[&str]) -> serde_json::Value {
    let here = folder();
    let mut arguments = vec!["bench", case, "--repeat", "1", "--json"];
    arguments.extend(options);
    let run = run_in(here.path(), &arguments).ok();
    let object = run.json();
    assert_eq!(object["case"], case);
    assert_eq!(object["form"], form);
    assert!(object["threads"].as_u64().is_some_and(|n| n >= 1), "{object}");
    assert_eq!(object["seconds"]["runs"], 1);
    for number in [&object["seconds"]["min"], &object["seconds"]["median"], &object["compile_seconds"]] {
        assert!(number.as_f64().is_some_and(|n| n > 0.0), "{object}");
    }
    assert!(object["cpu_seconds"]["min"].as_f64().is_some_and(|n| n > 0.0), "{object}");
    for key in ["tokens_per_second", "gflops", "gigabytes_per_second"] {
        assert!(object[key].as_f64().is_some_and(|n| n >= 0.0), "{object}");
    }
    assert!(object["bytes_peak"].is_u64(), "{object}");
    let written: Vec<_> = here.path().read_dir().expect("it is there").collect();
    assert!(written.is_empty(), "{written:?}");
    // For people, the same in a line.
    let line =
        run_in(here.path(), &arguments.iter().filter(|a| **a != "--json").copied().collect::<Vec<_>>()).ok();
    assert!(line.out.starts_with(case) && line.out.contains("ms median"), "{}", line.out);
    object
}

#[test]
fn cells() {
    let small = ["--batch", "2", "--heads", "2", "--seq", "9"];
    for pass in ["fwd", "fwdbwd"] {
        for form in ["recurrent", "parallel", "chunkwise:4"] {
            let sizes = ["--dqk", "5", "--dhv", "6", "--pass", pass, "--form", form];
            measure("mlstm", form, &[&small[..], &sizes].concat());
        }
        // Nothing linear is left to have a form.
        measure("slstm", "recurrent", &[&small[..], &["--dim", "7", "--pass", pass]].concat());
    }
    measure("mlstm", "recurrent", &[&small[..], &["--target", "reference"]].concat());
}

#[test]
fn models() {
    let small = ["--blocks", "2", "--dim", "16", "--slstm-every", "2", "--threads", "1"];
    measure("compile", "recurrent", &[&small[..], &["--form", "recurrent"]].concat());
    let sizes = ["--context", "8", "--batch", "2", "--form", "chunkwise:8"];
    let kept = measure("train-step", "chunkwise:8", &[&small[..], &sizes].concat());
    let again = measure("train-step", "chunkwise:8", &[&small[..], &sizes, &["--remat"]].concat());
    assert!(again["bytes_peak"].as_u64() < kept["bytes_peak"].as_u64(), "{kept} {again}");
    let large = ["--model", "large", "--blocks", "1", "--dim", "16", "--threads", "1"];
    measure("train-step", "chunkwise:8", &[&large[..], &sizes].concat());
}

#[test]
fn reading() {
    let small =
        ["--blocks", "2", "--dim", "16", "--heads", "2", "--vocab", "11", "--threads", "1", "--tokens", "5"];
    for more in [&["--model", "xlstm", "--slstm-every", "2"][..], &["--dtype", "bf16"], &["--dtype", "f16"]] {
        measure("decode", "recurrent", &[&small[..], more].concat());
        measure("prefill", "chunkwise:4", &[&small[..], more, &["--form", "chunkwise:4"]].concat());
    }
}

#[test]
fn pieces() {
    for layout in ["nn", "nt", "tn"] {
        measure("gemm", "recurrent", &["--m", "3", "--n", "17", "--k", "5", "--layout", layout]);
    }
    for every in ["0", "1", "5"] {
        let sizes = ["--elements", "700", "--ops", "11", "--transcendental-every", every];
        measure("pointwise", "recurrent", &sizes);
    }
}

/// Every case has a limit, and the table a line a case.
#[test]
fn comparison_with_the_limits() {
    let here = folder();
    let arguments = ["bench", "compare", "--seq", "3", "--repeat", "1", "--threads", "1"];
    let object = run_in(here.path(), &[&arguments[..], &["--json"]].concat()).ok().json();
    assert!(object["flops"].as_f64().is_some_and(|n| n > 1e8), "{object}");
    assert_eq!(object["levels"].as_array().map(Vec::len), Some(4), "{object}");
    let cases = object["cases"].as_array().expect("a list of cases");
    for case in cases {
        assert!(case["of_limit"].as_f64().is_some_and(|share| share > 0.0), "{case}");
    }
    let table = run_in(here.path(), &arguments).ok();
    assert_eq!(table.out.lines().count(), cases.len() + 2, "{}", table.out);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let here = folder();
    for (case, size, part) in [
        ("mlstm", "--heads=-1", "-1"),
        ("mlstm", "--dqk=0", "1..=1048576"),
        ("slstm", "--seq=99999999999999999999", "99999999999999999999"),
        ("slstm", "--seq=99999999999", "has more than 4e9 elements"),
        ("gemm", "--m=0", "1..=1048576"),
        ("pointwise", "--elements=0", "1..=1073741824"),
        ("compile", "--blocks=0", "1..=100000"),
        ("train-step", "--dim=-3", "2..=1048576"),
        ("train-step", "--context=0", "`context` is 0"),
        ("decode", "--heads=3", "--dim 512"),
        ("compile", "--heads=3", "--dim 128"),
        ("prefill", "--tokens=0", "1..=16777216"),
        ("train-step", "--batch=0", "`batch` is 0"),
    ] {
        run_in(here.path(), &["bench", case, size, "--repeat", "1"]).refuses(&[part]);
    }
}
