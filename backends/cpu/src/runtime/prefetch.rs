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
        let mut at = 0usize;
        while at < bytes {
            line(row.wrapping_add(at));
            at = at.wrapping_add(LINE);
        }
        row = row.wrapping_offset(stride);
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
