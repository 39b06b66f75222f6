//! Checkpoints of other programs: the golden folders, read token by token, in pieces and as a whole; greedy tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use carousel_core::backend::DataMut;
use carousel_models::batch::Batch;
use carousel_models::compile::Engine;
use carousel_models::external::External;
use carousel_models::library::Cells;
use carousel_models::model::{Model, Reading};
use carousel_models::piece::{Memory, Reader};
use carousel_models::weights::Weights;
use safetensors::{Dtype, SafeTensors};

fn golden(name: &str) -> PathBuf {
    let root = std::env::var_os("CAROUSEL_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden"), PathBuf::from);
    root.join("hf").join(name)
}

/// The tensors of the recorded run, as f64.
fn recorded(folder: &Path) -> BTreeMap<String, Vec<f64>> {
    let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |dtype: Dtype, data: &[u8]| -> Vec<f64> {
        if dtype == Dtype::I64 {
            data.as_chunks::<8>().0.iter().map(|w| i64::from_le_bytes(*w) as f64).collect()
        } else if dtype == Dtype::F64 {
            data.as_chunks::<8>().0.iter().map(|w| f64::from_le_bytes(*w)).collect()
        } else {
            data.as_chunks::<4>().0.iter().map(|w| f64::from(f32::from_le_bytes(*w))).collect()
        }
    };
    file.iter().map(|(name, view)| (name.to_string(), numbers(view.dtype(), view.data()))).collect()
}

struct Loaded {
    model: Model,
    parameters: Weights<'static>,
    reader: Reader,
    recorded: BTreeMap<String, Vec<f64>>,
    rows: usize,
}

fn load(name: &str, cells: Cells, rows: usize) -> Loaded {
    load_folder(&golden(name), cells, rows)
}

fn load_folder(folder: &Path, cells: Cells, rows: usize) -> Loaded {
    let external = External::open(folder).unwrap().expect("a checkpoint of another program");
    let model = external.model(cells).unwrap();
    let parameters = external.weights(&model).unwrap();
    let reader = model.reader(&Engine::cpu(Some(2)), &parameters).unwrap_or_else(|failed| panic!("{failed}"));
    Loaded { model, parameters, reader, recorded: recorded(folder), rows }
}

impl Loaded {
    fn tokens(&self) -> Vec<i32> {
        self.recorded["in.input_ids"].iter().map(|x| *x as i32).collect()
    }

    /// The logits when the text is read in pieces of these lengths, again and again.
    fn in_pieces(&self, lengths: &[usize]) -> Vec<f32> {
        let tokens = self.tokens();
        let (length, vocabulary) = (tokens.len() / self.rows, self.reader.vocabulary());
        let mut logits = vec![0.0; tokens.len() * vocabulary];
        let mut memory = Memory::empty(self.rows);
        let mut done = 0;
        for piece in lengths.iter().cycle() {
            if done == length {
                break;
            }
            let piece = (*piece).min(length - done);
            let place = |row: usize| row * length + done;
            let part: Vec<i32> =
                (0..self.rows).flat_map(|row| &tokens[place(row)..place(row) + piece]).copied().collect();
            let found = self.reader.read(&self.parameters, &mut memory, &part).unwrap();
            for row in 0..self.rows {
                let from = &found[row * piece * vocabulary..(row + 1) * piece * vocabulary];
                logits[place(row) * vocabulary..(place(row) + piece) * vocabulary].copy_from_slice(from);
            }
            done += piece;
        }
        logits
    }

    fn error(&self, logits: &[f32]) -> f64 {
        let wanted = &self.recorded["out.logits"];
        assert_eq!(wanted.len(), logits.len());
        let largest = wanted.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let error = wanted.iter().zip(logits).map(|(w, f)| (w - f64::from(*f)).abs() / largest);
        error.fold(0.0, |m, e| if e.is_nan() || e > m { e } else { m })
    }
}

/// Every golden folder with the rows of its text.
const FOLDERS: [(&str, usize); 7] = [
    ("single", 2),
    ("fused", 2),
    ("single_64", 1),
    ("softcap_bias", 1),
    ("tied_sharded", 1),
    ("bf16", 1),
    ("e2e_bpe", 1),
];

#[test]
fn logits_do_not_depend_on_the_cuts() {
    for (name, rows) in FOLDERS {
        let loaded = load(name, Cells::Published, rows);
        for lengths in [&[1][..], &[1000], &[7], &[1, 5, 2, 11]] {
            let error = loaded.error(&loaded.in_pieces(lengths));
            assert!(error < 1e-5, "{name} in pieces of {lengths:?}: {error:e}");
        }
    }
}

/// Written by `tests/interop/run.py --fixture`: the configuration is what `dataclasses.asdict` gives.
#[test]
fn a_folder_of_the_package_gives_its_logits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/package");
    let loaded = load_folder(&folder, Cells::Published, 1);
    for lengths in [&[1][..], &[1000], &[3, 8]] {
        let error = loaded.error(&loaded.in_pieces(lengths));
        assert!(error < 1e-5, "in pieces of {lengths:?}: {error:e}");
    }
}

#[test]
fn the_last_logits_alone_are_those_among_all() {
    for (name, rows) in [("single", 2), ("bf16", 1)] {
        let loaded = load(name, Cells::Published, rows);
        let (tokens, vocabulary) = (loaded.tokens(), loaded.reader.vocabulary());
        let length = tokens.len() / rows;
        let all = loaded.in_pieces(&[1000]);
        let (mut memory, mut last) = (Memory::empty(rows), Vec::new());
        loaded.reader.read_last(&loaded.parameters, &mut memory, &tokens, &mut last).unwrap();
        let wanted = all.chunks_exact(vocabulary).skip(length - 1).step_by(length).flatten();
        let worst = last.iter().zip(wanted).map(|(x, y)| (x - y).abs()).fold(0f32, f32::max);
        assert!(last.len() == rows * vocabulary && worst < 1e-4, "{name}: {worst}");
    }
}

