//! Linear scans in their forms, forward and backward, lowered; and refused where they are not in one.

use crate::support::agree_at;
use carousel_core::{Target, lower};
use carousel_ir::{
    Axes, Axis, Builder, DType, Direction, Edge, Function, FunctionId, FunctionKind, Line, Module, Read,
    Residuals, Size,
};
use carousel_passes::forms::{Form, expand};

fn linear_scan(direction: Direction, read: Read) -> (Module, FunctionId) {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let axes =
        [("b", Size::symbol("b")), ("s", Size::symbol("s")), ("k", Size::Known(5)), ("v", Size::Known(3))];
    let [batch, s, k, v]: [Axis; 4] = axes.map(|(name, size)| b.axis(name, size));
    let q = b.argument("q", DType::F32, &[batch, s, k]);
    let x = b.argument("x", DType::F32, &[batch, s, k]);
    let w = b.argument("w", DType::F32, &[batch, s, v]);
    let gate = b.argument("gate", DType::F32, &[batch, s]);
    let chance = b.argument("chance", DType::F32, &[batch, s]);
    let start = b.argument("start", DType::F32, &[batch, k, v]);
    let l = b.logsigmoid(gate);
    let most = b.constant(0.8, DType::F32);
    let cut = b.lt(most, chance);
    let line = Line { axis: s, direction, edge: Edge::Before, read };
    let (y, last) = b.linread(&line, Axes::from(k), [q, x, w, l, cut, start]);
    b.output("y", y);
    b.output("last", last);
    let graph = b.finish().unwrap_or_else(|problems| panic!("{}", problems[0]));
    let mut module = Module::default();
    let (kind, residuals) = (FunctionKind::Fn, Residuals::Save);
    let id = module.push(Function { name: "f".into(), kind, residuals, graph });
    (module, id)
}

#[test]
fn every_form_is_lowered() {
    for (direction, read) in [(Direction::Forward, Read::New), (Direction::Reverse, Read::Old)] {
        let (module, f) = linear_scan(direction, read);
        let options = carousel_autodiff::Options::default();
        let (derived, g) = carousel_autodiff::gradient(&module, f, &options).unwrap();
        for form in [Form::Recurrent, Form::Parallel, Form::Chunkwise(4)] {
            let (expanded, _) = expand(&module, &form);
            agree_at(&expanded, f, &["b", "s"], &[[1, 1], [2, 7], [2, 0], [1, 12]]);
            let (expanded, _) = expand(&derived, &form);
            agree_at(&expanded, g, &["b", "s"], &[[1, 1], [2, 7], [1, 12]]);
        }
    }
}

#[test]
fn without_a_form_it_is_a_diagnostic() {
    let (module, f) = linear_scan(Direction::Forward, Read::New);
    let problems = lower(&module, f, &Target::default()).expect_err("it has no form");
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].to_string().contains("`linread` is lowered in one of its forms only"),
        "{}",
        problems[0]
    );
}
