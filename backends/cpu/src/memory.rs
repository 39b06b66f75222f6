//! Memory for runs: blocks that are kept between runs.
//!
//! Invariant: a block is aligned to a page, and was all zeros when it was allocated.

use memmap2::MmapMut;

/// Bytes of a large page. Where weights are read once a token, reading them through pages of 4 KiB takes 1.5 times as long:
/// the processor looks up addresses rather than data.
const LARGE_PAGE: usize = 2 << 20;

/// The vector, whose memory lies in large pages as far as nothing was written to it yet and the system has them.
pub fn in_large_pages<T>(vector: Vec<T>) -> Vec<T> {
    advise(vector.as_ptr().cast(), vector.capacity().saturating_mul(size_of::<T>()));
    vector
}

/// Asks for large pages for all of them that lie in this memory.
#[cfg(target_os = "linux")]
fn advise(start: *const u8, bytes: usize) {
    let before = start.addr().next_multiple_of(LARGE_PAGE) - start.addr();
    let whole = bytes.saturating_sub(before) / LARGE_PAGE * LARGE_PAGE;
    if whole > 0 {
        // SAFETY: this changes what holds the memory and not what is in it. An error means that there are none.
        unsafe { libc::madvise(start.wrapping_add(before).cast_mut().cast(), whole, libc::MADV_HUGEPAGE) };
    }
}

/// Other systems choose by themselves.
#[cfg(not(target_os = "linux"))]
fn advise(_: *const u8, _: usize) {}

/// A block of bytes.
pub(crate) struct Block(Option<MmapMut>);

impl Block {
    /// A block without bytes.
    pub(crate) fn empty() -> Block {
        Block(None)
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |memory| memory.len() as u64)
    }

    /// Where it begins.
    pub(crate) fn start(&self) -> *mut u8 {
        self.0.as_ref().map_or(std::ptr::dangling_mut(), |memory| memory.as_ptr().cast_mut())
    }

    /// Makes the block at least that large; what was in it is lost if it grows. Whether memory sufficed.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        if bytes <= self.bytes() {
            return true;
        }
        // First the old one goes, so that both are never there at once.
        self.0 = None;
        let memory = usize::try_from(bytes).ok().and_then(|bytes| MmapMut::map_anon(bytes).ok());
        memory.iter().for_each(|memory| advise(memory.as_ptr(), memory.len()));
        self.0 = memory;
        self.0.is_some()
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
