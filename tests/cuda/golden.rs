//! Golden vectors on the device: cells, published forms of them, other recurrences, components, blocks, language models,
//! published checkpoints, a training run.

use carousel_passes::forms::Form;
use carousel_tests::golden::families::{Loops, Precision, program};
use carousel_tests::golden::folder;
use carousel_tests::golden::manifest::{Case, Manifest};
use carousel_tests::golden::run::{Engine, Loop, Target, run};
use carousel_tests::parallel;

/// Cases that take longer, and differ from others of their family in length, width, the size of gates or how weights are stored: they
/// are run when asked for.
#[rustfmt::skip]
const LONG: [&str; 30] = [
    "linear_rnn/kda_grouped", "linear_rnn/dplr", "linear_rnn/gated_delta_rule", "linear_rnn/gsa", "linear_rnn/gla", "mlstm_core/parallel_s64",
    "mlstm_core/parallel_s100", "mlstm_core/parallel_s256", "mlstm_core/recurrent_s100", "mlstm_core/hf_chunkwise_s64",
    "mlstm_core/hf_chunkwise_s256", "mlstm_core/hf_sequence_s100", "mlstm_core/parallel_im120_s24", "train/adamw_1_0", "hf/single",
    "hf/single_64", "hf/tied_sharded", "hf/e2e_bpe", "lm/xlstm_1_0", "lm/xlstm_7_1", "lm/xlstm_0_1", "lm/xlstm_1_1_default_width",
    "mlstm_core/parallel_s7", "mlstm_core/recurrent_s7", "mlstm_core/parallel_fp60_s24", "mlstm_core/hf_chunkwise_pm60", "hf/fused",
    "blocks/mlstm_block_default_width", "blocks/mlstm_layer_bias_k3", "blocks/slstm_block_ffn_default_width",
];

/// How many tensors of a case were compared, and what was wrong.
fn compare(case: &Case) -> (usize, Vec<String>) {
    let target = |loops| Target { engine: Engine::Cuda32, loops };
    let program = program(case, Precision::Single).unwrap_or_else(|error| panic!("{error}"));
    let ways: &[Loop] = match program.loops {
        Loops::Linear => &[Loop::Written, Loop::Form(Form::Chunkwise(5)), Loop::Form(Form::Parallel)],
        Loops::Sequential | Loops::None | Loops::Training(_) => &[Loop::Written],
        Loops::Model | Loops::LanguageModel(_) => &[Loop::Derived],
    };
    let (mut compared, mut failures) = (0, Vec::new());
    for loops in ways {
        let name = format!("{} {}", case.name, target(*loops).name());
        let report = run(&folder(), case, &program, target(*loops));
        let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
        compared += report.compared;
        failures.extend(report.failures.iter().map(|failure| format!("{name}: {failure}")));
    }
    (compared, failures)
}

/// Compares the cases that are `LONG`, or all others.
fn compare_all(are_long: bool) -> usize {
    let manifest = Manifest::read(&folder()).unwrap_or_else(|error| panic!("{error}"));
    let (long, others): (Vec<Case>, Vec<Case>) =
        manifest.cases.into_iter().partition(|case| LONG.contains(&case.name.as_str()));
    assert_eq!(long.len(), LONG.len());
    let (compared, failures): (Vec<usize>, Vec<Vec<String>>) =
        parallel::each(if are_long { &long } else { &others }, compare).into_iter().unzip();
    let failures = failures.concat();
    assert!(failures.is_empty(), "beyond tolerance:\n{}", failures.join("\n"));
    compared.iter().sum()
}

#[test]
fn golden_vectors_of_every_family() {
    let compared = compare_all(false);
    assert!(compared > 500, "only {compared} tensors were compared");
}

#[test]
#[ignore = "takes a minute: lengths and widths beyond those of the other cases"]
fn golden_vectors_that_are_long() {
    let compared = compare_all(true);
    assert!(compared > 400, "only {compared} tensors were compared");
}
