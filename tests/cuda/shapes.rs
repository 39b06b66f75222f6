//! Each class of kernels at many shapes: one element, less than a warp, less than a block, tiles and their tails.

use crate::expected::Expected;
use crate::kernels::{CLASSES, elaborated};
use carousel_ir::{Axis, Name, philox};
use carousel_reference::Tensor;
use carousel_testkit::device::OnDevice;
use carousel_tests::emulated::backend;
use std::cell::RefCell;

/// Sizes of the axes of a function in the order in which it names them.
#[rustfmt::skip]
const SIZES: [[u64; 3]; 24] = [
    [1, 1, 1], [1, 2, 3], [2, 1, 1], [3, 5, 7], [5, 31, 4], [7, 32, 33], [8, 33, 8], [15, 16, 17], [16, 64, 16], [17, 9, 40],
    [31, 3, 65], [32, 32, 32], [33, 65, 5], [63, 7, 9], [64, 8, 64], [65, 66, 3], [100, 6, 12], [127, 5, 2], [129, 4, 33], [255, 2, 3],
    [256, 3, 1], [257, 5, 6], [300, 17, 4], [1000, 5, 3],
];

#[test]
fn each_class_at_many_shapes() {
    for (class, text) in CLASSES {
        let (module, root) = elaborated(text);
        let device = OnDevice::new(backend(), &module, root).unwrap_or_else(|why| panic!("{class}: {why}"));
        let graph = &module[root].graph;
        let names: RefCell<Vec<Name>> = RefCell::default();
        for sizes in SIZES {
            let size = |name: Name| {
                let mut names = names.borrow_mut();
                if !names.contains(&name) {
                    names.push(name);
                }
                names.iter().zip(sizes).find(|(known, _)| **known == name).map(|(_, size)| size)
            };
            let axis = |axis: Axis| graph.axes.size(axis).evaluate(&size).expect("all are given") as usize;
            let tensor = |(place, input): (usize, &carousel_ir::Input)| {
                let shape: Vec<usize> = input.ty.axes.iter().map(axis).collect();
                let count = shape.iter().product::<usize>() as u64;
                let draw = |at| 2.0 * philox::uniform(3, place as u32, 0, at) - 1.0;
                Tensor::floats(&shape, (0..count).map(|at| f64::from(draw(at))))
            };
            let inputs: Vec<Tensor<f64>> = graph.inputs.iter().enumerate().map(tensor).collect();
            let expected = Expected::new(&module, root, &inputs);
            let found = device.run(&inputs).unwrap_or_else(|why| panic!("{class}, {sizes:?}: {why}"));
            let compared = expected.compare(&found, expected.least_scale());
            compared.unwrap_or_else(|why| panic!("{class}, {sizes:?}: {why}"));
        }
    }
}
