//! Help, and mistakes in the arguments themselves.

use crate::support::{folder, run_in};

const COMMANDS: [&str; 11] =
    ["check", "print", "explain", "run", "train", "generate", "eval", "bench", "logits", "info", "convert"];

#[test]
fn every_command_has_an_example() {
    let folder = folder();
    let all = run_in(folder.path(), &["--help"]).ok().out;
    for command in COMMANDS {
        assert!(all.contains(command), "{command} is not in\n{all}");
        let help = run_in(folder.path(), &[command, "--help"]).ok().out;
        assert!(help.contains("Example"), "{help}");
        assert!(help.contains(&format!("  carousel {command} ")), "{help}");
    }
}

#[test]
fn mistakes_in_the_arguments_are_bad_input() {
    let folder = folder();
    let refused = |arguments: &[&str], part: &str| {
        run_in(folder.path(), arguments).refuses(&[part]);
    };
    refused(&[], "Usage");
    refused(&["tarin"], "train");
    refused(&["check"], "FILE");
    refused(&["print", "x.xl", "--stage", "assembly"], "asm");
    refused(&["bench", "mlstm", "--heads", "many"], "many");
    refused(&["check", "x.xl", "--grad"], "--fn");
    refused(
        &["run", "x.xl", "--fn", "f", "--in", "a", "--out", "b", "--dtype", "i32"],
        "f32, f64, bf16 or f16",
    );
    refused(&["train", "--threads", "0"], "1..=1024");
    refused(&["train", "--resume", "--cell", "x.xl"], "--resume");
    for (option, value) in
        [("--temperature", "-1"), ("--temperature", "nan"), ("--top-p", "0"), ("--top-p", "1.5")]
    {
        refused(&["generate", "--checkpoint", "c", "--prompt", "p", option, value], option);
    }
}
