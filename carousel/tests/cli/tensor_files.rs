//! Damaged safetensors files: each is refused in a sentence that names the file.

use std::path::Path;

use crate::support::{f32s, fixture, folder, run_in, write_tensors};

fn average(here: &Path, input: &str) -> crate::support::Run {
    let file = fixture("average.xl");
    run_in(here, &["run", &file, "--fn", "average", "--in", input, "--out", "y.safetensors"])
}

/// A file with this header and these bytes of data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn damaged_files_are_refused() {
    let here = folder();
    let entry = |fields: &str| format!("{{\"x\":{{{fields}}}}}");
    let header = entry(r#""dtype":"F32","shape":[1,1],"data_offsets":[0,4]"#);
    let damaged: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "0 bytes"),
        ("short", vec![1, 2, 3], "3 bytes"),
        ("oversized", [&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "18446744073709551615"),
        ("large", [&99_999_999u64.to_le_bytes()[..], b"{}"].concat(), "99999999"),
        ("text", b"this is not a tensor file at all, it is text".to_vec(), "header"),
        ("json", file("{\"x\":", &[]), "header"),
        ("list", file("[1,2]", &[]), "header"),
        ("no_offsets", file(&entry(r#""dtype":"F32","shape":[1]"#), &[0; 4]), "data_offsets"),
        (
            "negative",
            file(&entry(r#""dtype":"F32","shape":[1],"data_offsets":[-4,0]"#), &[0; 4]),
            "data_offsets",
        ),
        (
            "backwards",
            file(&entry(r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#), &[0; 4]),
            "bytes 4 to 0",
        ),
        (
            "outside",
            file(&entry(r#""dtype":"F32","shape":[9],"data_offsets":[0,36]"#), &[0; 4]),
            "bytes 0 to 36",
        ),
        ("shape", file(&entry(r#""dtype":"F32","shape":[7,1],"data_offsets":[0,4]"#), &[0; 4]), "shape"),
        (
            "product",
            file(&entry(r#""dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,4]"#), &[0; 4]),
            "product",
        ),
        ("dtype", file(&entry(r#""dtype":"F33","shape":[1],"data_offsets":[0,4]"#), &[0; 4]), "dtype"),
        ("kind", file(&entry(r#""dtype":"I16","shape":[2],"data_offsets":[0,4]"#), &[0; 4]), "I16"),
        ("rest", file(&header, &[0; 9]), "rest"),
    ];
    for (name, bytes, part) in damaged {
        std::fs::write(here.path().join(name), bytes).expect("it is written");
        average(here.path(), name).refuses(&[name, part]);
    }
    average(here.path(), "none").refuses(&["none", "No such file"]);
    average(here.path(), ".").refuses(&["directory"]);
    assert!(!here.path().join("y.safetensors").exists());
}

#[test]
fn a_file_that_ends_anywhere_is_refused() {
    let here = folder();
    let path = here.path().join("whole");
    write_tensors(&path, &[f32s("x", &[2, 1], &[1.0, 3.0]), f32s("rate", &[1], &[0.0])]);
    average(here.path(), "whole").ok();
    let bytes = std::fs::read(&path).expect("it is there");
    for length in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
        std::fs::write(here.path().join("cut"), &bytes[..length]).expect("it is written");
        average(here.path(), "cut").refuses(&["cut is no safetensors file"]);
    }
}
