//! Recurrences whose step is too much for one block: several do it together, and wait for each other in between.

use crate::cells::Cell;
use crate::expected::Expected;
use crate::kernels::{elaborated, lowered};
use carousel_emulator::Record;
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

/// The same whose steps need all columns of all that is computed: nobody has a share of it.
pub(crate) const NORMED: &str = "fn f(x: [b, s, h, d = 128], r: [h, d = 128, e = 128]) -> (y: [b, s, h, d]) {
  scan s {
    state c: [b, h, d] = 0
    let z = x + sum[d](c * r)[e -> d]
    c' = z / (1 + max[d](abs(z)))
    yield y = c' }
}";

/// An sLSTM whose heads have so many columns: four products of each step are of its state.
fn slstm(columns: u64) -> String {
    format!(
        "fn f(z: [b, s, h, d = {columns}], i: [b, s, h, d], f: [b, s, h, d], o: [b, s, h, d],
          rz: [h, d, e = d], ri: [h, d, e], rf: [h, d, e], ro: [h, d, e]) -> (y: [b, s, h, d], c: [b, h, d]) {{
  scan s {{
    state c: [b, h, d] = 0
    state n: [b, h, d] = 0
    state y: [b, h, d] = 0
    let mix(r) = sum[e](r * y[d -> e])
    c' = sigmoid(f + mix(rf)) * c + exp(i + mix(ri)) * tanh(z + mix(rz))
    n' = sigmoid(f + mix(rf)) * n + exp(i + mix(ri))
    y' = sigmoid(o + mix(ro)) * c' / n'
    yield y = y'
  }}
}}"
    )
}

#[test]
fn the_text_of_a_recurrence() {
    let program = lowered(RECURRENCE);
    assert_eq!(program.kernels.len(), 1);
    insta::assert_snapshot!("recurrence", text::cuda(&program));
}

/// What the device makes of a recurrence at such shapes; each time it is what the reference makes.
fn observed(source: &str, shapes: &[Vec<usize>]) -> Vec<Record> {
    let (module, root) = elaborated(source);
    let device = OnDevice::new(backend(), &module, root).unwrap_or_else(|why| panic!("{why}"));
    let tensor = |(place, shape): (usize, &Vec<usize>)| {
        let draw = |at| 0.2 * (2.0 * philox::uniform(29, place as u32, 0, at) - 1.0);
        let count = shape.iter().product::<usize>() as u64;
        Tensor::floats(shape, (0..count).map(|at| f64::from(draw(at))))
    };
    let inputs: Vec<Tensor<f64>> = shapes.iter().enumerate().map(tensor).collect();
    let expected = Expected::new(&module, root, &inputs);
    let Observed { outputs, launches } =
        device.observe(&inputs).unwrap_or_else(|why| panic!("{shapes:?}: {why}"));
    assert_eq!(findings(&launches), "");
    expected.compare(&outputs, 0.0).unwrap_or_else(|why| panic!("{shapes:?}: {why}"));
    launches
}

#[test]
fn several_blocks_do_a_step_together() {
    // Columns are two shares; each head has a team.
    for (rows, steps, heads, blocks) in [(1, 1, 1, 2), (3, 5, 2, 4), (65, 2, 1, 2)] {
        let launches = observed(RECURRENCE, &[vec![rows, steps, heads, 128], vec![heads, 128, 128]]);
        let together: Vec<u32> = launches.iter().map(|launch| launch.grid[0]).collect();
        assert_eq!(together, [blocks]);
    }
}

#[test]
fn a_team_without_shares_is_one_large_block() {
    for (rows, steps, heads, blocks) in [(1, 1, 1, 2), (3, 5, 2, 4), (65, 2, 1, 4)] {
        let launches = observed(NORMED, &[vec![rows, steps, heads, 128], vec![heads, 128, 128]]);
        let together: Vec<u32> = launches.iter().map(|launch| launch.grid[0]).collect();
        assert_eq!(together, [blocks]);
    }
    // So many columns have no GPU to share them.
    let large = RECURRENCE.replace("128", "8192");
    assert!(text::cuda(&lowered(&large)).contains("threads = team_size * 256; // of the team"));
}

#[test]
fn a_cell_in_shares() {
    // The last share of 72 columns is smaller.
    for (columns, shapes) in
        [(128, [(1, 1, 1), (3, 7, 2), (33, 3, 1)]), (72, [(1, 5, 1), (2, 4, 1), (4, 1, 2)])]
    {
        let cell = Cell::new(&slstm(columns), "f", &[]);
        for (rows, steps, heads) in shapes {
            cell.agrees_at(&[("b", rows), ("s", steps), ("h", heads), ("d", columns)]);
        }
    }
}

#[test]
fn a_step_in_shares_has_one_barrier_of_all_and_reads_no_weights() {
    let text = text::cuda(&lowered(&slstm(128)));
    let (_, steps) = text.split_once("for (i64 x1").expect("a loop over steps");
    let (steps, _) = steps.split_once("swap_places").expect("its end");
    assert_eq!(steps.matches("wait_for_team").count(), 1);
    assert_eq!(steps.matches("__syncthreads").count(), 1);
    let weights = vec![1, 128, 128];
    let read = |length: usize| {
        let shapes = [vec![vec![1, length, 1, 128]; 4], vec![weights.clone(); 4]].concat();
        let launches = observed(&slstm(128), &shapes);
        assert_eq!(launches.len(), 1);
        launches[0].counters
    };
    let (short, long) = (read(4), read(12));
    // Each input once. Eight steps read less than one of the four matrices at each: the state, and what is a step's own.
    let inputs = |length: u64| 4 * (4 * length * 128 + 4 * 128 * 128);
    assert!((inputs(12)..inputs(12) + 256).contains(&long.dram_read_bytes), "{long:?}");
    assert!(long.read_bytes - short.read_bytes < 8 * 4 * 128 * 128, "{long:?} {short:?}");
}
