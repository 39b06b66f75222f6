//! Who does the grid points of a kernel, and where their memory is.

use super::scratch::{Scratch, scratch};
use super::shares::{Shares, shares};
use super::team::is_for_teams;
use carousel_core::kernel::Kernel;

/// Who does a grid point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Point {
    /// A block.
    Block,
    /// Several, as one large block.
    Team,
    /// Several, each with its share of the columns.
    Share,
}

/// Who does the points of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Crew {
    /// Who does one.
    pub(crate) point: Point,
    /// Where its memory is.
    pub(crate) memory: Scratch,
    /// The shares, if there are any.
    pub(crate) shares: Option<Shares>,
}

impl Crew {
    /// Who does the points on a GPU on which so many blocks run at the same time.
    pub(crate) fn of(kernel: &Kernel, together: u64) -> Crew {
        if let Some(shares) = shares(kernel, together) {
            let memory = Scratch::of_shares(&shares);
            return Crew { point: Point::Share, memory, shares: Some(shares) };
        }
        let point = if is_for_teams(kernel) { Point::Team } else { Point::Block };
        Crew { point, memory: scratch(kernel), shares: None }
    }

    /// Bytes of the run's memory that a point takes, of which the kernel knows so many.
    pub(crate) fn far_bytes(&self, scratch_bytes: u64, alignment: u64) -> Option<u64> {
        if self.memory.is_all_shared {
            return Some(0);
        }
        let once = scratch_bytes.checked_next_multiple_of(alignment)?;
        // What is carried in shares is there twice.
        if self.shares.is_some() { once.checked_mul(2) } else { Some(once) }
    }
}
