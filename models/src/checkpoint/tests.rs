//! Round trips, crashes at every instant of a save, and damaged files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::config::{ParameterValue, TrainingConfig};
use crate::corpus::Text;

const SHAPE: [usize; 2] = [2, 3];

fn manifest(step: u64) -> Manifest {
    let mut training = TrainingConfig::default();
    // A number whose decimal form needs all its digits.
    training.learning_rate.max = 0.1 + 0.2;
    Manifest {
        step,
        data_position: step,
        unlogged: Unlogged { loss: 0.1 + 0.2, steps: 3 },
        best: Some(Best { step, loss: 0.1 + 0.2 }),
        seed: u64::MAX,
        tokenizer: "bytes".into(),
        text: Text::bundled().identity().clone(),
        sources: vec![SourceFile { path: "m.xl".into(), text: "fn f() {}\n".into() }],
        parameters: BTreeMap::from([
            ("dim".into(), ParameterValue::Integer(64)),
            ("scale".into(), ParameterValue::Float(1.0)),
            ("layers".into(), ParameterValue::List(vec![ParameterValue::Boolean(true)])),
        ]),
        training,
    }
}

fn specs() -> Vec<TensorSpec> {
    let spec = |name: &str, shape: &[usize]| TensorSpec { name: name.into(), shape: shape.to_vec() };
    vec![spec("layer.0.up", &SHAPE), spec("bias", &[]), spec("none", &[0, 4])]
}

/// Saves tensors whose values tell the step.
fn save_step(folder: &Path, step: u64) {
    let up: Vec<f32> = (0..6).map(|i| step as f32 + i as f32 / 7.0).collect();
    let tensors = |values: &'static [f32], up| {
        [
            TensorRef { name: "layer.0.up", shape: &SHAPE, values: up },
            TensorRef { name: "bias", shape: &[], values },
            TensorRef { name: "none", shape: &[0, 4], values: &[] },
        ]
    };
    let snapshot = Snapshot {
        manifest: &manifest(step),
        parameters: &tensors(&[f32::MIN_POSITIVE / 8.0], &up),
        first_moments: &tensors(&[-0.0], &up),
        second_moments: &tensors(&[f32::NEG_INFINITY], &up),
        carried: &[],
        tokenizer: None,
    };
    save(folder, &snapshot).unwrap();
}

fn step_in(folder: &Path) -> u64 {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let parameters = checkpoint.parameters(&specs()).unwrap();
    assert_eq!(parameters[0][0], checkpoint.manifest().step as f32, "files of different saves");
    checkpoint.manifest().step
}

fn message(result: Result<impl Sized, CheckpointError>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn everything_comes_back_bit_for_bit() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("deep/run");
    save_step(&folder, 7);
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(*checkpoint.manifest(), manifest(7));
    let parameters = checkpoint.parameters(&specs()).unwrap();
    assert_eq!(parameters[0][1].to_bits(), (7.0 + 1.0f32 / 7.0).to_bits());
    assert_eq!(parameters[1][0].to_bits(), (f32::MIN_POSITIVE / 8.0).to_bits());
    assert!(parameters[2].is_empty());
    let mapped = checkpoint.weights(&specs()).unwrap();
    let bits: Vec<u32> = parameters.iter().flatten().map(|x| x.to_bits()).collect();
    assert_eq!((mapped.words().collect::<Vec<_>>(), mapped.copied_bytes()), (bits, 0));
    let moments = checkpoint.moments(&specs(), &[]).unwrap();
    assert_eq!(moments.first[1][0].to_bits(), (-0.0f32).to_bits());
    assert_eq!(moments.second[1], [f32::NEG_INFINITY]);
    assert_eq!(moments.second[0], parameters[0]);
    assert_eq!(TensorFile::open(&folder.join(MODEL_FILE)).unwrap().specs().unwrap()[1], specs()[0]);
}

