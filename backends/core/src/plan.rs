//! The buffer plan of a function's frame: values whose lifetimes do not overlap share memory.
//!
//! A place is taken over by a value that is known to need no more than its size: sizes that are equal, numbers that
//! are no larger, or the same unknown size times a smaller number. Offsets are multiples of 64 bytes. Inputs and
//! outputs live with the caller and are not planned.

use crate::program::{Home, Slot, aligned_bytes, total};
use carousel_ir::Size;

/// The steps between which a slot holds a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lifetime {
    /// The step that makes it.
    pub(crate) first: usize,
    /// The last step that uses it.
    pub(crate) last: usize,
}

struct Region {
    bytes: Size,
    /// The last step that uses what is in it.
    busy_until: usize,
    slots: Vec<usize>,
}

/// Gives every frame slot its offset and returns the bytes of the frame.
pub(crate) fn place(slots: &mut [Slot], lifetimes: &[Option<Lifetime>]) -> Size {
    let mut order: Vec<(usize, Lifetime)> = lifetimes
        .iter()
        .enumerate()
        .filter(|(i, _)| slots[*i].home == Home::Frame)
        .filter_map(|(i, l)| l.map(|l| (i, l)))
        .collect();
    order.sort_by_key(|(i, l)| (l.first, *i));
    let mut regions: Vec<Region> = Vec::new();
    for (slot, life) in order {
        let bytes = aligned_bytes(slots[slot].dtype, &slots[slot].elements);
        let free = regions
            .iter_mut()
            .filter(|r| r.busy_until < life.first && holds(&r.bytes, &bytes))
            // The tightest fit, as far as sizes are known.
            .min_by_key(|r| (r.bytes != bytes, r.bytes.known()));
        match free {
            Some(region) => {
                region.busy_until = life.last;
                region.slots.push(slot);
            }
            None => regions.push(Region { bytes, busy_until: life.last, slots: vec![slot] }),
        }
    }
    let mut sizes = Vec::new();
    for region in regions {
        for slot in region.slots {
            slots[slot].offset = total(&sizes);
        }
        sizes.push(region.bytes);
    }
    total(&sizes)
}

/// Whether a region of `have` bytes certainly holds `need` bytes.
fn holds(have: &Size, need: &Size) -> bool {
    if have == need {
        return true;
    }
    if let (Some(have), Some(need)) = (have.known(), need.known()) {
        return have >= need;
    }
    // ceil(n x / 64) grows with n.
    match (lines(have), lines(need)) {
        (Some((have, x)), Some((need, y))) => x == y && have >= need,
        _ => false,
    }
}

/// `64 * ceil(n * x / 64)` as `(n, x)`.
fn lines(bytes: &Size) -> Option<(u64, Size)> {
    let inner = match bytes {
        Size::Product(factors) => match factors.as_slice() {
            [Size::Known(64), Size::CeilDiv(pair)] if pair.1 == Size::Known(64) => &pair.0,
            _ => return None,
        },
        Size::Known(_)
        | Size::Symbol(_)
        | Size::Sum(_)
        | Size::Minus(_)
        | Size::CeilDiv(_)
        | Size::CeilSqrt(_) => return None,
    };
    if let Size::Product(factors) = inner
        && let [Size::Known(n), rest @ ..] = factors.as_slice()
    {
        return Some((*n, Size::product(rest.iter().cloned())));
    }
    Some((1, inner.clone()))
}
