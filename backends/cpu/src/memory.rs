//! Memory for runs: aligned blocks that are kept between runs.
//!
//! Invariant: a block is aligned to 64 bytes, and was all zeros when it was allocated.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Alignment of everything that kernels write: a cache line and an AVX-512 vector.
const ALIGNMENT: usize = 64;

/// A block of bytes.
pub(crate) struct Block {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block owns its bytes; who writes to them is up to its owner, as with a vector.
unsafe impl Send for Block {}
// SAFETY: through a shared reference only the address can be had.
unsafe impl Sync for Block {}

impl Block {
    /// A block without bytes.
    pub(crate) fn empty() -> Block {
        Block { start: NonNull::dangling(), bytes: 0 }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Where it begins.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Makes the block at least that large; what was in it is lost if it grows. Whether memory sufficed.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        if bytes <= self.bytes() {
            return true;
        }
        let Some(layout) =
            usize::try_from(bytes).ok().and_then(|n| Layout::from_size_align(n, ALIGNMENT).ok())
        else {
            return false;
        };
        // First the old one goes, so that both are never there at once.
        *self = Block::empty();
        // SAFETY: the size is not 0, as it exceeds another.
        match NonNull::new(unsafe { alloc_zeroed(layout) }) {
            Some(start) => {
                *self = Block { start, bytes: layout.size() };
                true
            }
            None => false,
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: allocated with this layout, which was valid then.
            unsafe { dealloc(self.start.as_ptr(), Layout::from_size_align_unchecked(self.bytes, ALIGNMENT)) }
        }
    }
}

/// What one run at a time writes to besides its outputs.
pub(crate) struct Workspace {
    /// Values between kernels.
    pub(crate) arena: Block,
    /// Scratch memory of each thread.
    pub(crate) scratch: Vec<Block>,
    /// Room for addresses of inputs, outputs, scratch memory, and arguments of a kernel.
    pub(crate) addresses: [Addresses; 4],
}

/// A list of addresses whose memory is used again.
#[derive(Default)]
pub(crate) struct Addresses(Vec<*mut u8>);

// SAFETY: addresses mean something only during the run that put them there, which has what they point to.
unsafe impl Send for Addresses {}

impl Addresses {
    /// Other addresses in place of what was there.
    pub(crate) fn set(&mut self, addresses: impl Iterator<Item = *mut u8>) {
        self.0.clear();
        self.0.extend(addresses);
    }

    /// What is there.
    pub(crate) fn get(&self) -> &[*mut u8] {
        &self.0
    }
}

impl Workspace {
    /// For that many threads.
    pub(crate) fn new(threads: usize) -> Workspace {
        let scratch = (0..threads).map(|_| Block::empty()).collect();
        Workspace { arena: Block::empty(), scratch, addresses: Default::default() }
    }

    /// All bytes of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes() + self.scratch.iter().map(Block::bytes).sum::<u64>()
    }
}
