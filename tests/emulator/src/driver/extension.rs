//! What the stand-in driver offers beside the driver's interface: how launches are checked, and what they did. The
//! counterpart is [`crate::client`].

use super::{HOST, graph};
use crate::machine::{Mode, Range};

/// Chooses the mode of the calling thread's launches: 0 as the environment says, 1 strict, 2 fast.
#[unsafe(no_mangle)]
pub(super) extern "C" fn carousel_emulator_set_mode(mode: u32) {
    let mode = match mode {
        1 => Some(Mode::Strict),
        2 => Some(Mode::Fast),
        _ => None,
    };
    HOST.with_borrow_mut(|host| host.mode = mode);
}

/// Adds memory that the thread's next launch may touch; all other memory is then out of bounds.
#[unsafe(no_mangle)]
pub(super) extern "C" fn carousel_emulator_allow(start: u64, bytes: u64) {
    HOST.with_borrow_mut(|host| host.ranges.get_or_insert_default().push(Range { start, bytes }));
}

/// What is in this memory now has no value any more: it is going to be written.
#[unsafe(no_mangle)]
pub(super) extern "C" fn carousel_emulator_forget(start: u64, bytes: u64) {
    graph::before_launch(graph::Node::Forget { start, bytes: bytes as usize });
}

/// Copies what the thread's launches did since it was last taken, as JSON, and forgets it, if `capacity` suffices.
/// Returns how many bytes there are.
///
/// # Safety
/// `to` is valid for `capacity` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn carousel_emulator_take_records(to: *mut u8, capacity: usize) -> usize {
    HOST.with_borrow_mut(|host| {
        let text = serde_json::to_vec(&host.records).unwrap_or_default();
        if text.len() <= capacity {
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), to, text.len()) };
            host.records.clear();
        }
        text.len()
    })
}
