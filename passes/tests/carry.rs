//! Functions of pieces: any cuts give what the whole gives; what looks elsewhere is refused.

use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{Axis, Diagnostic, FunctionId, Module, philox, verify};
use carousel_passes::carry::{FRESH, STATE, Summaries, carry};
use carousel_reference::{Tensor, evaluate};

/// Two blocks of one function: a loop with two states, delays of one value by several distances, an axis of the block's own.
const STACK: &str = "
block memory(x: [b, s, d = 4]) -> (y: [b, s, d]) {
  param w: [k = 3, d] ~ zeros
  let late = x + shift[s, 1](x) * 0.5 - shift[s, 3](x)
  let q = sum[d](late * w)
  scan s {
    state c: [b, k] = 1
    state n: [b] = 0
    c' = 0.5 * c + q
    n' = n * 0.9 + sum[k](c)
    yield r = sum[k](c' * q) + n'
  }
  let y = x + r * 0.1
}

model stack<layers: int = 2>(x: [b, s, d = 4]) -> (y: [b, s, d]) {
  repeat layer in 0..layers { x = memory(x) as memory }
  let y = x
}
";

fn elaborated(text: &str, root: &str) -> (Module, FunctionId) {
    let program = parse_program("test.xl", text, &|path| Err(path.to_string())).unwrap();
    let module = elaborate(&program, &[root], &Options::default()).unwrap();
    let root = module.find(root).unwrap();
    (module, root)
}

fn draw(place: u32, shape: &[usize]) -> Tensor<f64> {
    let count = shape.iter().product::<usize>() as u64;
    Tensor::floats(shape, (0..count).map(|i| f64::from(philox::uniform(3, place, 0, i)) - 0.5))
}

#[test]
fn any_cuts_give_the_whole() {
    let (module, root) = elaborated(STACK, "stack");
    let (rows, length, width) = (2, 11, 4);
    let x = draw(0, &[rows, length, width]);
    let weights = [draw(1, &[3, 4]), draw(2, &[3, 4])];
    let whole = evaluate(&module, root, &[x.clone(), weights[0].clone(), weights[1].clone()]).unwrap();
    let (pieces, root) = carry(&module, root, Axis::new("s"), Summaries::Refused).unwrap();
    assert_eq!(verify(&pieces), Vec::new());
    let inputs = &pieces[root].graph.inputs;
    let states = inputs.iter().filter(|i| i.name.as_str().starts_with(STATE)).count();
    assert_eq!(states, 2 * 3, "a loop's two states and the tail of one value for each block");
    for cuts in [&[11][..], &[1], &[2], &[5, 1, 3]] {
        // What is passed in at the start does not matter.
        let shape = |i: &carousel_ir::Input| -> Vec<usize> {
            let size = |a| pieces[root].graph.axes.size(a).evaluate(&|_| Some(rows as u64)).unwrap() as usize;
            i.ty.axes.iter().map(size).collect()
        };
        let of_states = inputs.iter().filter(|i| i.name.as_str().starts_with(STATE));
        let mut memory: Vec<Tensor<f64>> = of_states.map(|i| draw(9, &shape(i))).collect();
        let mut found = vec![f64::NAN; rows * length * width];
        let mut done = 0;
        for cut in cuts.iter().cycle() {
            let piece = (*cut).min(length - done);
            let all = x.to_f64();
            let row = |row: usize| &all[(row * length + done) * width..(row * length + done + piece) * width];
            let part: Vec<f64> = (0..rows).flat_map(row).copied().collect();
            let mut given = Vec::new();
            let (mut of_weights, mut of_memory) = (weights.iter(), memory.iter());
            for input in inputs {
                given.push(match input.name.as_str() {
                    "x" => Tensor::floats(&[rows, piece, width], part.iter().copied()),
                    FRESH => Tensor::bools(&[], [done == 0]),
                    name if name.starts_with(STATE) => of_memory.next().unwrap().clone(),
                    _ => of_weights.next().unwrap().clone(),
                });
            }
            let mut results = evaluate(&pieces, root, &given).unwrap();
            memory = results.split_off(1);
            let y = results[0].to_f64();
            for row in 0..rows {
                let from = &y[row * piece * width..(row + 1) * piece * width];
                found[(row * length + done) * width..][..piece * width].copy_from_slice(from);
            }
            done += piece;
            if done == length {
                break;
            }
        }
        for (found, wanted) in found.iter().zip(whole[0].to_f64()) {
            assert!((found - wanted).abs() < 1e-12, "{cuts:?}: {found} {wanted}");
        }
    }
}

fn refused(body: &str) -> Vec<Diagnostic> {
    let (module, root) = elaborated(&format!("fn f(x: [s]) -> (y: [s]) {{\n{body}\n}}"), "f");
    carry(&module, root, Axis::new("s"), Summaries::Refused).unwrap_err()
}

#[test]
fn what_does_not_only_look_back_is_refused_at_its_place() {
    for (body, why) in [
        ("let y = shift[s, -1](x)", "looks ahead"),
        ("let y = x - mean[s](x)", "whole sequence"),
        ("let y = x * cast[f32](iota(s))", "places"),
        ("let y = cumsum[s](x)", "apart"),
        ("scan s reverse {\nstate c: [] = 0\nc' = c + x\nyield y = c'\n}", "backwards"),
    ] {
        let problems = refused(body);
        assert!(problems[0].message.contains(why), "{body}: {}", problems[0].message);
        assert!(problems[0].span.is_known(), "{body}");
    }
}
