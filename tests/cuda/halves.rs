//! A block whose products are of bf16 numbers, beside the reference, which computes exactly and rounds what is in bf16.

use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{Axis, DType, FunctionId, Module, Name, RenderStyle, philox};
use carousel_models::compile::{derived, in_forms, simplified};
use carousel_models::library::bundled;
use carousel_reference::{Tensor, evaluate};
use carousel_testkit::device::OnDevice;
use carousel_tests::emulated::backend;
use half::bf16;

/// What is off, relative to what there is, both as root mean squares.
const ALLOWED: f64 = 5e-3;

const BLOCK: &str = r#"
use "layers/activation.xl"
use "layers/norm.xl"
use "cells/mlstm.xl"

fn whole_block(x: bf16[s, d], scale: [d], wq: bf16[h, dk, d], wk: bf16[h, dk, d], wv: bf16[h, dv, d], wi: [h, d], wf: [h, d],
         head_scale: [h, dv], down: bf16[d, h, dv], ffn_scale: [d], gate: bf16[w, d], up: bf16[w, d], out: bf16[d, w])
        -> (mixed: bf16[s, d], y: bf16[s, d]) {
  let whole = rms_norm<c = d>(cast[f32](x), scale)
  let u = cast[bf16](whole)
  let q = cast[f32](dot[d](u, wq))
  let k = cast[f32](dot[d](u, wk))
  let v = cast[f32](dot[d](u, wv))
  let hidden = mlstm(q, k, v, sum[d](whole * wi), sum[d](whole * wf))
  let mixed = dot[h, dv](cast[bf16](layer_norm<c = dv>(hidden, head_scale)), down)
  let x1 = cast[f32](x) + cast[f32](mixed)
  let u1 = cast[bf16](rms_norm<c = d>(x1, ffn_scale))
  let inside = silu(cast[f32](dot[d](u1, gate))) * cast[f32](dot[d](u1, up))
  let y = cast[bf16](x1 + cast[f32](dot[w](cast[bf16](inside), out)))
}
"#;

const SIZES: [(&str, u64); 6] = [("s", 24), ("d", 32), ("h", 2), ("dk", 16), ("dv", 16), ("w", 48)];

fn block() -> (Module, FunctionId) {
    let load = |path: &str| bundled(path).map(str::to_string).ok_or_else(|| format!("no file `{path}`"));
    let program = parse_program("block.xl", BLOCK, &load).unwrap_or_else(|failed| panic!("{failed}"));
    let module = elaborate(&program, &["whole_block"], &Options::default())
        .unwrap_or_else(|d| panic!("{}", program.sources.render(&d, RenderStyle::Plain)));
    let root = module.find("whole_block").expect("it was elaborated");
    (module, root)
}

fn norm(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn a_block_in_bf16_is_close_to_the_reference() {
    let (module, root) = block();
    let graph = &module[root].graph;
    let size = |name: Name| SIZES.iter().find(|(n, _)| *n == name.as_str()).map(|(_, size)| *size);
    let axis = |axis: Axis| graph.axes.size(axis).evaluate(&size).expect("all sizes are given") as usize;
    let tensor = |(place, input): (usize, &carousel_ir::Input)| {
        let shape: Vec<usize> = input.ty.axes.iter().map(axis).collect();
        // As large as weights are that keep the size of what they are applied to.
        let reach = if shape.len() > 1 { 0.3 } else { 1.0 };
        let draw = |at| {
            let x = reach * (2.0 * philox::uniform(23, place as u32, 0, at) - 1.0);
            f64::from(if input.ty.dtype == DType::Bf16 { bf16::from_f32(x).to_f32() } else { x })
        };
        Tensor::floats(&shape, (0..shape.iter().product::<usize>() as u64).map(draw))
    };
    let inputs: Vec<Tensor<f64>> = graph.inputs.iter().enumerate().map(tensor).collect();
    let expected = evaluate(&module, root, &inputs).unwrap_or_else(|error| panic!("{error}"));

    let ready = in_forms(&derived(&simplified(&module)));
    let root = ready.find("whole_block").expect("it is still there");
    let device = OnDevice::new(backend(), &ready, root).unwrap_or_else(|why| panic!("{why}"));
    let (found, counted) = device.counted(&inputs).unwrap_or_else(|why| panic!("{why}"));
    for (found, expected) in found.iter().zip(&expected) {
        let expected = expected.to_f64();
        let off =
            norm(found.values.iter().zip(&expected).map(|(f, e)| f - e)) / norm(expected.iter().copied());
        assert!(off <= ALLOWED, "{off} is off");
    }
    // All products of bf16 numbers are those of tensor cores.
    let [s, d, h, dk, dv, w] = SIZES.map(|(_, size)| size);
    let products = 2 * s * d * (h * (2 * dk + dv) + h * dv + 3 * w);
    assert!(counted.matrix_flops >= products, "{} of {products}", counted.matrix_flops);
}
