//! Recurrences whose step is too much for one block: several do it together, and wait for each other in between.

use crate::expected::Expected;
use crate::kernels::{elaborated, lowered};
use carousel_ir::philox;
use carousel_reference::Tensor;
use carousel_testkit::device::{Observed, OnDevice, findings};
use carousel_testkit::text;
use carousel_tests::emulated::backend;

/// A step is a product of 128 columns, two tiles of them, for each head.
pub(crate) const RECURRENCE: &str =
    "fn f(x: [b, s, h, d = 128], r: [h, d = 128, e = 128]) -> (y: [b, s, h, d]) {
  scan s { state c: [b, h, d] = 0  let z = sum[d](c * r)  c' = tanh(x + z[e -> d])  yield y = c' }
}";

#[test]
fn the_text_of_a_recurrence() {
    let program = lowered(RECURRENCE);
    assert_eq!(program.kernels.len(), 1);
    insta::assert_snapshot!("recurrence", text::cuda(&program));
}

#[test]
fn several_blocks_do_a_step_together() {
    let (module, root) = elaborated(RECURRENCE);
    let device = OnDevice::new(backend(), &module, root).unwrap_or_else(|why| panic!("{why}"));
    // Columns are two tiles, rows one or two; each head has a team.
    for (rows, steps, heads, blocks) in [(1, 1, 1, 2), (3, 5, 2, 4), (65, 2, 1, 4)] {
        let shapes = [vec![rows, steps, heads, 128], vec![heads, 128, 128]];
        let tensor = |(place, shape): (usize, &Vec<usize>)| {
            let draw = |at| 0.2 * (2.0 * philox::uniform(29, place as u32, 0, at) - 1.0);
            let count = shape.iter().product::<usize>() as u64;
            Tensor::floats(shape, (0..count).map(|at| f64::from(draw(at))))
        };
        let inputs: Vec<Tensor<f64>> = shapes.iter().enumerate().map(tensor).collect();
        let expected = Expected::new(&module, root, &inputs);
        let Observed { outputs, launches } =
            device.observe(&inputs).unwrap_or_else(|why| panic!("{rows}, {steps}: {why}"));
        assert_eq!(findings(&launches), "");
        expected.compare(&outputs, 0.0).unwrap_or_else(|why| panic!("{rows}, {steps}: {why}"));
        let together: Vec<u32> = launches.iter().map(|launch| launch.grid[0]).collect();
        assert_eq!(together, [blocks]);
    }
}
