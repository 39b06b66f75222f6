//! Asking for memory before it is needed.
//!
//! Invariant: nothing is read or written, so any address will do, also one that is no memory.

/// Bytes that memory is brought in by.
pub(super) const LINE: usize = 64;

/// Brings `rows` pieces of `bytes` bytes, `stride` bytes apart, into the second-level cache: rows that lie
/// a power of two apart would displace each other in the first one.
pub(crate) extern "C" fn prefetch(start: *const u8, rows: usize, stride: isize, bytes: usize) {
    let mut row = start;
    for _ in 0..rows {
        // From the start of a line on, or the last one would be left out where a row begins inside of one.
        let before = row.addr() % LINE;
        let mut at = 0usize;
        while at < bytes.wrapping_add(before) {
            line(row.wrapping_sub(before).wrapping_add(at));
            at = at.wrapping_add(LINE);
        }
        row = row.wrapping_offset(stride);
    }
}

/// Pieces of memory that will be wanted next, asked for a few lines at a time while there is other work: all at once they
/// would keep it waiting.
pub(super) struct Soon {
    start: *const u8,
    pieces: usize,
    stride: isize,
    bytes: usize,
    /// Bytes of the first piece that were asked for.
    at: usize,
    /// Lines at a time.
    share: usize,
}

impl Soon {
    /// So many pieces of `bytes` bytes, `stride` bytes apart, in that many turns.
    pub(super) fn new(start: *const u8, pieces: usize, stride: isize, bytes: usize, turns: usize) -> Soon {
        let lines = pieces.saturating_mul(bytes.div_ceil(LINE));
        Soon { start, pieces, stride, bytes, at: 0, share: lines.div_ceil(turns.max(1)) }
    }

    /// Nothing.
    pub(super) fn nothing() -> Soon {
        Soon::new(std::ptr::null(), 0, 0, 0, 1)
    }

    /// One turn.
    #[inline(always)]
    pub(super) fn turn(&mut self) {
        for _ in 0..if self.pieces > 0 { self.share } else { 0 } {
            line(self.start.wrapping_add(self.at));
            self.at += LINE;
            if self.at >= self.bytes {
                self.at = 0;
                self.start = self.start.wrapping_offset(self.stride);
                self.pieces = self.pieces.saturating_sub(1);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn line(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: a hint, which never faults; every x86-64 processor has the instruction.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(super) fn line(at: *const u8) {
    // SAFETY: a hint, which never faults.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
}

/// Others are not asked.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
pub(super) fn line(_: *const u8) {}
