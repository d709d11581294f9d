//! Copying between a frame and memory that a peer writes to.
//!
//! Most frames are short, and for those a call of `memcpy` costs more than the copying. Up to 128 bytes a frame is copied
//! as two blocks that overlap in the middle: no loop, no byte beyond the frame read or written (what lies behind a frame
//! in a reused chunk is another guest's), and a compiler turns each block into a few vector moves.

/// Copies `len` bytes.
///
/// # Safety
/// `len` bytes are readable at `from` and writable at `to`, and the two do not overlap. Others may write to either during
/// the call; what is then copied is unspecified, and only the copy may be judged.
#[inline(always)]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: in each arm both blocks lie within `len`, which is at least the block's length.
    unsafe {
        if len > 32 && len <= 64 {
            ends::<32>(from, to, len);
        } else if len > 64 && len <= 128 {
            ends::<64>(from, to, len);
        } else {
            std::ptr::copy_nonoverlapping(from, to, len);
        }
    }
}

/// Copies the first and the last `N` bytes of `len`, which is from `N` to twice `N`.
///
/// # Safety
/// As [`copy`].
#[inline(always)]
unsafe fn ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    let last = len - N;
    // SAFETY: `N <= len` bytes from both ends. Both blocks are loaded before either is stored: the loads need not wait.
    unsafe {
        let head: [u8; N] = from.cast::<[u8; N]>().read();
        let tail: [u8; N] = from.add(last).cast::<[u8; N]>().read();
        to.cast::<[u8; N]>().write(head);
        to.add(last).cast::<[u8; N]>().write(tail);
    }
}

/// Asks for the cache line at `at`, to read it soon.
#[inline(always)]
pub(super) fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch may name any address; it never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_and_not_a_byte_more() {
        let from: Vec<u8> = (0..300).map(|i| (i * 7 + 1) as u8).collect();
        for len in 0..=256 {
            let mut to = vec![0u8; 300];
            // SAFETY: both buffers are longer than `len`.
            unsafe { copy(from.as_ptr(), to.as_mut_ptr(), len) };
            assert_eq!(&to[..len], &from[..len], "length {len}");
            assert!(to[len..].iter().all(|b| *b == 0), "length {len}: bytes behind the frame were written");
        }
    }
}
