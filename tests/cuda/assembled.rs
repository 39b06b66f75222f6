//! The PTX of kernels as machine code for three generations of GPUs: nothing spills, matrices are multiplied by tensor
//! cores.

use crate::kernels::{CLASSES, elaborated, lowered};
use carousel_core::kernel::Kernel;
use carousel_core::program::Stored;
use carousel_core::{Target, lower_stored};
use carousel_cuda::ptx;
use carousel_ir::{DType, Name};
use carousel_tests::assembler::{Assembled, assembled};
use carousel_tests::emulated::install_compiler;

const GENERATIONS: [&str; 3] = ["sm_80", "sm_90", "sm_100"];

fn for_each_generation(kernel: &Kernel, check: impl Fn(&str, &Assembled)) {
    install_compiler();
    let ptx = ptx(kernel).unwrap_or_else(|error| panic!("{error}"));
    for generation in GENERATIONS {
        let assembled = assembled(&ptx, generation);
        assert!(!assembled.spills(), "{} for {generation}: {}", kernel.name, assembled.remarks);
        check(generation, &assembled);
    }
}

#[test]
fn no_class_spills() {
    for (_, text) in CLASSES {
        for kernel in &lowered(text).kernels {
            for_each_generation(kernel, |_, assembled| assert!(assembled.count("EXIT") > 0));
        }
    }
}

/// The kernel of a product whose factors lie in memory in a dtype.
fn product(dtype: DType, [a, b]: [&str; 2]) -> Kernel {
    let text = format!("fn f(a: [{a}], b: [{b}]) -> (c: [m, n]) {{ let c = sum[k](a * b) }}");
    let (module, root) = elaborated(&text);
    let stored = ["a", "b"].map(|name| (Name::new(name), Stored { dtype, strides: None }));
    let program = lower_stored(&module, root, &stored, &Target::default()).expect("it can be lowered");
    let [kernel] = program.kernels.as_slice() else { panic!("{} kernels", program.kernels.len()) };
    kernel.clone()
}

#[test]
fn products_are_those_of_tensor_cores() {
    // Sixteen products of 16 bits in a fragment of 32 x 16 elements, twice along the tile: eight.
    for_each_generation(&product(DType::Bf16, ["m, k", "n, k"]), |generation, assembled| {
        let count = |opcode| assembled.count(opcode);
        assert_eq!((count("HMMA.16816.F32.BF16"), count("FFMA")), (8, 0), "{generation}");
        assert!(count("LDG.E.128") >= 2 && count("LDSM") >= 6, "{generation}");
    });
    // Six products of parts, in the one step along the tile.
    for_each_generation(&product(DType::F32, ["m, k", "k, n"]), |generation, assembled| {
        assert_eq!(assembled.count("HMMA.16816.F32.BF16"), 24, "{generation}");
        assert!(assembled.count("LDG.E.128") >= 2, "{generation}");
    });
}
