//! A small language model on the device: a training step and generated tokens, as on the CPU.

use carousel_cuda::CudaBackend;
use carousel_cuda::emulated::{Mode, set_mode, take_records};
use carousel_models::batch::Batch;
use carousel_models::compile::Engine;
use carousel_models::config::{AdamW, ParameterValue};
use carousel_models::library::ModelSource;
use carousel_models::model::{Model, Reading};
use carousel_models::optimizer::{Optimizer, Update};
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
    /// Bytes that went to the device for the last update, and for each token; weights and what is remembered have so many.
    moved_by_update: u64,
    moved: Vec<u64>,
    weight_bytes: u64,
    memory_bytes: u64,
}

/// Two updates of the built-in model, small, an mLSTM block and an sLSTM block; then greedy tokens after a prompt. Updates
/// go by `gradients` if they are given: AdamW makes large differences of small ones where a gradient is almost 0.
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
    let layout = model.layout();
    let gradient = model.loss_gradient(engine).unwrap_or_else(|failed| panic!("{failed}"));
    let mut optimizer = Optimizer::new(engine, layout.initial(7).unwrap_or_else(|error| panic!("{error}")));
    let mut gradients = vec![0.0; layout.elements()];
    let (rows, context) = (2, 9);
    let sent = || device.map_or(0, |device| device.transferred().to_device);
    let mut outcome = Outcome {
        losses: vec![],
        norms: vec![],
        gradients: vec![],
        parameters: vec![],
        tokens: vec![],
        moved_by_update: 0,
        moved: vec![],
        weight_bytes: 4 * layout.elements() as u64,
        memory_bytes: 0,
    };
    for step in 0..2 {
        let token = |at: i32| (at * at * 5 + 3 * at + step as i32) % 24;
        let inputs: Vec<i32> = (0..(rows * context) as i32).map(token).collect();
        let labels = inputs.iter().map(|t| (t * 7 + 1) % 24).collect();
        let batch = Batch { rows, context, inputs, labels, starts: Vec::new() };
        let reading = Reading { batch: &batch, seed: 5, step };
        let parameters = Weights::of(layout, optimizer.values.as_slice());
        let loss = gradient.loss(&parameters, reading, Some(&mut gradients));
        let norm = optimizer.norm(&gradients).unwrap_or_else(|error| panic!("{error}"));
        let update = Update { adamw: &AdamW::default(), step, learning_rate: 0.01, clip: 1.0 };
        let used = gradients_to_use.map_or(&gradients, |given| &given[step as usize]);
        let before = sent();
        optimizer.update(layout, used, norm, update).unwrap_or_else(|error| panic!("{error}"));
        outcome.moved_by_update = sent() - before;
        outcome.losses.push(loss.unwrap_or_else(|error| panic!("{error}\n{}", findings(&take_records()))));
        outcome.norms.push(norm);
        outcome.gradients.push(gradients.clone());
    }
    let weights = Weights::of(layout, optimizer.values.as_slice());
    let predictor = model.predictor(engine, &weights).unwrap_or_else(|failed| panic!("{failed}"));
    let mut text = predictor.start();
    let mut piece = vec![3, 11, 5];
    for _ in 0..tokens {
        let before = sent();
        let logits = text.last_logits(&weights, &piece).unwrap_or_else(|error| panic!("{error}"));
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("a vocabulary");
        outcome.tokens.push(best as i32);
        piece = vec![best as i32];
        outcome.moved.push(sent() - before);
    }
    outcome.memory_bytes = text.memory().bytes();
    outcome.parameters = optimizer.values.clone();
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
    // Parameters and gradients, and a few numbers for each group of parameters: moments stay on the device.
    assert_eq!(found.moved_by_update, 2 * found.weight_bytes + 2 * 8 * 4);
    // Weights and what is remembered go to the device once; then it is a token each time, with three words.
    assert!(found.moved[0] >= found.weight_bytes + found.memory_bytes && found.memory_bytes > 0);
    assert!(found.moved[1..].iter().all(|moved| *moved <= 16), "{:?}", found.moved);
}
