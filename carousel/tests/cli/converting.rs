//! `convert`: what other programs read is what this one computes.

use std::path::Path;

use crate::external::{golden, logits};
use crate::support::{folder, run_in};
use crate::training::{prepare, train};

const TOKENS: &str = "3,1,4,1,5,9,2,6,5,3,5,8,9,7,9";

/// The largest difference of the logits of two checkpoints, as a part of the largest logit.
fn difference(here: &Path, checkpoints: [&str; 2]) -> f32 {
    let [a, b] = checkpoints.map(|checkpoint| {
        run_in(here, &["logits", "--checkpoint", checkpoint, "--tokens", TOKENS, "--out", "logits"]).ok();
        logits(&here.join("logits"))
    });
    assert_eq!(a.0, b.0);
    let largest = a.1.iter().fold(0f32, |most, x| most.max(x.abs()));
    a.1.iter().zip(&b.1).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / largest
}

fn convert(here: &Path, more: &[&str]) -> crate::support::Run {
    run_in(here, &[&["convert"], more].concat())
}

#[test]
fn what_was_trained_is_read_back_from_the_layouts_of_others() {
    let here = folder();
    prepare(here.path());
    let quiet = ["--set", "sample.length=0", "--set", "steps=5"];
    let neurips: [&[&str]; 4] = [
        &["--set", "model.layers=2"],
        &["--set", "model.bias=true", "--set", "model.slstm_norm=false", "--set", "model.slstm_at=[0]"],
        &["--set", "model.bias=true", "--set", "model.tied=true", "--set", "model.slstm_at=[]"],
        &[
            "--set",
            "model.ffn=0",
            "--set",
            "model.slstm_at=[0, 1]",
            "--set",
            "model.post_norm=false",
            "--set",
            "model.slstm_conv=0",
        ],
    ];
    for (at, options) in neurips.iter().enumerate() {
        let (out, exported) = (format!("out{at}"), format!("exported{at}"));
        train(here.path(), &[&quiet[..], options, &["--out", &out]].concat()).ok();
        let checkpoint = format!("{out}/checkpoint");
        convert(here.path(), &["--checkpoint", &checkpoint, "--to", "xlstm", "--out", &exported]).ok();
        assert!(difference(here.path(), [&checkpoint, &exported]) < 1e-5, "{options:?}");
    }
    let large = "batch = 2\ncontext = 16\nmodel_file = \"models/large.xl\"\nheld_back = 0.2\n[sample]\nlength = 0\n\
                 [model]\nwidth = 24\nheads = 2\nqk_dim = 5\nv_dim = 12\nlayers = 2\nffn = 37\n";
    std::fs::write(here.path().join("large.toml"), large).expect("it is written");
    for (at, options) in [&["--set", "model.bias=true"][..], &["--set", "model.tied=true"]].iter().enumerate()
    {
        let out = format!("large{at}");
        let run = ["train", "large.toml", "--text", "text.txt", "--set", "steps=5", "--out", &out];
        run_in(here.path(), &[&run[..], options].concat()).ok();
        let (checkpoint, exported) = (format!("{out}/checkpoint"), format!("{out}-exported"));
        convert(here.path(), &["--checkpoint", &checkpoint, "--to", "transformers", "--out", &exported]).ok();
        assert!(difference(here.path(), [&checkpoint, &exported]) < 1e-5, "{options:?}");
    }

    // Rounded, and back as our own, which is the same as what is read.
    convert(
        here.path(),
        &["--checkpoint", "large0/checkpoint", "--to", "transformers", "--out", "half", "--dtype", "bf16"],
    )
    .ok();
    let rounded = difference(here.path(), ["large0/checkpoint", "half"]);
    assert!(rounded > 1e-6 && rounded < 0.05, "{rounded}");
    let info = run_in(here.path(), &["info", "half", "--json"]).ok().json();
    assert_eq!(info["file_bytes"]["BF16"].as_u64(), info["parameters"].as_u64().map(|n| 2 * n));
    convert(here.path(), &["--checkpoint", "half", "--to", "carousel", "--out", "own"]).ok();
    assert_eq!(difference(here.path(), ["half", "own"]), 0.0);

    // A folder in use, a model that the other program does not compute, and one with equations of its own.
    let refused = |checkpoint: &str, to: &str, out: &str, parts: &[&str]| {
        convert(here.path(), &["--checkpoint", checkpoint, "--to", to, "--out", out]).refuses(parts);
    };
    refused("out0/checkpoint", "xlstm", "exported0", &["exported0", "not empty"]);
    refused("out0/checkpoint", "transformers", "no", &["models/large.xl"]);
    let unmixed = ["--set", "model.mixing=false", "--out", "unmixed"];
    train(here.path(), &[&quiet[..], &unmixed].concat()).ok();
    refused("unmixed/checkpoint", "xlstm", "no", &["mixing"]);
    let cell = std::fs::read_to_string(crate::support::model_file("cells/mlstm.xl")).expect("it is there");
    std::fs::write(here.path().join("cell.xl"), cell.replace("sigmoid(f) * C", "0.9 * sigmoid(f) * C"))
        .expect("it is written");
    train(here.path(), &[&quiet[..], &["--cell", "cell.xl", "--out", "mine"]].concat()).ok();
    refused("mine/checkpoint", "xlstm", "no", &["cells/mlstm.xl"]);
    assert!(!here.path().join("no").exists());
}

#[test]
fn checkpoints_of_others_survive_the_way_there_and_back() {
    let here = folder();
    for name in ["single", "fused", "softcap_bias", "tied_sharded"] {
        let (checkpoint, out, own) = (golden(name), format!("{name}-out"), format!("{name}-own"));
        convert(here.path(), &["--checkpoint", &checkpoint, "--to", "transformers", "--out", &out]).ok();
        assert_eq!(difference(here.path(), [&checkpoint, &out]), 0.0, "{name}");
        convert(here.path(), &["--checkpoint", &checkpoint, "--to", "carousel", "--out", &own]).ok();
        assert_eq!(difference(here.path(), [&checkpoint, &own]), 0.0, "{name}");
    }
}
