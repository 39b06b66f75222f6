//! What executables refuse, and what a failed run leaves.

use carousel_core::backend::{Data, DataMut, Executable, RunError, Tensor};
use carousel_core::{Target, lower};
use carousel_cpu::{CpuBackend, CpuExecutable};
use carousel_ir::FunctionId;
use carousel_ir::text::{Options, elaborate, parse_program};

/// `y[s, d] = table[index[s], d] / divisor`, on two threads.
fn pick() -> CpuExecutable {
    let text = "fn pick(table: [v, d], index: i32[s], divisor: i32[]) -> (y: [s, d], q: i32[s]) {
  let y = table[v = index]
  let q = index / divisor
}
";
    let none = |path: &str| Err(format!("no file {path}"));
    let program = parse_program("pick.xl", text, &none).unwrap_or_else(|_| panic!("the text has problems"));
    let sizes = [("v".to_string(), 4), ("d".to_string(), 3)].into();
    let options = Options { sizes, ..Options::default() };
    let module = elaborate(&program, &["pick"], &options).unwrap_or_else(|e| panic!("{e:?}"));
    let root = FunctionId(module.functions.len() as u32 - 1);
    let program = lower(&module, root, &Target::default()).unwrap_or_else(|e| panic!("{e:?}"));
    CpuBackend::new(2).executable(program).unwrap_or_else(|e| panic!("{e}"))
}

fn run(executable: &CpuExecutable, index: &[i32], divisor: i32) -> Result<Vec<f32>, RunError> {
    let table: Vec<f32> = (0..12).map(|x| x as f32).collect();
    let n = index.len();
    let inputs = [
        Tensor { data: Data::F32(&table), shape: &[4, 3] },
        Tensor { data: Data::I32(index), shape: &[n as u64] },
        Tensor { data: Data::I32(&[divisor]), shape: &[] },
    ];
    let (mut y, mut q) = (vec![-1.0f32; 3 * n], vec![0i32; n]);
    executable.run(&inputs, &mut [DataMut::F32(&mut y), DataMut::I32(&mut q)])?;
    Ok(y)
}

#[test]
fn bad_data_is_reported_and_the_next_run_is_fine() {
    let executable = pick();
    for bad in [4, -1, i32::MAX, i32::MIN] {
        assert!(matches!(run(&executable, &[0, bad, 1], 1), Err(RunError::Index { .. })), "{bad}");
    }
    assert!(matches!(run(&executable, &[0, 1], 0), Err(RunError::Division { .. })));
    assert_eq!(run(&executable, &[3, 0], 1), Ok(vec![9.0, 10.0, 11.0, 0.0, 1.0, 2.0]));
    assert_eq!(run(&executable, &[], 1), Ok(vec![]));
    assert!(executable.peak_bytes() > 0);
}

#[test]
fn memory_is_checked_before_it_is_touched() {
    let executable = pick();
    let (table, index) = ([0.0f32; 12], [0i32; 2]);
    let (mut y, mut q) = ([0.0f32; 6], [0i32; 2]);
    let divisor = Tensor { data: Data::I32(&[1]), shape: &[] };
    let good = Tensor { data: Data::F32(&table), shape: &[4, 3] };
    let indices = Tensor { data: Data::I32(&index), shape: &[2] };
    let mut attempt = |inputs: &[Tensor<'_>], short: bool| {
        let y = if short { &mut y[..5] } else { &mut y[..] };
        executable.run(inputs, &mut [DataMut::F32(y), DataMut::I32(&mut q)])
    };
    assert_eq!(attempt(&[good, indices, divisor], false), Ok(()));
    assert!(matches!(attempt(&[good, indices, divisor], true), Err(RunError::Length { .. })));
    assert!(matches!(attempt(&[good, indices], false), Err(RunError::Count { .. })));
    let short = Tensor { data: Data::F32(&table[..11]), shape: &[4, 3] };
    assert!(matches!(attempt(&[short, indices, divisor], false), Err(RunError::Length { .. })));
    let turned = Tensor { data: Data::F32(&table), shape: &[3, 4] };
    assert!(matches!(attempt(&[turned, indices, divisor], false), Err(RunError::Shape { .. })));
    let unsigned = Tensor { data: Data::U32(&[0, 0]), shape: &[2] };
    assert!(matches!(attempt(&[good, unsigned, divisor], false), Err(RunError::DType { .. })));
}
