//! Kernels over pieces of a sequence: what runs over the whole of it joins what runs over its pieces.

use crate::support::{agree_at, functions, module};
use carousel_core::kernel::{Place, Statement};
use carousel_ir::{Axes, Builder, DType, Direction, FunctionId, Module, Size, ValueId};

const F: DType = DType::F32;
const LENGTH: u64 = 4;

/// Weighted sums over pairs of steps of a piece, between gates and an output along the whole sequence. `by`: the gates
/// are those of so many steps before.
fn pairs(by: i64) -> (Module, FunctionId) {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let h = b.axis("h", Size::Known(3));
    let s = b.axis("s", Size::symbol("s"));
    let count = Size::symbol("s").ceil_div(Size::Known(LENGTH));
    let padded = b.axis("filled", Size::product([count.clone(), Size::Known(LENGTH)]));
    let piece = b.axis("piece", count);
    let step = b.axis("inside", Size::Known(LENGTH));
    let other = b.axis("other", Size::Known(LENGTH));
    let d = b.axis("d", Size::Known(5));
    let (x, q, k) =
        (b.argument("x", F, &[h, s]), b.argument("q", F, &[h, s, d]), b.argument("k", F, &[h, s, d]));
    let gate = b.exp(x);
    let earlier = b.shift(gate, s, by);
    let q = b.mul(q, earlier);
    let parts = Axes::new([piece, step]);
    let lay = |b: &mut Builder<'_>, x: ValueId| {
        let x = b.pad(x, s, padded, Size::Known(0));
        b.split(x, padded, parts.clone())
    };
    let (q, k, x) = (lay(&mut b, q), lay(&mut b, k), lay(&mut b, x));
    let from = b.rename(k, step, other);
    let scores = b.dot(q, from, Axes::new([d]));
    let sums = b.cumsum(x, step, Direction::Forward);
    let weighted = b.mul(scores, sums);
    let read = b.dot(weighted, from, Axes::new([other]));
    let whole = b.merge(read, parts, padded);
    let whole = b.slice(whole, padded, s, Size::Known(0));
    let y = b.mul(whole, gate);
    b.output("y", y);
    module(b)
}

#[test]
fn products_gates_and_outputs_share_a_kernel_with_tiles_in_scratch() {
    let (module, root) = pairs(0);
    let program = functions(&module, root);
    let fused = program.kernels.iter().find(|kernel| {
        let products = kernel.body.iter().filter(|s| matches!(s, Statement::Product { .. }));
        products.count() == 2
    });
    let fused = fused.unwrap_or_else(|| panic!("no kernel has both products\n{program}"));
    let scratch = fused.buffers.iter().filter(|b| matches!(b.place, Place::Scratch(_)));
    assert!(scratch.count() >= 3, "intermediates are in memory\n{program}");
    assert_eq!(program.kernels.len(), 1, "{program}");
}

#[test]
fn any_length_is_right() {
    let (module, root) = pairs(0);
    agree_at(&module, root, &["s"], &[[1], [3], [4], [7], [8], [33]]);
}

#[test]
fn what_another_piece_has_made_is_not_taken_from_scratch() {
    for by in [1, -1, 4] {
        let (module, root) = pairs(by);
        agree_at(&module, root, &["s"], &[[1], [4], [7], [13]]);
    }
}

#[test]
fn what_runs_over_heads_and_over_their_merge_has_no_part_of_a_head() {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let [h, d, e] = [("h", 2), ("d", 4), ("e", 8)].map(|(name, size)| b.axis(name, Size::Known(size)));
    let (x, w) = (b.argument("x", F, &[e]), b.argument("w", F, &[h, e]));
    let gate = b.exp(x);
    let parts = b.split(gate, e, Axes::new([h, d]));
    let weights = b.exp(w);
    for (name, value) in [("gate", gate), ("parts", parts), ("weights", weights)] {
        b.output(name, value);
    }
    let (module, root) = module(b);
    agree_at(&module, root, &[], &[[]]);
}

#[test]
fn a_product_of_merged_pieces_reads_memory() {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let count = Size::symbol("s").ceil_div(Size::Known(LENGTH));
    let filled = b.axis("filled", Size::product([count.clone(), Size::Known(LENGTH)]));
    let piece = b.axis("piece", count);
    let step = b.axis("step", Size::Known(LENGTH));
    let [d, n] = [("d", 5), ("n", 3)].map(|(name, size)| b.axis(name, Size::Known(size)));
    let s = b.axis("s", Size::symbol("s"));
    let (x, w) = (b.argument("x", F, &[s, d]), b.argument("w", F, &[s, d, n]));
    let [x, w] = [x, w].map(|x| b.pad(x, s, filled, Size::Known(0)));
    let x = b.split(x, filled, Axes::new([piece, step]));
    let sums = b.cumsum(x, step, Direction::Forward);
    let whole = b.merge(sums, Axes::new([piece, step]), filled);
    let y = b.dot(whole, w, Axes::new([d]));
    b.output("y", y);
    let (module, root) = module(b);
    agree_at(&module, root, &["s"], &[[1], [4], [9]]);
}