#[test]
fn a_crash_at_any_instant_leaves_a_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let [folder, new, previous] = ["run", "run.new", "run.previous"].map(|name| root.path().join(name));
    save_step(&folder, 1);
    save_step(&folder, 2);
    assert_eq!((step_in(&folder), step_in(&previous)), (2, 1));
    assert!(!new.exists());

    // While the new one is being written.
    fs::create_dir(&new).unwrap();
    fs::write(new.join(MANIFEST_FILE), "{").unwrap();
    fs::write(new.join(".tmpAbCdEf"), "half").unwrap();
    assert_eq!(step_in(&folder), 2);
    // Between the two moves, and while the predecessor is being removed.
    fs::remove_dir_all(&previous).unwrap();
    assert_eq!(step_in(&folder), 2);
    fs::rename(&folder, &previous).unwrap();
    assert_eq!(step_in(&folder), 2);
    assert_eq!(Checkpoint::open(&folder).unwrap().folder(), previous);

    // The same, with a folder in its place that somebody made meanwhile.
    fs::create_dir(&folder).unwrap();
    assert_eq!(step_in(&folder), 2);

    // The next save repairs everything.
    save_step(&folder, 3);
    assert_eq!((step_in(&folder), step_in(&previous), new.exists()), (3, 2, false));
}

#[test]
fn nothing_but_checkpoints_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    save_step(&folder, 1);
    let snapshot = Snapshot {
        manifest: &manifest(2),
        parameters: &[],
        first_moments: &[],
        second_moments: &[],
        carried: &[],
        tokenizer: None,
    };
    fs::write(folder.join("thesis.tex"), "years").unwrap();
    assert!(message(save(&folder, &snapshot)).contains("will not be replaced"));
    assert!(folder.join("thesis.tex").exists());
    fs::write(root.path().join("file"), "text").unwrap();
    assert!(message(save(&root.path().join("file"), &snapshot)).contains("will not be replaced"));
    assert!(message(save(Path::new("/"), &snapshot)).contains("path of a folder"));
}

#[test]
fn what_json_cannot_say_is_not_written() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    save_step(&folder, 1);
    let mut manifest = manifest(2);
    manifest.parameters.insert("scale".into(), ParameterValue::List(vec![ParameterValue::Float(f64::NAN)]));
    let snapshot = Snapshot {
        manifest: &manifest,
        parameters: &[],
        first_moments: &[],
        second_moments: &[],
        carried: &[],
        tokenizer: None,
    };
    assert!(message(save(&folder, &snapshot)).contains("`scale` is infinite or not a number"));
    assert_eq!(step_in(&folder), 1);
}

#[test]
fn missing_checkpoints_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    assert!(message(Checkpoint::open(&root.path().join("none"))).contains("no such folder"));
    assert!(message(Checkpoint::open(root.path())).contains("has no config.json"));
}

