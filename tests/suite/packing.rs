//! Documents packed into one sequence, and windows that follow one another: losses of the language model and its gradients are
//! those of the documents by themselves and of the whole text, on the reference and as machine code.

use carousel_models::arena::Arena;
use carousel_models::batch::Batch;
use carousel_models::compile::Engine;
use carousel_models::config::ParameterValue;
use carousel_models::forms::FormOptions;
use carousel_models::library::ModelSource;
use carousel_models::model::{Model, Reading};
use carousel_models::piece::Memory;
use carousel_models::weights::Weights;
use carousel_passes::forms::{Form, Wanted};
use std::collections::BTreeMap;

/// Lengths of the documents of each row.
const ROWS: [&[usize]; 2] = [&[7, 1, 1, 16, 5], &[25, 5]];
const CONTEXT: usize = 30;

fn model() -> Model {
    let sizes = [("vocab", 17), ("layers", 2), ("width", 8), ("heads", 2), ("head_dim", 4), ("ffn", 12)];
    let mut parameters: BTreeMap<String, ParameterValue> =
        sizes.map(|(name, n)| (name.to_string(), ParameterValue::Integer(n))).into();
    parameters.insert("slstm_at".to_string(), ParameterValue::List(vec![ParameterValue::Integer(1)]));
    let source = ModelSource::load(None, None).unwrap();
    Model::new(&source, &parameters).unwrap_or_else(|failed| panic!("{failed}"))
}

/// Rows of documents, whose last token predicts nothing.
fn packed() -> Batch {
    let (mut inputs, mut labels, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for (row, lengths) in ROWS.iter().enumerate() {
        assert_eq!(lengths.iter().sum::<usize>(), CONTEXT);
        for steps in *lengths {
            for step in 0..*steps {
                let place = inputs.len() + row;
                inputs.push((place * place + 3) as i32 % 17);
                labels.push(if step + 1 == *steps { -1 } else { (place * 5 + 1) as i32 % 17 });
                starts.push(step == 0);
            }
        }
    }
    Batch { rows: ROWS.len(), context: CONTEXT, inputs, labels, starts }
}

/// The documents as batches of their own.
fn alone(batch: &Batch) -> Vec<Batch> {
    let borders: Vec<usize> = (0..batch.inputs.len()).filter(|at| batch.starts[*at]).collect();
    let ends = borders.iter().skip(1).copied().chain([batch.inputs.len()]);
    let documents = borders.iter().zip(ends).map(|(from, to)| {
        let of = |values: &[i32]| values[*from..to].to_vec();
        Batch {
            rows: 1,
            context: to - from,
            inputs: of(&batch.inputs),
            labels: of(&batch.labels),
            starts: Vec::new(),
        }
    });
    documents.collect()
}

fn check(engine: &dyn Fn() -> Engine, tolerance: f32) {
    let [together, apart] = [true, false].map(|packed| {
        let model = model().in_documents(packed);
        model.loss_gradient(&engine()).unwrap_or_else(|failed| panic!("{failed}"))
    });
    let model = model();
    let parameters = model.layout().initial(5).unwrap();
    let run = |function: &carousel_models::model::LanguageFunction, batch: &Batch| {
        let mut gradients = Arena::here(vec![0.0; parameters.len()]);
        let reading = Reading { batch, seed: 0, step: 0 };
        let weights = Weights::of(model.layout(), parameters.as_slice());
        let loss = function.loss(&weights, reading, Some(&mut gradients)).unwrap();
        (loss, gradients.values(model.layout()).unwrap().into_owned())
    };
    let batch = packed();
    let (found, gradients) = run(&together, &batch);
    let (mut wanted, mut sums) = (0.0, vec![0.0; parameters.len()]);
    for document in alone(&batch) {
        let share = document.tokens() as f32 / batch.tokens() as f32;
        let (loss, gradients) = run(&apart, &document);
        wanted += loss * share;
        sums.iter_mut().zip(gradients).for_each(|(sum, x)| *sum += x * share);
    }
    assert!((found - wanted).abs() <= tolerance * wanted, "the loss is {found}, of documents alone {wanted}");
    for parameter in model.layout().parameters() {
        let range = parameter.range.clone();
        let largest = sums[range.clone()].iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        let pairs = gradients[range.clone()].iter().zip(&sums[range]);
        let error = pairs.fold(0.0f32, |m, (a, b)| m.max((a - b).abs() / largest));
        assert!(error <= tolerance, "the gradient by `{}` is off by {error:e}", parameter.name);
    }
    // The documents matter: without borders the loss is another one.
    let (joined, _) = run(&apart, &batch);
    assert!((joined - wanted).abs() > 1e-3 * wanted, "{joined} and {wanted}");
}

#[test]
fn packed_documents_train_as_separate_ones() {
    check(&Engine::reference, 1e-5);
    for form in [Form::Recurrent, Form::Parallel, Form::Chunkwise(8), Form::Chunkwise(64)] {
        let forms = || FormOptions { wanted: Wanted::Only(form), ..FormOptions::default() };
        check(&|| Engine::cpu(Some(1)).with_forms(forms()), 1e-4);
    }
    check(&|| Engine::cpu(Some(2)), 1e-4);
}

/// The loss of a row as one window, and of two windows with what is remembered carried on; the gradients of the second.
fn windows(engine: &Engine, documents: bool) -> (f32, f32, Vec<f32>) {
    let model = model().in_documents(documents).carrying_state(true);
    let function = model.loss_gradient(engine).unwrap_or_else(|failed| panic!("{failed}"));
    let parameters = model.layout().initial(5).unwrap();
    let weights = Weights::of(model.layout(), parameters.as_slice());
    let mut gradients = Arena::here(vec![0.0; parameters.len()]);
    let mut batch = packed();
    batch.labels.iter_mut().for_each(|label| *label = (*label).max(0));
    let mut run = |batch: &Batch, memory: &mut Memory| {
        let reading = Reading { batch, seed: 0, step: 0 };
        function.carried_loss(&weights, reading, Some(&mut gradients), memory).unwrap()
    };
    let whole = run(&batch, &mut Memory::empty(2));
    let half = |from: usize| {
        let rows = |values: &[i32]| {
            values.chunks(CONTEXT).flat_map(|row| row[from..from + CONTEXT / 2].to_vec()).collect()
        };
        let starts = batch.starts.chunks(CONTEXT).flat_map(|row| row[from..from + CONTEXT / 2].to_vec());
        let (inputs, labels) = (rows(&batch.inputs), rows(&batch.labels));
        Batch { rows: 2, context: CONTEXT / 2, inputs, labels, starts: starts.collect() }
    };
    let mut memory = Memory::empty(2);
    let first = run(&half(0), &mut memory);
    let second = run(&half(CONTEXT / 2), &mut memory);
    (whole, (first + second) / 2.0, gradients.values(model.layout()).unwrap().into_owned())
}

#[test]
fn windows_go_on_where_the_ones_before_ended() {
    for documents in [false, true] {
        let (whole, carried, wanted) = windows(&Engine::reference(), documents);
        assert!((whole - carried).abs() < 1e-6, "{whole} as one window, {carried} as two");
        let (compiled, carried, found) = windows(&Engine::cpu(Some(1)), documents);
        assert!(
            (whole - compiled).abs() < 1e-5 && (whole - carried).abs() < 1e-5,
            "{whole} {compiled} {carried}"
        );
        let largest = wanted.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let error = found.iter().zip(&wanted).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(error <= 1e-4 * largest, "gradients are off by {error:e} of {largest:e}");
    }
}
