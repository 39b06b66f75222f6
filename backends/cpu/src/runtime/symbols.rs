//! The names under which generated code finds the tile runtime.
//!
//! Invariant: every name is here once, and its address is that of the version for the host's instruction set. An
//! elementwise function is `tile_` + the mnemonic of its operation + `_f32` or `_f64`.

use super::isa::Isa;
use super::{cumulative, maps, matrix, philox, prefetch, reductions};
use std::sync::OnceLock;

/// A function that generated code may call; its signature is documented where it is defined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    /// The name in generated code.
    pub(crate) name: &'static str,
    /// Where it begins.
    pub(crate) address: *const u8,
}

// SAFETY: the address of code, which is the same in every thread and never written through.
unsafe impl Send for Symbol {}
// SAFETY: as above.
unsafe impl Sync for Symbol {}

/// All functions of the tile runtime.
pub(crate) fn symbols() -> &'static [Symbol] {
    static SYMBOLS: OnceLock<Vec<Symbol>> = OnceLock::new();
    SYMBOLS.get_or_init(|| symbols_for(Isa::host()))
}

/// The table for an instruction set that the processor has.
pub(super) fn symbols_for(isa: Isa) -> Vec<Symbol> {
    let mut table = Vec::new();
    macro_rules! dispatched {
        ($($name:literal = $module:ident::$function:ident,)*) => {
            $(table.push(Symbol { name: $name, address: $module::$function::function(isa) as *const u8 });)*
        };
    }
    macro_rules! plain {
        ($($name:literal = $module:ident::$function:ident,)*) => {
            $(table.push(Symbol { name: $name, address: $module::$function as *const () as *const u8 });)*
        };
    }
    dispatched! {
        "tile_exp_f32" = maps::exp,
        "tile_expm1_f32" = maps::expm1,
        "tile_log_f32" = maps::log,
        "tile_log1p_f32" = maps::log1p,
        "tile_sqrt_f32" = maps::sqrt,
        "tile_tanh_f32" = maps::tanh,
        "tile_sigmoid_f32" = maps::sigmoid,
        "tile_logsigmoid_f32" = maps::logsigmoid,
        "tile_erf_f32" = maps::erf,
        "tile_sum_f32" = reductions::sum_f32,
        "tile_max_f32" = reductions::max_f32,
        "tile_uniform_f32" = philox::uniform_f32,
        "tile_uniform_f64" = philox::uniform_f64,
        "gemm_f32" = matrix::gemm_f32,
        "gemm_f32_triangle" = matrix::gemm_f32_triangle,
        "gemm_f32_batch" = matrix::gemm_f32_batch,
        "gemm_bf16" = matrix::gemm_bf16,
        "gemm_f16" = matrix::gemm_f16,
    }
    plain! {
        "tile_exp_f64" = maps::exp_f64,
        "tile_expm1_f64" = maps::expm1_f64,
        "tile_log_f64" = maps::log_f64,
        "tile_log1p_f64" = maps::log1p_f64,
        "tile_sqrt_f64" = maps::sqrt_f64,
        "tile_tanh_f64" = maps::tanh_f64,
        "tile_sigmoid_f64" = maps::sigmoid_f64,
        "tile_logsigmoid_f64" = maps::logsigmoid_f64,
        "tile_erf_f64" = maps::erf_f64,
        "tile_sum_f64" = reductions::sum_f64,
        "tile_max_f64" = reductions::max_f64,
        "tile_cumsum_f32" = cumulative::cumsum_f32,
        "tile_cumsum_reverse_f32" = cumulative::cumsum_reverse_f32,
        "tile_cummax_f32" = cumulative::cummax_f32,
        "tile_cummax_reverse_f32" = cumulative::cummax_reverse_f32,
        "tile_cumsum_f64" = cumulative::cumsum_f64,
        "tile_cumsum_reverse_f64" = cumulative::cumsum_reverse_f64,
        "tile_cummax_f64" = cumulative::cummax_f64,
        "tile_cummax_reverse_f64" = cumulative::cummax_reverse_f64,
        "gemm_f64" = matrix::gemm_f64,
        "tile_prefetch" = prefetch::prefetch,
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_the_same_for_every_isa() {
        let names = |isa| symbols_for(isa).iter().map(|s| s.name).collect::<Vec<_>>();
        let host = names(Isa::host());
        let mut sorted = host.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), host.len());
        for &isa in Isa::available() {
            assert_eq!(names(isa), host);
        }
    }

    #[test]
    fn a_symbol_leads_to_its_function() {
        let exp = symbols().iter().find(|s| s.name == "tile_exp_f32").expect("in the table");
        // SAFETY: the signature of all elementwise functions on f32.
        let exp: unsafe extern "C" fn(*mut f32, *const f32, usize) =
            unsafe { std::mem::transmute(exp.address) };
        let mut x = [0.0f32, f32::NEG_INFINITY, f32::INFINITY];
        // SAFETY: three elements, in place.
        unsafe { exp(x.as_mut_ptr(), x.as_ptr(), 3) };
        assert_eq!(x, [1.0, 0.0, f32::INFINITY]);
    }
}
