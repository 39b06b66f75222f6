//! A small language model on the device: a training step and generated tokens, as on the CPU.

use carousel_core::backend::{DataMut, RunError};
use carousel_core::resident::Output;
use carousel_cuda::emulated::{Mode, set_mode, take_records};
use carousel_cuda::{CudaBackend, Started};
use carousel_models::batch::Batch;
use carousel_models::compile::Engine;
use carousel_models::config::{AdamW, ParameterValue};
use carousel_models::library::ModelSource;
use carousel_models::model::{Model, Reading};
use carousel_models::optimizer::{Optimizer, Update};
use carousel_models::piece::Memory;
use carousel_models::weights::Weights;
use carousel_testkit::device::findings;
use carousel_tests::emulated::own_backend;

/// What is compared of a model.
struct Outcome {
    losses: Vec<f32>,
    norms: Vec<f64>,
    gradients: Vec<Vec<f32>>,
    parameters: Vec<f32>,
    tokens: Vec<i32>,
    /// Bytes that went to the device, and came from it, for the last step of training; bytes that went there for each token.
    /// Weights and what is remembered have so many.
    moved_by_step: [u64; 2],
    moved: Vec<u64>,
    /// What was started for the last step of training, and for the last token.
    started: [Started; 2],
    weight_bytes: u64,
    memory_bytes: u64,
}

/// Three updates of the built-in model, small, an mLSTM block and an sLSTM block, on windows one behind the other; then greedy
/// tokens after a prompt. Updates go by `gradients` if they are given: AdamW makes large differences of small ones where a
/// gradient is almost 0.
fn outcome(
    engine: &Engine,
    device: Option<&CudaBackend>,
    tokens: usize,
    gradients_to_use: Option<&[Vec<f32>]>,
) -> Outcome {
    let number = ParameterValue::Integer;
    let parameters = [
        ("vocab", number(24)),
        ("layers", number(2)),
        ("width", number(12)),
        ("heads", number(2)),
        ("head_dim", number(6)),
        ("ffn", number(16)),
        ("slstm_at", ParameterValue::List(vec![number(1)])),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_string(), value)).into();
    let source = ModelSource::load(None, None).unwrap_or_else(|error| panic!("{error}"));
    let model = Model::new(&source, &parameters).unwrap_or_else(|failed| panic!("{failed}"));
    let model = model.carrying_state(true);
    let layout = model.layout();
    let gradient = model.loss_gradient(engine).unwrap_or_else(|failed| panic!("{failed}"));
    let initial = layout.initial(7).unwrap_or_else(|error| panic!("{error}"));
    let optimizer = Optimizer::new(engine, layout, initial);
    let mut optimizer = optimizer.unwrap_or_else(|error| panic!("{error}"));
    let arena = || optimizer.zeros().unwrap_or_else(|error| panic!("{error}"));
    let (mut gradients, mut given) = (arena(), arena());
    let (rows, context) = (2, 9);
    let mut memory = Memory::empty(rows);
    let mut loss = gradient.room_for_loss().unwrap_or_else(|error| panic!("{error}"));
    let moved = || device.map(CudaBackend::transferred).unwrap_or_default();
    let started = || device.map(CudaBackend::started).unwrap_or_default();
    let since = |before: Started| {
        let now = started();
        Started { kernels: now.kernels - before.kernels, graphs: now.graphs - before.graphs }
    };
    let mut outcome = Outcome {
        losses: vec![],
        norms: vec![],
        gradients: vec![],
        parameters: vec![],
        tokens: vec![],
        moved_by_step: [0; 2],
        started: [Started::default(); 2],
        moved: vec![],
        weight_bytes: 4 * layout.elements() as u64,
        memory_bytes: 0,
    };
    for step in 0..3 {
        let token = |at: i32| (at * at * 5 + 3 * at + step as i32) % 24;
        let inputs: Vec<i32> = (0..(rows * context) as i32).map(token).collect();
        let labels = inputs.iter().map(|t| (t * 7 + 1) % 24).collect();
        let batch = Batch { rows, context, inputs, labels, starts: Vec::new() };
        let reading = Reading { batch: &batch, seed: 5, step };
        let used = gradients_to_use.map(|all| {
            given.set(layout, all[step as usize].clone()).unwrap_or_else(|error| panic!("{error}"));
            &given
        });
        let (before, started_before) = (moved(), started());
        let update = Update { adamw: &AdamW::default(), step, learning_rate: 0.01, clip: 1.0 };
        let mut step = || {
            let mut sequence = gradient.sequence();
            let (parameters, to) = (optimizer.parameters().into(), Output::Resident(&mut *loss));
            let into = Some(&mut gradients);
            let run = gradient.add_loss(Some(&mut *sequence), parameters, reading, into, &memory, to)?;
            optimizer.add_update(&mut *sequence, used.unwrap_or(&gradients), update)?;
            sequence.finish()?;
            gradient.settle(run, &mut memory);
            optimizer.accept();
            let mut found = [0.0];
            loss.read(DataMut::F32(&mut found))?;
            Ok::<_, RunError>((found[0], optimizer.norm()?))
        };
        let (found, norm) = step().unwrap_or_else(|error| panic!("{error}\n{}", findings(&take_records())));
        let after = moved();
        outcome.moved_by_step = [after.to_device - before.to_device, after.from_device - before.from_device];
        outcome.started[0] = since(started_before);
        outcome.losses.push(found);
        outcome.norms.push(norm);
        let gradients = gradients.values(layout).unwrap_or_else(|error| panic!("{error}"));
        outcome.gradients.push(gradients.into_owned());
    }
    outcome.parameters = optimizer.values().unwrap_or_else(|error| panic!("{error}")).into_owned();
    let weights = Weights::of(layout, outcome.parameters.clone());
    let predictor = model.predictor(engine, &weights).unwrap_or_else(|failed| panic!("{failed}"));
    let mut text = predictor.start();
    let mut piece = vec![3, 11, 5];
    for _ in 0..tokens {
        let (before, started_before) = (moved().to_device, started());
        let logits = text.last_logits(&weights, &piece).unwrap_or_else(|error| panic!("{error}"));
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("a vocabulary");
        outcome.tokens.push(best as i32);
        piece = vec![best as i32];
        outcome.moved.push(moved().to_device - before);
        outcome.started[1] = since(started_before);
    }
    outcome.memory_bytes = text.memory().bytes();
    outcome
}

