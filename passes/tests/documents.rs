//! Functions of documents: one behind the other gives what each gives alone; what looks across is refused.

use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{Axes, Axis, FunctionId, Module, philox, verify};
use carousel_passes::carry::{FRESH, Summaries, carry};
use carousel_passes::documents::{STARTS, documents};
use carousel_reference::{Tensor, evaluate};

/// Two blocks of one function: loops in both directions with states that start at constants and at a parameter, delays
/// both ways.
const STACK: &str = "
block memory(x: [b, s, d = 4]) -> (y: [b, s, d]) {
  param w: [k = 3, d] ~ zeros
  param first: [k] ~ zeros
  let late = x + shift[s, 1](x) * 0.5 - shift[s, 3](x) + shift[s, -2](x)
  let q = sum[d](late * w)
  scan s {
    state c: [b, k] = broadcast[b](first)
    state n: [b] = 2
    c' = 0.5 * c + q
    n' = n * 0.9 + sum[k](c)
    yield r = sum[k](c' * q) + n'
  }
  scan s reverse {
    state m: [b] = 1
    m' = 0.7 * m + r
    yield t = m * r
  }
  let y = x + t * 0.1
}

model stack<layers: int = 2>(x: [b, s, d = 4]) -> (y: [b, s, d], total: []) {
  repeat layer in 0..layers { x = memory(x) as memory }
  let y = x
  let total = sum[b, s, d](x * x)
}
";

fn elaborated(text: &str, root: &str) -> (Module, FunctionId) {
    let program = parse_program("test.xl", text, &|path| Err(path.to_string())).unwrap();
    let module = elaborate(&program, &[root], &Options::default()).unwrap();
    let root = module.find(root).unwrap();
    (module, root)
}

fn apart(module: &Module, root: FunctionId) -> Result<(Module, FunctionId), String> {
    let made = documents(module, root, Axis::new("s"), &Axes::new([Axis::new("b")]));
    made.map_err(|problems| problems.iter().map(|p| format!("{p}\n")).collect())
}

fn draw(place: u32, shape: &[usize]) -> Tensor<f64> {
    let count = shape.iter().product::<usize>() as u64;
    Tensor::floats(shape, (0..count).map(|i| f64::from(philox::uniform(3, place, 0, i)) - 0.5))
}

#[test]
fn each_document_is_what_it_is_alone() {
    let (module, root) = elaborated(STACK, "stack");
    let (packed, packed_root) = apart(&module, root).unwrap();
    assert_eq!(verify(&packed), Vec::new());
    assert_eq!(packed[packed_root].graph.inputs.last().unwrap().name.as_str(), STARTS);
    let parameters = [draw(1, &[3, 4]), draw(2, &[3]), draw(3, &[3, 4]), draw(4, &[3])];
    let run = |module: &Module, root, x: &Tensor<f64>, rest: &[Tensor<f64>]| {
        let inputs: Vec<_> = [x.clone()].into_iter().chain(parameters.clone()).chain(rest.to_vec()).collect();
        evaluate(module, root, &inputs).unwrap()
    };
    // Each row has documents of its own.
    let lengths = [[1usize, 5, 1, 2], [3, 1, 1, 4]];
    let length = 9;
    let x = draw(0, &[2, length, 4]);
    let starts = lengths
        .iter()
        .flat_map(|row| row.iter().flat_map(|n| (0..*n).map(|step| step == 0)).collect::<Vec<bool>>());
    let together = run(&packed, packed_root, &x, &[Tensor::bools(&[2, length], starts)]);
    let (values, mut total) = (x.to_f64(), 0.0);
    for (row, documents) in lengths.iter().enumerate() {
        let mut from = row * length;
        for steps in documents {
            let range = from * 4..(from + steps) * 4;
            let document = Tensor::floats(&[1, *steps, 4], values[range.clone()].iter().copied());
            let alone = run(&module, root, &document, &[]);
            let found = &together[0].to_f64()[range];
            for (a, b) in alone[0].to_f64().iter().zip(found) {
                assert!((a - b).abs() < 1e-12, "row {row}, step {}: {a} and {b}", from % length);
            }
            total += alone[1].to_f64()[0];
            from += steps;
        }
    }
    assert!((total - together[1].to_f64()[0]).abs() < 1e-12);
}

#[test]
fn documents_go_on_from_piece_to_piece() {
    let text = STACK.replace(" + shift[s, -2](x)", "").replace("reverse", "").replace(", total: []", "");
    let text = text.replace("let total = sum[b, s, d](x * x)", "");
    let (module, root) = elaborated(&text, "stack");
    let (packed, root) = apart(&module, root).unwrap();
    let (pieces, piece) = carry(&packed, root, Axis::new("s"), Summaries::Refused).unwrap();
    let parameters = [draw(1, &[3, 4]), draw(2, &[3]), draw(3, &[3, 4]), draw(4, &[3])];
    let x = draw(0, &[1, 7, 4]);
    let starts = [false, false, true, false, false, true, true];
    let whole_inputs: Vec<_> =
        [x.clone()].into_iter().chain(parameters.clone()).chain([Tensor::bools(&[1, 7], starts)]).collect();
    let whole = evaluate(&packed, root, &whole_inputs).unwrap()[0].to_f64();
    let graph = &pieces[piece].graph;
    let states: Vec<Tensor<f64>> = graph
        .inputs
        .iter()
        .skip(7)
        .map(|i| {
            let size = |a| graph.axes.size(a).evaluate(&|_| Some(1)).unwrap() as usize;
            let shape: Vec<usize> = i.ty.axes.iter().map(size).collect();
            let count = shape.iter().product::<usize>();
            if i.ty.dtype.is_float() {
                Tensor::floats(&shape, vec![f64::NAN; count])
            } else {
                Tensor::bools(&shape, vec![true; count])
            }
        })
        .collect();
    assert_eq!(graph.inputs[6].name.as_str(), FRESH);
    let (mut memory, mut found) = (states, Vec::new());
    for (from, to) in [(0, 2), (2, 3), (3, 7)] {
        let part = x.to_f64()[from * 4..to * 4].to_vec();
        let inputs: Vec<_> = [Tensor::floats(&[1, to - from, 4], part)]
            .into_iter()
            .chain(parameters.clone())
            .chain([
                Tensor::bools(&[1, to - from], starts[from..to].to_vec()),
                Tensor::bools(&[], [from == 0]),
            ])
            .chain(memory.clone())
            .collect();
        let mut outputs = evaluate(&pieces, piece, &inputs).unwrap();
        memory = outputs.split_off(1);
        found.extend(outputs[0].to_f64());
    }
    assert_eq!(found.len(), whole.len());
    assert!(found.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}\n{whole:?}");
}

#[test]
fn what_looks_across_documents_is_refused() {
    for (body, reason) in [
        ("let y = x / sum[s](x)", "looks at the whole sequence and at its steps again"),
        ("let y = cumsum[s](x)", "takes the sequence apart"),
        ("let y = x * cast[f32](iota(s))", "takes the sequence apart"),
    ] {
        let text = format!("model m(x: [b, s]) -> (y: [b, s]) {{ {body} }}");
        let (module, root) = elaborated(&text, "m");
        let error = apart(&module, root).unwrap_err();
        assert!(error.contains(reason) && error.contains("`m`"), "{body}: {error}");
    }
    let (module, root) = elaborated("model m(x: [b, s]) -> (y: []) { let y = sum[b, s](x) / 3 }", "m");
    assert!(apart(&module, root).is_ok(), "a loss sums over all documents");
}
