//! Files of strangers that are made to do harm, or damaged at random: each is refused with a sentence, nothing panics, and nothing
//! outside the folder is read.

mod damage;
mod random;

use std::path::{Path, PathBuf};

use carousel_models::checkpoint::{Checkpoint, validated};
use carousel_models::config::TrainingConfig;
use carousel_models::external::External;
use carousel_models::library::{Cells, ModelSource};
use carousel_models::model::Model;
use serde_json::{Value, json};

fn golden(name: &str) -> PathBuf {
    let root = std::env::var_os("CAROUSEL_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden"), PathBuf::from);
    root.join("hf").join(name)
}

/// A copy of a golden checkpoint.
fn copy(name: &str, to: &Path) {
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Reads a checkpoint of another program with all that is in it; or why not.
fn read(folder: &Path) -> Result<(), String> {
    let external = External::open(folder).map_err(|error| error.to_string())?;
    let external = external.ok_or("not a checkpoint of another program")?;
    let model = external.model(Cells::Published).map_err(|error| error.to_string())?;
    external.parameters(&model).map_err(|error| error.to_string())?;
    external.tokenizer().map_err(|error| error.to_string())?;
    Ok(())
}

#[track_caller]
fn refused(folder: &Path, part: &str) {
    let message = read(folder).expect_err("it should be refused");
    assert!(message.contains(part), "`{part}` is not in: {message}");
}

#[test]
fn configurations_that_do_not_fit_the_tensors() {
    let here = tempfile::tempdir().unwrap();
    copy("single", here.path());
    read(here.path()).unwrap();
    let whole: Value =
        serde_json::from_slice(&std::fs::read(here.path().join("config.json")).unwrap()).unwrap();
    let with = |changes: &[(&str, Value)], part: &str| {
        let mut json = whole.clone();
        changes.iter().for_each(|(key, value)| json[*key] = value.clone());
        std::fs::write(here.path().join("config.json"), json.to_string()).unwrap();
        refused(here.path(), part);
    };
    let layers = |n: u64| [("num_hidden_layers", json!(n)), ("num_blocks", json!(n))];
    with(&layers(3), "is missing");
    with(&layers(1), "is no part of the model");
    // More than any memory holds.
    with(&layers(4_294_967_295), "");
    with(&[("vocab_size", json!(4_000_000_000u64))], "");
    with(&[("hidden_size", json!(4_294_967_294u64)), ("embedding_dim", json!(4_294_967_294u64))], "");
    with(&[("num_heads", json!(0))], "`num_heads`");
    with(&[("qk_dim_factor", json!("half"))], "`qk_dim_factor`");
    with(&[("ffn_proj_factor", json!(1e300))], "");
    with(&[("surprise", json!(1))], "`surprise`");
    std::fs::write(here.path().join("config.json"), "[".repeat(1 << 20)).unwrap();
    refused(here.path(), "not a checkpoint");
}

#[test]
fn indexes_that_name_files_elsewhere() {
    let here = tempfile::tempdir().unwrap();
    let folder = here.path().join("inside");
    std::fs::create_dir(&folder).unwrap();
    copy("single", &folder);
    std::fs::rename(folder.join("model.safetensors"), here.path().join("model.safetensors")).unwrap();
    let index = |name: &str, part: &str| {
        let map = json!({"weight_map": {"lm_head.weight": name}});
        std::fs::write(folder.join("model.safetensors.index.json"), map.to_string()).unwrap();
        refused(&folder, part);
    };
    let outside = here.path().join("model.safetensors").display().to_string();
    for name in
        ["../model.safetensors", outside.as_str(), "..", "a/../../model.safetensors", "..\\model.safetensors"]
    {
        index(name, "no name of a file");
    }
    index(".", "");
    index("", "");
    index("none.safetensors", "none.safetensors");
    std::fs::write(folder.join("model.safetensors.index.json"), "{}").unwrap();
    refused(&folder, "weight_map");
}

#[test]
fn headers_that_lie() {
    let file = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let tensor = |shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |tensor: String| format!(r#"{{"a":{tensor}}}"#);
    let two = |a: String, b: String| format!(r#"{{"a":{a},"b":{b}}}"#);
    validated(&file(&one(tensor("[2]", 0, 8)), 8)).unwrap();
    for (bytes, what) in [
        (file(&two(tensor("[2]", 0, 8), tensor("[2]", 4, 12)), 12), "overlapping"),
        (file(&two(tensor("[1]", 0, 4), tensor("[1]", 8, 12)), 12), "a gap"),
        (file(&one(tensor("[2]", 0, 8)), 4), "beyond the file"),
        (file(&one(tensor("[2]", 0, 8)), 12), "bytes that belong to no tensor"),
        (file(&one(tensor("[3]", 0, 8)), 8), "another shape"),
        (file(&one(tensor("[4294967296,4294967296,4294967296]", 0, 8)), 8), "a product that overflows"),
        (file(&one(tensor("[18446744073709551615]", 0, 8)), 8), "a length that overflows"),
        (file(&one(tensor("[2]", 8, 0)), 8), "an end before its beginning"),
        (file(&one(tensor("[2]", 0, u64::MAX)), 8), "an end that overflows"),
        (file(&one(tensor("[-2]", 0, 8)), 8), "a negative size"),
        (file(&one(tensor("[2]", 0, 8).replace("F32", "F99")), 8), "an unknown type"),
        (u64::MAX.to_le_bytes().to_vec(), "a header beyond the file"),
        ((1u64 << 40).to_le_bytes().to_vec(), "a header of a terabyte"),
        (file("", 0), "no header"),
        (file("null", 0), "a header of nothing"),
        (vec![0; 7], "seven bytes"),
        (Vec::new(), "no bytes"),
    ] {
        assert!(validated(&bytes).is_err(), "{what}");
    }
}

#[test]
fn devices_and_pipes_are_not_read() {
    let here = tempfile::tempdir().unwrap();
    copy("single", here.path());
    let model = here.path().join("model.safetensors");
    std::fs::remove_file(&model).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &model).unwrap();
    refused(here.path(), "not a plain file");
    std::fs::remove_file(&model).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&model).status().unwrap();
    assert!(made.success());
    refused(here.path(), "not a plain file");
    let config = here.path().join("config.json");
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &config).unwrap();
    refused(here.path(), "not a checkpoint");
    assert!(Checkpoint::open(here.path()).is_err());
}

#[test]
fn numbers_that_are_none_are_found() {
    let source = ModelSource::load(None, None).unwrap();
    let model = Model::new(&source, &TrainingConfig::default().model).unwrap();
    let mut arena = model.layout().initial(0).unwrap();
    assert!(model.layout().first_not_finite(&arena).is_none());
    let last = model.layout().parameters().last().unwrap();
    arena[last.range.start + 1] = f32::NAN;
    let (found, place) = model.layout().first_not_finite(&arena).unwrap();
    assert_eq!((found.name, place), (last.name, 1));
}
