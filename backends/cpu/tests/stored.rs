//! Inputs that lie in memory in bf16 are read as they are; and what a run in steady state allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use carousel_core::backend::{Data, DataMut, Executable, Tensor};
use carousel_core::{Target, lower_stored};
use carousel_cpu::{CpuBackend, CpuExecutable};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{DType, FunctionId, Name};

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
const STORED: [&str; 4] = ["w", "t", "table", "bias"];

fn executable(stored: &[&str], [d, e]: [u64; 2], threads: usize) -> CpuExecutable {
    let none = |path: &str| Err(format!("no file {path}"));
    let program = parse_program("all.xl", TEXT, &none).unwrap_or_else(|_| panic!("the text has problems"));
    let sizes = [("v", 5), ("d", d), ("e", e)].map(|(name, size)| (name.to_string(), size));
    let options = Options { sizes: sizes.into(), ..Options::default() };
    let module = elaborate(&program, &["all"], &options).unwrap_or_else(|e| panic!("{e:?}"));
    let root = FunctionId(module.functions.len() as u32 - 1);
    let stored: Vec<(Name, DType)> = stored.iter().map(|name| (Name::new(name), DType::Bf16)).collect();
    let program =
        lower_stored(&module, root, &stored, &Target::default()).unwrap_or_else(|e| panic!("{e:?}"));
    CpuBackend::new(threads).executable(program).unwrap_or_else(|e| panic!("{e}"))
}

/// Every other number is negative; all are exact in bf16.
fn numbers(count: u64, seed: u64) -> Vec<f32> {
    (0..count).map(|at| ((at * 37 + seed * 11) % 61) as f32 / 32.0 - 0.9375).collect()
}

fn halves(values: &[f32]) -> Vec<u16> {
    values.iter().map(|x| (x.to_bits() >> 16) as u16).collect()
}

/// Outputs for `s` rows, and the allocations of a second run.
fn run(executable: &CpuExecutable, [s, d, e]: [u64; 3]) -> (Vec<Vec<f32>>, u64) {
    let index: Vec<i32> = (0..s).map(|at| (at * 3 % 5) as i32).collect();
    let shapes = [vec![s, d], vec![e, d], vec![d, e], vec![5, d], vec![d], vec![s]];
    let values: Vec<Vec<f32>> =
        shapes.iter().zip(1..).map(|(shape, seed)| numbers(shape.iter().product(), seed)).collect();
    let bits: Vec<Vec<u16>> = values.iter().map(|values| halves(values)).collect();
    let inputs = executable.inputs().iter().enumerate().map(|(at, port)| {
        let data = match port.ty.dtype {
            DType::F32 => Data::F32(&values[at]),
            DType::Bf16 => Data::Bf16(&bits[at]),
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
fn inputs_in_bf16_give_what_their_values_in_f32_give() {
    for sizes in [[7, 5], [64, 33], [131, 700]] {
        let wide = executable(&[], sizes, 1);
        let narrow = executable(&STORED, sizes, 1);
        assert_eq!(narrow.inputs().iter().filter(|port| port.ty.dtype == DType::Bf16).count(), 4);
        let threaded = executable(&STORED, sizes, 2);
        for s in [1, 3, 70] {
            let shape = [s, sizes[0], sizes[1]];
            let ((expected, _), (found, _)) = (run(&wide, shape), run(&narrow, shape));
            assert_eq!(run(&threaded, shape).0, found, "{shape:?}");
            for (output, (expected, found)) in expected.iter().zip(&found).enumerate() {
                let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
                for (x, y) in expected.iter().zip(found) {
                    assert!((x - y).abs() <= 1e-6 * largest, "{shape:?}, output {output}: {x} {y}");
                }
            }
        }
    }
}

#[test]
fn a_run_of_known_shapes_allocates_nothing() {
    for stored in [&[][..], &STORED] {
        let executable = executable(stored, [131, 700], 1);
        for s in [1, 70] {
            assert_eq!(run(&executable, [s, 131, 700]).1, 0, "{stored:?}, {s} rows");
        }
    }
}
