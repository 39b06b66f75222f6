//! The buffer plan of a function's frame: values whose lifetimes do not overlap share memory.
//!
//! A place is taken over by a value that is known to need no more than its size: sizes that are equal, numbers that
//! are no larger, or the same unknown size times a smaller number. Offsets are multiples of 64 bytes. Inputs and
//! outputs live with the caller and are not planned.

use crate::program::{Home, Slot, aligned_bytes};
use carousel_ir::Size;
use std::collections::HashMap;

/// The steps between which a slot holds a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lifetime {
    /// The step that makes it.
    pub(crate) first: usize,
    /// The last step that uses it.
    pub(crate) last: usize,
}

struct Region {
    /// Its bytes, as a number of a size.
    size: usize,
    /// The last step that uses what is in it.
    busy_until: usize,
    slots: Vec<usize>,
}

/// The sizes that there are, each once: a model has thousands of slots, of few sizes.
#[derive(Default)]
struct Sizes {
    sizes: Vec<Size>,
    numbers: HashMap<Size, usize>,
    /// Whether a region of the first holds the second.
    holds: HashMap<(usize, usize), bool>,
}

impl Sizes {
    fn number(&mut self, size: Size) -> usize {
        *self.numbers.entry(size).or_insert_with_key(|size| {
            self.sizes.push(size.clone());
            self.sizes.len() - 1
        })
    }

    fn holds(&mut self, have: usize, need: usize) -> bool {
        let sizes = &self.sizes;
        *self.holds.entry((have, need)).or_insert_with(|| holds(&sizes[have], &sizes[need]))
    }

    /// The sum of so many of each.
    fn total(&self, counts: &[u64]) -> Size {
        let parts = self.sizes.iter().zip(counts).filter(|(_, count)| **count > 0);
        Size::sum(parts.map(|(size, count)| Size::product([Size::Known(*count), size.clone()])))
    }
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
    let mut sizes = Sizes::default();
    let mut regions: Vec<Region> = Vec::new();
    for (slot, life) in order {
        let size = sizes.number(aligned_bytes(slots[slot].dtype, &slots[slot].elements));
        // The tightest fit, as far as sizes are known.
        let mut best: Option<(bool, Option<u64>, usize)> = None;
        for (place, region) in regions.iter().enumerate().filter(|(_, r)| r.busy_until < life.first) {
            if sizes.holds(region.size, size) {
                let fit = (region.size != size, sizes.sizes[region.size].known(), place);
                best = Some(best.map_or(fit, |best| best.min(fit)));
            }
        }
        match best.map(|(_, _, place)| &mut regions[place]) {
            Some(region) => {
                region.busy_until = life.last;
                region.slots.push(slot);
            }
            None => regions.push(Region { size, busy_until: life.last, slots: vec![slot] }),
        }
    }
    let mut before = vec![0; sizes.sizes.len()];
    for region in regions {
        let offset = sizes.total(&before);
        for slot in region.slots {
            slots[slot].offset = offset.clone();
        }
        before[region.size] += 1;
    }
    sizes.total(&before)
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
