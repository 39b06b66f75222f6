//! Golden vectors on the device: cells, published forms of them, other recurrences, components, blocks, language models,
//! published checkpoints, a training run.

use carousel_passes::forms::Form;
use carousel_tests::golden::families::{Loops, Precision, program};
use carousel_tests::golden::folder;
use carousel_tests::golden::manifest::{Case, Manifest};
use carousel_tests::golden::run::{Engine, Loop, Target, run};
use carousel_tests::parallel;

/// Cases, by the beginnings of their names: a few of each family, with the shapes and gates that differ most.
#[rustfmt::skip]
const CASES: [&str; 36] = [
    "mlstm_core/parallel_s1", "mlstm_core/parallel_s7", "mlstm_core/parallel_pm60_s32", "mlstm_core/parallel_i120_s24",
    "mlstm_core/recurrent_s7", "mlstm_core/hf_sequence_s7", "slstm_core/slstm_s12_state", "slstm_core/slstm_i120_s16",
    "slstm_core/lstm_pm60_s20", "flashrnn/slstm_0", "flashrnn/lstm_0", "flashrnn/gru_1", "flashrnn/elman_1",
    "linear_rnn/retention", "linear_rnn/delta_rule", "linear_rnn/linear_attn_normalized", "linear_rnn/simple_gla", "linear_rnn/hgrn",
    "linear_rnn/mamba2_ssd", "components/causal_conv1d_k4", "components/layernorm", "components/multihead_layernorm",
    "components/linear_headwise_bias", "components/gated_ffn_gelu", "components/gated_ffn_relu2", "components/rmsnorm_large",
    "components/soft_cap15_of_20x", "blocks/mlstm_layer", "blocks/mlstm_block", "blocks/slstm_layer", "blocks/slstm_block_ffn_gelu",
    "blocks/slstm_block_noffn", "lm/xlstm_1_1", "hf/softcap_bias", "hf/bf16", "train/adamw_1_1",
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

#[test]
fn golden_vectors_of_every_family() {
    let manifest = Manifest::read(&folder()).unwrap_or_else(|error| panic!("{error}"));
    let cases: Vec<Case> =
        manifest.cases.into_iter().filter(|case| CASES.contains(&case.name.as_str())).collect();
    assert_eq!(cases.len(), CASES.len());
    let (compared, failures): (Vec<usize>, Vec<Vec<String>>) =
        parallel::each(&cases, compare).into_iter().unzip();
    let failures = failures.concat();
    assert!(failures.is_empty(), "beyond tolerance:\n{}", failures.join("\n"));
    let compared: usize = compared.iter().sum();
    assert!(compared > 400, "only {compared} tensors were compared");
}
