//! Inputs that lie in memory in 16 bits, or in another order, are read as they are; and what a run in steady state allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use carousel_core::backend::{Data, DataMut, Executable, Tensor};
use carousel_core::program::{Program, Stored, places};
use carousel_core::{Target, lower_stored};
use carousel_cpu::{CpuBackend, CpuExecutable};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{DType, FunctionId, Name};
use half::{bf16, f16};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends may allocate when its own memory is gone already.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Weights as operands of products in each layout, of a gather, of elementwise operations, of a reduction, and as they are;
/// one of them inside a called function.
const TEXT: &str = "block part(x: [s, d], w: [e, d]) -> (y: [s, e]) {
  let y = sum[d](x * w)
}
model all(x: [s, d], w: [e, d], t: [d, e], table: [v, d], bias: [d], index: i32[s])
    -> (y: [s, e], z: [s, e], m: [e], copy: [d, e]) {
  let row = table[v = index] * bias
  let y = part(x + row, w)
  let z = sum[d](row * t)
  let m = max[d](w)
  let copy = t
}
";

/// How the weights lie in memory: row-major, or with their axes the other way round and gaps between elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Declared,
    Turned,
}

/// All weights in a dtype and an order.
fn stored(dtype: DType, order: Order, [d, e]: [u64; 2]) -> Vec<(Name, Stored)> {
    let turned = [("w", vec![1, e + 3]), ("t", vec![1, d]), ("table", vec![2, 10]), ("bias", vec![3])];
    turned
        .into_iter()
        .map(|(name, strides)| {
            let strides = (order == Order::Turned).then_some(strides);
            (Name::new(name), Stored { dtype, strides })
        })
        .collect()
}

fn program(stored: &[(Name, Stored)], [d, e]: [u64; 2]) -> Program {
    let none = |path: &str| Err(format!("no file {path}"));
    let program = parse_program("all.xl", TEXT, &none).unwrap_or_else(|_| panic!("the text has problems"));
    let sizes = [("v", 5), ("d", d), ("e", e)].map(|(name, size)| (name.to_string(), size));
    let options = Options { sizes: sizes.into(), ..Options::default() };
    let module = elaborate(&program, &["all"], &options).unwrap_or_else(|e| panic!("{e:?}"));
    let root = FunctionId(module.functions.len() as u32 - 1);
    lower_stored(&module, root, stored, &Target::default()).unwrap_or_else(|e| panic!("{e:?}"))
}

fn executable(stored: &[(Name, Stored)], sizes: [u64; 2], threads: usize) -> CpuExecutable {
    CpuBackend::new(threads).executable(program(stored, sizes)).unwrap_or_else(|e| panic!("{e}"))
}

/// Every other number is negative; all are exact in bf16 and in f16.
fn numbers(count: u64, seed: u64) -> Vec<f32> {
    (0..count).map(|at| ((at * 37 + seed * 11) % 61) as f32 / 32.0 - 0.9375).collect()
}

fn halves(values: &[f32], dtype: DType) -> Vec<u16> {
    let is_f16 = dtype == DType::F16;
    let bits = |x: &f32| if is_f16 { f16::from_f32(*x).to_bits() } else { bf16::from_f32(*x).to_bits() };
    values.iter().map(bits).collect()
}

/// The numbers as they lie in memory; what is between them is no number.
fn laid_out(values: Vec<f32>, shape: &[u64], strides: Option<&[u64]>) -> Vec<f32> {
    let Some(strides) = strides else { return values };
    let axes: Vec<(usize, usize)> =
        shape.iter().zip(strides).map(|(size, stride)| (*size as usize, *stride as usize)).collect();
    let mut memory = vec![f32::NAN; places(&axes).max().map_or(0, |last| last + 1)];
    places(&axes).zip(values).for_each(|(place, value)| memory[place] = value);
    memory
}