#[test]
fn weights_in_bf16_are_used_where_they_lie() {
    let loaded = load("bf16", Cells::Published, 1);
    let layout = loaded.model.layout();
    assert_eq!(loaded.parameters.stored(layout).len(), layout.parameters().len());
    assert_eq!(loaded.parameters.bytes(), 2 * layout.elements() as u64);
}

#[test]
fn the_paper_s_cells_read_the_same_checkpoints() {
    for (name, rows) in [("single", 2), ("single_64", 1)] {
        let loaded = load(name, Cells::Paper, rows);
        for lengths in [&[1][..], &[1000], &[3, 8]] {
            let error = loaded.error(&loaded.in_pieces(lengths));
            assert!(error < 1e-4, "{name} in pieces of {lengths:?}: {error:e}");
        }
    }
}

#[test]
fn greedy_tokens_are_the_recorded_ones() {
    for (name, rows) in FOLDERS {
        let loaded = load(name, Cells::Published, rows);
        let Some(wanted) = loaded.recorded.get("out.generated") else { continue };
        let (tokens, vocabulary) = (loaded.tokens(), loaded.reader.vocabulary());
        let (length, count) = (tokens.len() / rows, wanted.len() / rows);
        for row in 0..rows {
            let mut memory = Memory::empty(1);
            let mut piece = tokens[row * length..(row + 1) * length].to_vec();
            for step in 0..count {
                let logits = loaded.reader.read(&loaded.parameters, &mut memory, &piece).unwrap();
                let last = &logits[logits.len() - vocabulary..];
                let best = (0..vocabulary).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
                let recorded = wanted[row * count + step] as usize;
                assert_eq!(best, recorded, "{name}, row {row}, token {step}");
                piece = vec![best as i32];
            }
        }
    }
}

#[test]
fn the_whole_text_at_once_gives_the_same() {
    let loaded = load("single", Cells::Published, 2);
    let tokens = loaded.tokens();
    let batch = Batch {
        rows: 2,
        context: tokens.len() / 2,
        inputs: tokens.clone(),
        labels: Vec::new(),
        starts: Vec::new(),
    };
    let stored = loaded.parameters.stored(loaded.model.layout());
    let logits =
        loaded.model.logits(&Engine::cpu(Some(2)), &stored).unwrap_or_else(|failed| panic!("{failed}"));
    let mut found = vec![0.0; tokens.len() * loaded.reader.vocabulary()];
    let reading = Reading { batch: &batch, seed: 0, step: 0 };
    logits.run(&loaded.parameters, reading, &mut [DataMut::F32(&mut found)]).unwrap();
    assert!(loaded.error(&found) < 1e-5);
}

/// A copy of a folder, to be damaged.
fn copy(name: &str, change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        let target = folder.path().join(path.file_name().unwrap());
        if path.ends_with("config.json") {
            std::fs::write(target, change(&std::fs::read_to_string(path).unwrap())).unwrap();
        } else {
            std::fs::write(target, std::fs::read(path).unwrap()).unwrap();
        }
    }
    folder
}

fn refused(name: &str, from: &str, to: &str) -> String {
    let folder = copy(name, |text| {
        assert!(text.contains(from), "{text}");
        text.replace(from, to)
    });
    match External::open(folder.path()) {
        Err(error) => error.to_string(),
        Ok(opened) => {
            let external = opened.expect("a checkpoint of another program");
            let model = external.model(Cells::Published).unwrap();
            external.parameters(&model).unwrap_err().to_string()
        }
    }
}

#[test]
fn wrong_configurations_are_refused_by_name() {
    let error = refused("single", "\"num_heads\": 2", "\"num_heads\": 3");
    assert!(error.contains("`qk_dim_factor`") && error.contains("3 heads"), "{error}");
    let error = refused("single", "\"hidden_size\": 32", "\"hidden_size\": 16");
    assert!(error.contains("`hidden_size` is 16, but `embedding_dim` is 32"), "{error}");
    let error = refused("single", "\"use_bias\": false", "\"use_bias\": false, \"use_conv\": true");
    assert!(error.contains("`use_conv`"), "{error}");
    let error = refused("single", "\"vocab_size\": 61", "\"vocab_size\": 62");
    assert!(error.contains("`backbone.embeddings.weight` has shape [61, 32]"), "{error}");
    let error = refused("single", "\"use_bias\": false", "\"use_bias\": true");
    assert!(error.contains("`backbone.blocks.0.ffn.proj_up.bias`") || error.contains(".bias"), "{error}");
    let error = refused("single", "\"norm_eps\": 1e-06", "\"norm_eps\": \"small\"");
    assert!(error.contains("`norm_eps`"), "{error}");
    let error = refused("single", "\"weight_mode\": \"single\"", "\"weight_mode\": \"double\"");
    assert!(error.contains("`weight_mode`"), "{error}");
}

#[test]
fn a_missing_shard_is_named() {
    let folder = copy("tied_sharded", str::to_string);
    std::fs::remove_file(folder.path().join("model-00003-of-00007.safetensors")).unwrap();
    let error = External::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("model-00003-of-00007.safetensors"), "{error}");
}
