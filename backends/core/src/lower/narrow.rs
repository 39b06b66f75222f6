//! Factors of products in fewer bits, where the target asks for it.
//!
//! What nothing but products reads is stored in the dtype of factors: they round it in any case, if they are to multiply such
//! numbers. Everything else, sums and the states of a loop among it, keeps its dtype. Inputs and outputs lie as they were given.

use super::Context;
use super::settle::{Unit, unit_storages};
use super::view::{StorageId, Whereabouts};
use carousel_ir::{Class, DType, Op};
use std::collections::HashSet;

/// Gives factors their dtype.
pub(crate) fn factors(cx: &mut Context<'_>, units: &[Unit]) {
    let dtype = cx.target.factors;
    if dtype == DType::F32 {
        return;
    }
    let is_product =
        |unit: &Unit| matches!(unit, Unit::Value(value) if cx.frames[0].products.contains(value));
    let read = |products: bool| -> HashSet<StorageId> {
        let readers = units.iter().filter(|unit| is_product(unit) == products);
        readers.flat_map(|unit| unit_storages(cx, 0, unit)).collect()
    };
    let (factors, others) = (read(true), read(false));
    let made: Vec<StorageId> = units.iter().flat_map(|unit| rounded_once(cx, unit)).collect();
    for storage in made {
        let place = &mut cx.storages[storage.0 as usize];
        if place.whereabouts == Whereabouts::Frame
            && place.dtype == DType::F32
            && factors.contains(&storage)
            && !others.contains(&storage)
        {
            place.dtype = dtype;
        }
    }
}

/// What a unit makes element by element, of which nothing is read in the making.
fn rounded_once(cx: &Context<'_>, unit: &Unit) -> Vec<StorageId> {
    let frame = &cx.frames[0];
    match unit {
        Unit::Value(value)
            if !matches!(frame.graph[*value].op.kind().class(), Class::Reduce | Class::Cumulative) =>
        {
            frame.home[value.index()].iter().map(|home| home.storage).collect()
        }
        // The states that a scan finds at its steps.
        Unit::Scan(value) => {
            let Op::Scan { scan } = &frame.graph[*value].op else { return Vec::new() };
            let found = frame.results.iter().filter(|((of, index), _)| {
                let output = || scan.body.outputs[*index as usize].value;
                of == value && *index >= scan.states && matches!(scan.body[output()].op, Op::Input { .. })
            });
            found.map(|(_, view)| view.storage).collect()
        }
        Unit::Value(_) | Unit::Copy(..) | Unit::Call { .. } => Vec::new(),
    }
}
