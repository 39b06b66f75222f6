//! Values that stay on the device: what moves is what is passed, and nothing else.

use crate::kernels::lowered;
use carousel_core::backend::{Data, DataMut, Executable, RunError, Tensor};
use carousel_core::resident::{Input, Output, Resident};
use carousel_core::values::Values;
use carousel_cuda::Transferred;
use carousel_ir::DType;
use carousel_tests::emulated::own_backend;

/// A step of a descent with momentum: weights and momentum go on, a batch comes in, a loss goes out.
const STEP: &str = "fn f(w: [n], v: [n], x: [b, n], rate: []) -> (w1: [n], v1: [n], loss: []) {
  let error = sum[n](x * w) - 1
  let g = sum[b](error * x)
  let v1 = 0.9 * v + g
  let w1 = w - rate * v1
  let loss = sum[b](error * error)
}";
const N: usize = 300;
const ROWS: usize = 2;
const STEPS: usize = 5;

fn batch(step: usize) -> Vec<f32> {
    (0..ROWS * N).map(|at| ((at * 5 + step * 3) % 17) as f32 / 170.0).collect()
}

#[test]
fn only_what_changes_moves() {
    let backend = own_backend();
    let program = lowered(STEP);
    // A status word for each kernel comes back.
    let words = 4 * program.kernels.len() as u64;
    let function = backend.executable(program).unwrap_or_else(|error| panic!("{error}"));
    let sides: [[u64; 1]; 1] = [[N as u64]];
    let (shape, rows) = (&sides[0][..], [ROWS as u64, N as u64]);

    // All of it passed every time.
    let (mut w, mut v, mut losses) = (vec![0.1f32; N], vec![0.0f32; N], Vec::new());
    for step in 0..STEPS {
        let x = batch(step);
        let (mut next_w, mut next_v, mut loss) = (vec![0.0; N], vec![0.0; N], [0.0]);
        let tensors = [(&w[..], shape), (&v, shape), (&x, &rows), (&[0.01], &[])];
        let inputs = tensors.map(|(data, shape)| Tensor { data: Data::F32(data), shape });
        let mut outputs = [DataMut::F32(&mut next_w), DataMut::F32(&mut next_v), DataMut::F32(&mut loss)];
        function.run(&inputs, &mut outputs).unwrap_or_else(|error| panic!("{error}"));
        (w, v) = (next_w, next_v);
        losses.push(loss[0]);
    }

    // Weights and momentum stay.
    let memory = || function.resident(DType::F32, N as u64).unwrap_or_else(|error| panic!("{error}"));
    let (mut w_there, mut v_there, mut next_w, mut next_v) = (memory(), memory(), memory(), memory());
    w_there.write(Data::F32(&[0.1; N])).expect("it fits");
    v_there.write(Data::F32(&[0.0; N])).expect("it fits");
    for (step, expected) in losses.iter().enumerate() {
        let (before, started_before) = (backend.transferred(), backend.started());
        let (x, mut loss) = (batch(step), [0.0]);
        let inputs = [
            Input::Resident { memory: &*w_there, shape },
            Input::Resident { memory: &*v_there, shape },
            Input::Passed(Tensor { data: Data::F32(&x), shape: &rows }),
            Input::Passed(Tensor { data: Data::F32(&[0.01]), shape: &[] }),
        ];
        let mut outputs = [
            Output::Resident(&mut *next_w),
            Output::Resident(&mut *next_v),
            Output::Passed(DataMut::F32(&mut loss)),
        ];
        function.run_resident(&inputs, &mut outputs).unwrap_or_else(|error| panic!("{error}"));
        std::mem::swap(&mut w_there, &mut next_w);
        std::mem::swap(&mut v_there, &mut next_v);
        assert_eq!(loss[0].to_bits(), expected.to_bits());
        let after = backend.transferred();
        let moved = Transferred {
            to_device: after.to_device - before.to_device,
            from_device: after.from_device - before.from_device,
        };
        assert_eq!(moved, Transferred { to_device: 4 * (ROWS * N) as u64 + 4, from_device: 4 + words });
        // Values and the next ones change places: what is done the third time was done before, and is started at once.
        let started = backend.started();
        let graphs = started.graphs - started_before.graphs;
        let kernels = started.kernels - started_before.kernels;
        assert_eq!((graphs, kernels > 0), if step < 2 { (0, true) } else { (1, false) });
    }
    for (there, expected) in [(w_there, w), (v_there, v)] {
        let mut found = vec![0.0f32; N];
        there.read(DataMut::F32(&mut found)).expect("it fits");
        assert_eq!(found, expected);
    }
}

