//! What a function's callers hold in their frames while it runs.

use crate::bind::BindError;
use crate::program::{Program, RoutineId, Step};
use carousel_ir::{Name, Size};
use std::collections::{BTreeMap, HashMap};

type Symbols = BTreeMap<Name, u64>;

/// By function the bytes of the frames that lie below its own at a moment of a run of the program's root, at most.
pub fn held(program: &Program, symbol: &dyn Fn(Name) -> u64) -> Result<HashMap<Name, u64>, BindError> {
    let root = program.routines.last().ok_or(BindError::Empty)?;
    let sizes = root.inputs.iter().flat_map(|port| &port.sizes);
    let symbols = sizes.flat_map(Size::symbols).map(|name| (name, symbol(name))).collect();
    let id = RoutineId(program.routines.len() as u32 - 1);
    let mut below = HashMap::new();
    walk(program, id, symbols, 0, &mut below)?;
    let mut held = HashMap::new();
    for ((routine, _), bytes) in below {
        let most = held.entry(program.routines[routine.0 as usize].name).or_insert(0);
        *most = bytes.max(*most);
    }
    Ok(held)
}

fn walk(
    program: &Program,
    id: RoutineId,
    symbols: Symbols,
    bytes: u64,
    below: &mut HashMap<(RoutineId, Symbols), u64>,
) -> Result<(), BindError> {
    let key = (id, symbols);
    // Blocks of one kind are called from one depth over and over.
    if below.get(&key).is_some_and(|known| *known >= bytes) {
        return Ok(());
    }
    below.insert(key.clone(), bytes);
    let symbols = &key.1;
    let value = |size: &Size| size.evaluate(&|name| symbols.get(&name).copied()).ok_or(BindError::Overflow);
    let routine = &program.routines[id.0 as usize];
    let bytes = bytes.saturating_add(value(&routine.frame_bytes)?);
    for step in &routine.steps {
        if let Step::Call { routine, symbols: given, .. } = step {
            let inner = given.iter().map(|(name, size)| Ok((*name, value(size)?)));
            walk(program, *routine, inner.collect::<Result<_, BindError>>()?, bytes, below)?;
        }
    }
    Ok(())
}
