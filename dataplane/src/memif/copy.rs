//! Copying between a frame and memory that a peer writes to.
//!
//! Most frames are short, and for those a call of `memcpy` costs more than the copying. Up to 128 bytes a frame is copied
//! as two blocks that overlap in the middle: no loop, no byte beyond the frame read or written (what lies behind a frame
//! in a reused chunk is another guest's), and a compiler turns each block into a few vector moves.

/// What is copied at a time: 16 bytes, a vector register.
#[cfg(target_arch = "x86_64")]
type Word = std::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Word = u128;

/// Copies `len` bytes.
///
/// # Safety
/// `len` bytes are readable at `from` and writable at `to`, and the two do not overlap. Others may write to either during
/// the call; what is then copied is unspecified, and only the copy may be judged.
#[inline(always)]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: in the short arms every word lies within `len`, counted from the front or from the back. All is loaded
    // before anything is stored: no load waits for a store, and the values stay in registers.
    unsafe {
        let get = |at: usize| from.add(at).cast::<Word>().read_unaligned();
        let put = |at: usize, word: Word| to.add(at).cast::<Word>().write_unaligned(word);
        if len > 32 && len <= 64 {
            let (a, b) = (get(0), get(16));
            let (y, z) = (get(len - 32), get(len - 16));
            put(0, a);
            put(16, b);
            put(len - 32, y);
            put(len - 16, z);
        } else if len > 64 && len <= 128 {
            let (a, b, c, d) = (get(0), get(16), get(32), get(48));
            let (w, x, y, z) = (get(len - 64), get(len - 48), get(len - 32), get(len - 16));
            put(0, a);
            put(16, b);
            put(32, c);
            put(48, d);
            put(len - 64, w);
            put(len - 48, x);
            put(len - 32, y);
            put(len - 16, z);
        } else {
            std::ptr::copy_nonoverlapping(from, to, len);
        }
    }
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