#[test]
fn parts_are_the_same_memory_and_outputs_share_none() {
    let function = own_backend().executable(lowered("fn f(x: [n]) -> (y: [n]) { let y = x + x }"));
    let function = function.unwrap_or_else(|error| panic!("{error}"));
    let mut whole = function.resident(DType::F32, 12).expect("there is room");
    whole
        .write(Data::F32(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]))
        .expect("it fits");
    let part = |range| whole.part(range).expect("it is within");
    let run = |from: &dyn Resident, to: &mut dyn Resident| {
        let inputs = [Input::Resident { memory: from, shape: &[3] }];
        function.run_resident(&inputs, &mut [Output::Resident(to)])
    };
    run(&*part(1..4), &mut *part(7..10)).expect("they lie apart");
    let mut found = [0.0; 12];
    whole.read(DataMut::F32(&mut found)).expect("it fits");
    assert_eq!(found, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 4.0, 6.0, 8.0, 11.0, 12.0]);
    let refused = run(&*part(1..4), &mut *part(3..6)).expect_err("an element is in both");
    assert!(refused.to_string().contains("shares memory"), "{refused}");
    assert!(whole.part(3..13).is_err());
    let inner = part(2..8).part(1..3).expect("a part of a part");
    let mut found = [0.0; 2];
    inner.read(DataMut::F32(&mut found)).expect("it fits");
    assert_eq!(found, [4.0, 5.0]);
}

#[test]
fn memory_that_does_not_fit_is_refused() {
    let function = own_backend().executable(lowered("fn f(x: [n]) -> (y: [n]) { let y = x + x }"));
    let function = function.unwrap_or_else(|error| panic!("{error}"));
    let mut there = function.resident(DType::F32, 4).expect("there is room");
    there.write(Data::F32(&[1.0; 3])).expect_err("another number of elements");
    there.write(Data::F32(&[1.0; 4])).expect("it fits");
    let run = |memory: &dyn Resident, shape: &[u64]| {
        let mut result = [0.0; 4];
        let output = &mut [Output::Passed(DataMut::F32(&mut result))];
        function.run_resident(&[Input::Resident { memory, shape }], output).map(|()| result)
    };
    assert_eq!(run(&*there, &[4]), Ok([2.0; 4]));
    assert!(matches!(run(&*there, &[3]), Err(RunError::Length { expected: 3, found: 4, .. })));
    let elsewhere = Values::zeros(DType::F32, 4);
    assert!(matches!(run(&elsewhere, &[4]), Err(RunError::Device { .. })));
}

#[test]
fn runs_of_a_sequence_are_started_together() {
    let backend = own_backend();
    let function = |text: &str| backend.executable(lowered(text)).unwrap_or_else(|error| panic!("{error}"));
    let double = function("fn f(x: [n]) -> (y: [n]) { let y = x + x }");
    let square = function("fn f(x: [n]) -> (y: [n]) { let y = x * x }");
    let memory = || double.resident(DType::F32, 3).expect("there is room");
    let (mut a, mut b, mut c) = (memory(), memory(), memory());
    for time in 0..3 {
        a.write(Data::F32(&[1.0, 2.0, 3.0])).expect("it fits");
        let before = backend.started();
        let mut sequence = double.sequence();
        let mut add = |function: &dyn Executable, from: &dyn Resident, to: &mut dyn Resident| {
            let inputs = [Input::Resident { memory: from, shape: &[3] }];
            function.add(&mut *sequence, &inputs, &mut [Output::Resident(to)]).expect("it fits");
        };
        add(&double, &*a, &mut *b);
        add(&square, &*b, &mut *c);
        // What was read before is written.
        add(&double, &*c, &mut *a);
        assert_eq!(backend.started(), before);
        sequence.finish().expect("it runs");
        let mut found = [0.0; 3];
        a.read(DataMut::F32(&mut found)).expect("it fits");
        assert_eq!(found, [8.0, 32.0, 72.0]);
        assert_eq!(backend.started().graphs - before.graphs, u64::from(time > 0));
    }
    let mut result = [0.0; 3];
    let inputs = [Input::Resident { memory: &*a, shape: &[3] }];
    let passed = &mut [Output::Passed(DataMut::F32(&mut result))];
    let refused = double.add(&mut *double.sequence(), &inputs, passed).expect_err("it comes back too early");
    assert!(refused.to_string().contains("leaves its outputs on the device"), "{refused}");
}
