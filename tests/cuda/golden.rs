//! Golden vectors on the device: cells, published forms of them, other recurrences, blocks.

use carousel_passes::forms::Form;
use carousel_tests::golden::families::{Loops, Precision, program};
use carousel_tests::golden::folder;
use carousel_tests::golden::manifest::Manifest;
use carousel_tests::golden::run::{Engine, Loop, Target, run};

/// Cases, by the beginnings of their names: a few of each family, with the shapes and gates that differ most.
#[rustfmt::skip]
const CASES: [&str; 16] = [
    "mlstm_core/parallel_s1", "mlstm_core/parallel_s7", "mlstm_core/parallel_pm60_s32", "mlstm_core/parallel_i120_s24",
    "mlstm_core/recurrent_s7", "mlstm_core/hf_sequence_s7", "slstm_core/slstm_s12_state", "slstm_core/slstm_i120_s16",
    "slstm_core/lstm_pm60_s20", "flashrnn/slstm_0", "flashrnn/gru_1", "linear_rnn/retention", "linear_rnn/delta_rule",
    "components/causal_conv1d_k4", "components/multihead_layernorm", "blocks/mlstm_layer",
];

#[test]
fn golden_vectors_of_every_family() {
    let (mut compared, mut failures) = (0, Vec::new());
    let manifest = Manifest::read(&folder()).unwrap_or_else(|error| panic!("{error}"));
    for case in manifest.cases.iter().filter(|case| CASES.contains(&case.name.as_str())) {
        let target = |loops| Target { engine: Engine::Cuda32, loops };
        let program = program(case, Precision::Single).unwrap_or_else(|error| panic!("{error}"));
        let ways: &[Loop] = match program.loops {
            Loops::Linear => &[Loop::Written, Loop::Form(Form::Chunkwise(5)), Loop::Form(Form::Parallel)],
            Loops::Sequential | Loops::None | Loops::Model | Loops::LanguageModel(_) => &[Loop::Written],
            Loops::Training(_) => panic!("{} is not run here", case.name),
        };
        for loops in ways {
            let report = run(&folder(), case, &program, target(*loops));
            let report =
                report.unwrap_or_else(|error| panic!("{} {}: {error}", case.name, target(*loops).name()));
            compared += report.compared;
            failures.extend(
                report.failures.iter().map(|f| format!("{} {}: {f}", case.name, target(*loops).name())),
            );
        }
    }
    assert!(failures.is_empty(), "beyond tolerance:\n{}", failures.join("\n"));
    assert!(compared > 150, "only {compared} tensors were compared");
}