/// Outputs for `s` rows, and the allocations of a second run.
fn run(executable: &CpuExecutable, [s, d, e]: [u64; 3]) -> (Vec<Vec<f32>>, u64) {
    let index: Vec<i32> = (0..s).map(|at| (at * 3 % 5) as i32).collect();
    let shapes = [vec![s, d], vec![e, d], vec![d, e], vec![5, d], vec![d], vec![s]];
    let ports = executable.inputs().iter();
    let values = shapes.iter().zip(ports).zip(1..).map(|((shape, port), seed)| {
        laid_out(numbers(shape.iter().product(), seed), shape, port.strides.as_deref())
    });
    let values: Vec<Vec<f32>> = values.collect();
    let bits = values.iter().zip(executable.inputs()).map(|(values, port)| halves(values, port.ty.dtype));
    let bits: Vec<Vec<u16>> = bits.collect();
    let inputs = executable.inputs().iter().enumerate().map(|(at, port)| {
        let data = match port.ty.dtype {
            DType::F32 => Data::F32(&values[at]),
            DType::Bf16 => Data::Bf16(&bits[at]),
            DType::F16 => Data::F16(&bits[at]),
            DType::F64 | DType::I32 | DType::U32 | DType::Bool => Data::I32(&index),
        };
        Tensor { data, shape: &shapes[at] }
    });
    let inputs: Vec<Tensor<'_>> = inputs.collect();
    let mut outputs = [s * e, s * e, e, d * e].map(|n| vec![f32::NAN; n as usize]);
    let mut views = outputs.each_mut().map(|values| DataMut::F32(values));
    executable.run(&inputs, &mut views).unwrap_or_else(|error| panic!("{error}"));
    let before = ALLOCATIONS.get();
    executable.run(&inputs, &mut views).unwrap_or_else(|error| panic!("{error}"));
    let allocations = ALLOCATIONS.get() - before;
    (outputs.to_vec(), allocations)
}

#[test]
fn inputs_give_what_they_give_in_f32_and_in_the_declared_order() {
    for sizes in [[7, 5], [64, 33], [131, 700]] {
        let plain = executable(&[], sizes, 1);
        for (dtype, order) in [
            (DType::Bf16, Order::Declared),
            (DType::F16, Order::Declared),
            (DType::F32, Order::Turned),
            (DType::Bf16, Order::Turned),
            (DType::F16, Order::Turned),
        ] {
            let what = format!("{dtype}, {order:?}");
            let stored = stored(dtype, order, sizes);
            let steps =
                |program: &Program| program.routines.iter().map(|r| r.steps.len()).collect::<Vec<_>>();
            assert_eq!(
                steps(&program(&stored, sizes)),
                steps(&program(&[], sizes)),
                "{what}: nothing is copied"
            );
            let [other, threaded] = [1, 2].map(|threads| executable(&stored, sizes, threads));
            assert_eq!(
                other.inputs().iter().filter(|port| port.ty.dtype == dtype).count(),
                if dtype == DType::F32 { 5 } else { 4 }
            );
            for s in [1, 3, 70] {
                let shape = [s, sizes[0], sizes[1]];
                let ((expected, _), (found, _)) = (run(&plain, shape), run(&other, shape));
                assert_eq!(run(&threaded, shape).0, found, "{what}, {shape:?}");
                for (output, (expected, found)) in expected.iter().zip(&found).enumerate() {
                    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
                    for (x, y) in expected.iter().zip(found) {
                        let fits = (x - y).abs() <= 1e-6 * largest;
                        assert!(fits, "{what}, {shape:?}, output {output}: {x} {y}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_run_of_known_shapes_allocates_nothing() {
    let sizes = [131, 700];
    for stored in
        [vec![], stored(DType::Bf16, Order::Declared, sizes), stored(DType::F32, Order::Turned, sizes)]
    {
        let executable = executable(&stored, sizes, 1);
        for s in [1, 70] {
            assert_eq!(run(&executable, [s, 131, 700]).1, 0, "{stored:?}, {s} rows");
        }
    }
}

#[test]
fn strides_of_other_axes_and_slices_of_other_lengths_are_refused() {
    let none = |path: &str| Err(format!("no file {path}"));
    let text = "fn f(x: [s, d]) -> (y: [s, d]) {\n  let y = x * 2\n}\n";
    let parsed = parse_program("f.xl", text, &none).unwrap_or_else(|_| panic!("the text has problems"));
    let module = elaborate(&parsed, &["f"], &Options::default()).unwrap_or_else(|e| panic!("{e:?}"));
    let lowered = |strides: &[u64]| {
        let stored = Stored { dtype: DType::F32, strides: Some(strides.to_vec()) };
        lower_stored(&module, FunctionId(0), &[(Name::new("x"), stored)], &Target::default())
    };
    let refused = lowered(&[1]).expect_err("it has two axes");
    assert!(refused[0].message.contains("`x`"), "{refused:?}");
    let executable = CpuBackend::new(1).executable(lowered(&[1, 4]).unwrap()).unwrap();
    let mut found = [0.0; 6];
    let mut run = |given: &[f32]| {
        let input = Tensor { data: Data::F32(given), shape: &[3, 2] };
        executable.run(&[input], &mut [DataMut::F32(&mut found)]).map(|()| found)
    };
    // From the first element to the last there are seven.
    assert_eq!(run(&[1.0, 2.0, 3.0, f32::NAN, 4.0, 5.0, 6.0]).unwrap(), [2.0, 8.0, 4.0, 10.0, 6.0, 12.0]);
    assert!(run(&[0.0; 6]).unwrap_err().to_string().contains('7'));
    assert!(run(&[0.0; 8]).is_err());
}