#[test]
fn contradictory_tensors_are_not_written() {
    let root = tempfile::tempdir().unwrap();
    let tensor = TensorRef { name: "w", shape: &[2], values: &[1.0] };
    let write = |tensors: &[TensorRef<'_>]| write_tensors(&root.path().join("x"), &[("", tensors)]);
    assert!(message(write(&[tensor])).contains("`w` of shape [2] has 1 values"));
    let tensor = TensorRef { shape: &[1], ..tensor };
    assert!(message(write(&[tensor, tensor])).contains("two tensors have the name `w`"));
}

#[test]
fn tensors_of_another_model_are_all_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    save_step(&folder, 1);
    let expected = [
        TensorSpec { name: "layer.0.up".into(), shape: vec![3, 2] },
        TensorSpec { name: "layer.1.up".into(), shape: vec![9] },
        TensorSpec { name: "bias".into(), shape: vec![] },
    ];
    let message = message(Checkpoint::open(&folder).unwrap().parameters(&expected));
    for part in [
        "model.safetensors",
        "`layer.0.up` has shape [2, 3] in the file and [3, 2] in the model",
        "`layer.1.up` of shape [9] is missing",
        "`none` is no parameter",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// A file with this header, its claimed length and this data.
fn raw(claimed: u64, header: &str, data: &[u8]) -> Vec<u8> {
    [&claimed.to_le_bytes(), header.as_bytes(), data].concat()
}

fn whole(header: &str, data: &[u8]) -> Vec<u8> {
    raw(header.len() as u64, header, data)
}

#[test]
fn damaged_tensor_files_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x.safetensors");
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let fine = entry("F32", "[2]", "[0,8]");
    let huge = u64::MAX.to_string();
    let cases = [
        (vec![], "too few"),
        (vec![0; 7], "too few"),
        (raw(u64::MAX, "{}", &[]), "more than the 16777216"),
        (raw(99, "{}", &[]), "ends after 2"),
        (whole("[]", &[]), "header is not valid"),
        (whole("{\"w\":", &[]), "header is not valid"),
        (whole("{\"w\":\u{0}\u{fffd}", &[]), "header is not valid"),
        (raw(2, "", &[0xff, 0xfe]), "header is not valid"),
        (whole(&"[".repeat(5000), &[]), "header is not valid"),
        (whole("{\"w\":3}", &[]), "tensor `w`: `data_offsets`"),
        (whole(&entry("F32", "[2]", "[0]"), &[0; 8]), "tensor `w`: `data_offsets`"),
        (whole(&entry("F32", "[2]", "[-1,8]"), &[0; 8]), "tensor `w`: `data_offsets`"),
        (whole(&fine, &[0; 5]), "tensor `w` should lie at bytes 0 to 8 of the data, which has 5"),
        (whole(&fine, &[0; 9]), "x.safetensors"),
        (whole(&entry("F32", "[3]", "[0,8]"), &[0; 8]), "x.safetensors"),
        (whole(&entry("F32", "[2]", "[8,0]"), &[0; 8]), "tensor `w`"),
        (whole(&entry("Q7", "[2]", "[0,8]"), &[0; 8]), "Q7"),
        (whole(&entry("U8", &format!("[{huge}]"), &format!("[0,{huge}]")), &[]), "tensor `w`"),
        (whole(&entry("F32", &format!("[{huge},{huge}]"), "[0,8]"), &[0; 8]), "overflow"),
    ];
    for (bytes, part) in cases {
        fs::write(&path, &bytes).unwrap();
        let message = message(TensorFile::open(&path));
        assert!(message.contains(part) && message.contains("x.safetensors"), "{part}: {message}");
    }
    assert!(message(TensorFile::open(root.path())).contains("not a plain file"));
    fs::write(&path, whole(&fine, &1.5f32.to_le_bytes().repeat(2))).unwrap();
    let spec = TensorSpec { name: "w".into(), shape: vec![2] };
    assert_eq!(TensorFile::open(&path).unwrap().values(&[spec]).unwrap(), [[1.5, 1.5]]);
}

#[test]
fn every_truncation_and_every_flipped_bit_is_survived() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    save_step(&folder, 1);
    let path = root.path().join("x");
    let bytes = fs::read(folder.join(MODEL_FILE)).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(TensorFile::open(&path).is_err(), "{length} bytes");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        // Damaged values cannot be noticed; the point is that nothing panics.
        let _ = TensorFile::open(&path).and_then(|file| file.values(&specs()));
    }
    let json = fs::read(folder.join(MANIFEST_FILE)).unwrap();
    for length in (0..json.len()).step_by(7) {
        fs::write(&path, &json[..length]).unwrap();
        assert!(Manifest::read(&path).is_err(), "{length} bytes of JSON");
    }
}

#[test]
fn half_precision_is_converted_and_other_types_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x.safetensors");
    let read = |dtype: &str, data: &[u8]| {
        let header =
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{}]}}}}"#, data.len());
        fs::write(&path, whole(&header, data)).unwrap();
        TensorFile::open(&path).unwrap().values(&[TensorSpec { name: "w".into(), shape: vec![2] }])
    };
    assert_eq!(read("BF16", &[0xc0, 0x3f, 0x00, 0xc0]).unwrap(), [[1.5, -2.0]]);
    assert_eq!(read("F16", &[0x00, 0x3e, 0x00, 0xc0]).unwrap(), [[1.5, -2.0]]);
    assert!(message(read("I32", &[0; 8])).contains("`w` has type I32"));
}

#[test]
fn damaged_manifests_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    save_step(&folder, 1);
    let path = folder.join(MANIFEST_FILE);
    let json = fs::read_to_string(&path).unwrap();
    let cases = [
        ("\"version\": 1", "\"version\": 9", "format version 9, this program reads version 1"),
        ("\"version\": 1", "\"version\": -1", "line 3"),
        ("\"version\": 1,", "", "`version` is missing"),
        ("carousel-checkpoint", "gpt2", "`format` is not"),
        ("\"step\": 1", "\"step\": \"one\"", "line 4"),
        ("\"seed\":", "\"sead\":", "unknown field `sead`"),
        ("\"context\": 128", "\"context\": 0", "`context` is 0"),
        ("\"tokenizer\": \"bytes\",", "", "missing field `tokenizer`"),
    ];
    for (from, to, part) in cases {
        assert!(json.contains(from), "{from}");
        fs::write(&path, json.replacen(from, to, 1)).unwrap();
        let message = message(Checkpoint::open(&folder));
        assert!(message.contains(part) && message.contains("config.json"), "{part}: {message}");
    }
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(message(Checkpoint::open(&folder)).contains("config.json"));
}