#[test]
fn a_small_model_trains_and_generates_as_on_the_cpu() {
    set_mode(Mode::Strict);
    let expected = outcome(&Engine::cpu(Some(1)), None, 32, None);
    let device = own_backend();
    let found = outcome(&Engine::on(Box::new(device.clone())), Some(&device), 32, Some(&expected.gradients));
    let wrong = findings(&take_records());
    assert!(wrong.is_empty(), "{wrong}");
    for (f, e) in found.losses.iter().zip(&expected.losses) {
        assert!((f - e).abs() <= 1e-5 * e.abs(), "losses {:?}, not {:?}", found.losses, expected.losses);
    }
    for (f, e) in found.norms.iter().zip(&expected.norms) {
        assert!((f - e).abs() <= 1e-4 * e, "norms {:?}, not {:?}", found.norms, expected.norms);
    }
    let close = |what: &str, found: &[f32], expected: &[f32]| {
        let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        for (at, (f, e)) in found.iter().zip(expected).enumerate() {
            assert!((f - e).abs() <= 1e-4 * largest, "{what} {at} is {f}, not {e}");
        }
    };
    for (f, e) in found.gradients.iter().zip(&expected.gradients) {
        close("gradient", f, e);
    }
    close("parameter", &found.parameters, &expected.parameters);
    assert_eq!(found.tokens, expected.tokens);
    // Parameters, gradients, moments and what is remembered stay on the device. Tokens and labels go there, with whether
    // texts begin and what the update of each of two groups depends on; the loss comes back, with two sums of squares and
    // a word for each kernel.
    let [sent, received] = found.moved_by_step;
    assert_eq!(sent, 2 * 4 * 2 * 9 + 4 + 2 * 8 * 4);
    assert!(received < 2048 && received < found.weight_bytes / 4, "{received} of {}", found.weight_bytes);
    // Weights and what is remembered go to the device once; then it is a token each time, with three words.
    assert!(found.moved[0] >= found.weight_bytes + found.memory_bytes && found.memory_bytes > 0);
    assert!(found.moved[1..].iter().all(|moved| *moved <= 16), "{:?}", found.moved);
    // What comes again is started at once: a whole step; a token.
    assert_eq!(found.started, [Started { kernels: 0, graphs: 1 }; 2]);
}
