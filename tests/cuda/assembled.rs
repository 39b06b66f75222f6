//! Kernels as machine code for three generations of GPUs: nothing spills, blocks leave room for others, matrices are
//! multiplied by tensor cores.

use crate::kernels::{CLASSES, elaborated, lowered};
use crate::teams::{NORMED, RECURRENCE};
use carousel_core::kernel::Kernel;
use carousel_core::lower_stored;
use carousel_core::program::Stored;
use carousel_cuda::occupancy::{GENERATIONS, Generation, Needs};
use carousel_cuda::{cuda, ptx_for, target};
use carousel_ir::{DType, Name};
use carousel_testkit::assembler::Assembled;
use carousel_tests::assembler::assembled;
use carousel_tests::emulated::install_compiler;

/// What a kernel is on each generation of GPUs: compiled for its instructions, and assembled for it.
fn for_each_generation(kernel: &Kernel, check: impl Fn(&Generation, &Assembled)) {
    install_compiler();
    for generation in &GENERATIONS {
        let architecture = generation.name.replace("sm", "compute");
        let ptx =
            ptx_for(&architecture, &kernel.name, &cuda(kernel)).unwrap_or_else(|error| panic!("{error}"));
        let assembled = assembled(&ptx, generation.name);
        assert!(!assembled.spills(), "{} for {generation:?}: {}", kernel.name, assembled.remarks);
        check(generation, &assembled);
    }
}

#[test]
fn no_class_spills_and_each_fills_a_multiprocessor() {
    for (class, text) in CLASSES {
        for kernel in &lowered(text).kernels {
            for_each_generation(kernel, |generation, assembled| {
                assert!(assembled.count("EXIT") > 0);
                let needs = Needs::of_remarks(&assembled.remarks, 256).expect("what it needs");
                let least = if class == "product" { 25 } else { 50 };
                let occupancy = needs.occupancy(generation);
                assert!(occupancy.percent >= least, "{class}: {needs:?}, {occupancy:?} on {generation:?}");
            });
        }
    }
}

#[test]
fn a_recurrence_of_several_blocks_does_not_spill() {
    // With shares of the matrix on chip, which are multiplied one by one; and as one large block.
    for (text, multiplies) in [(RECURRENCE, "FFMA"), (NORMED, "HMMA")] {
        for kernel in &lowered(text).kernels {
            for_each_generation(kernel, |generation, assembled| {
                assert!(assembled.count(multiplies) > 0 && assembled.count("ATOM") > 0, "{generation:?}");
            });
        }
    }
}

/// The kernel of a product whose factors lie in memory in a dtype.
fn product(dtype: DType, [a, b]: [&str; 2]) -> Kernel {
    let text = format!("fn f(a: [{a}], b: [{b}]) -> (c: [m, n]) {{ let c = sum[k](a * b) }}");
    let (module, root) = elaborated(&text);
    let stored = ["a", "b"].map(|name| (Name::new(name), Stored { dtype, strides: None }));
    let program = lower_stored(&module, root, &stored, &target()).expect("it can be lowered");
    let [kernel] = program.kernels.as_slice() else { panic!("{} kernels", program.kernels.len()) };
    kernel.clone()
}

#[test]
fn products_are_those_of_tensor_cores() {
    // Sixteen products of 16 bits in a fragment of 32 x 16 elements, four times along the tile: sixteen.
    let all_of_bf16 =
        lowered("fn f(a: bf16[m, k], b: bf16[n, k]) -> (c: bf16[m, n]) { let c = dot[k](a, b) }");
    let [all_of_bf16] = all_of_bf16.kernels.as_slice() else { panic!("one kernel") };
    for kernel in [&product(DType::Bf16, ["m, k", "n, k"]), all_of_bf16] {
        for_each_generation(kernel, |generation, assembled| {
            let count = |opcode| assembled.count(opcode);
            assert_eq!((count("HMMA.16816.F32.BF16"), count("FFMA")), (16, 0), "{generation:?}");
            assert!(count("LDG.E.128") >= 2 && count("LDSM") >= 6, "{generation:?}");
        });
    }
    // Six products of parts, in the one step along the tile.
    for_each_generation(&product(DType::F32, ["m, k", "k, n"]), |generation, assembled| {
        assert_eq!(assembled.count("HMMA.16816.F32.BF16"), 24, "{generation:?}");
        assert!(assembled.count("LDG.E.128") >= 2, "{generation:?}");
    });
}
