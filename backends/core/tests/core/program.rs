//! Binding, the buffer plan, and sharing of kernels.

use carousel_core::program::Home;
use carousel_core::{BindError, Target, bind, lower};
use carousel_ir::{Axes, Builder, DType, Function, FunctionId, FunctionKind, Module, Residuals, Size};

const F: DType = DType::F32;

/// `count` products in a row with a nonlinearity after each: every one needs a buffer.
fn chain(count: usize) -> (Module, FunctionId) {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let s = b.axis("s", Size::symbol("s"));
    let d = b.axis("d", Size::Known(32));
    let e = b.axis("e", Size::Known(32));
    let w = b.argument("w", F, &[e, d]);
    let mut x = b.argument("x", F, &[s, d]);
    for _ in 0..count {
        let product = b.dot(x, w, Axes::new([d]));
        let next = b.tanh(product);
        x = b.rename(next, e, d);
    }
    b.output("y", x);
    let mut module = Module::default();
    let graph = b.finish().expect("the chain is well typed");
    let function =
        Function { name: "chain".into(), kind: FunctionKind::Fn, residuals: Residuals::Save, graph };
    let root = module.push(function);
    (module, root)
}

#[test]
fn equal_kernels_are_shared_and_buffers_reused() {
    let target = Target::default();
    let (short, root) = chain(3);
    let (long, long_root) = chain(30);
    let short = lower(&short, root, &target).expect("it lowers");
    let long = lower(&long, long_root, &target).expect("it lowers");
    assert_eq!(short.kernels.len(), long.kernels.len());
    assert_eq!(short.routines[0].frame_bytes, long.routines[0].frame_bytes);
    let bound = bind(&long, &[&[32, 32], &[7, 32]]).expect("the shapes fit");
    assert_eq!(bound.entries.len(), 60);
    assert_eq!(bound.output_sizes, [[7, 32]]);
    assert!(bound.arena_bytes <= 3 * 7 * 32 * 4, "{}", bound.arena_bytes);
}

#[test]
fn slots_that_are_alive_together_lie_apart() {
    let (module, root) = chain(5);
    let program = lower(&module, root, &Target::default()).expect("it lowers");
    let routine = &program.routines[0];
    for step in &routine.steps {
        let carousel_core::program::Step::Launch { buffers, .. } = step else { continue };
        let frame = buffers.iter().map(|b| &routine.slots[b.0 as usize]).filter(|s| s.home == Home::Frame);
        let offsets: Vec<String> = frame.map(|s| s.offset.to_string()).collect();
        let mut distinct = offsets.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), offsets.len());
    }
}

#[test]
fn wrong_shapes_are_explained() {
    let (module, root) = chain(1);
    let program = lower(&module, root, &Target::default()).expect("it lowers");
    let error = |shapes: &[&[u64]]| bind(&program, shapes).expect_err("the shapes are wrong");
    assert_eq!(error(&[&[32, 32]]), BindError::Inputs { expected: 2, found: 1 });
    assert_eq!(error(&[&[32, 32], &[7, 31]]).to_string(), "axis `d` of input `x` must have size 32, not 31");
    assert!(matches!(error(&[&[32, 32], &[7]]), BindError::Rank { .. }));
    assert_eq!(error(&[&[32, 32], &[u64::MAX, 32]]), BindError::Overflow);
}

#[test]
fn listings_name_what_the_source_names() {
    let (module, root) = chain(1);
    let text = lower(&module, root, &Target::default()).expect("it lowers").to_string();
    for part in ["function chain", "product f32 256 of d0", "w: f32[1024] read", "tanh %0"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}
