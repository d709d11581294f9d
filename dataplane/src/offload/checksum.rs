//! The Internet checksum over long data, and the completion of one that a sender left half done.
//!
//! A ones' complement sum does not care in which byte order it is formed, nor in how wide words (RFC 1071, 2 B and C):
//! so it is formed in the machine's order, four bytes at a time into a wide sum, which compilers make vectors of.

use super::Partial;
use crate::frame::Frame;
use crate::pool::Pool;

/// A sum in the making over data that comes in parts of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct LongSum {
    sum: u64,
    /// The next byte is the second of its word.
    odd: bool,
}

impl LongSum {
    /// Adds the next part.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let part = fold(native(bytes));
        // A part that begins at an odd place has its bytes in the other halves.
        let part = if self.odd { part.swap_bytes() } else { part };
        Self { sum: self.sum + u64::from(part), odd: self.odd != (bytes.len() % 2 == 1) }
    }

    /// The sum in 16 bits, as a number: its high byte belongs first in memory.
    pub fn folded(self) -> u16 {
        u16::from_be(fold(self.sum))
    }

    /// Adds a word that stands at an even place.
    #[must_use]
    pub fn word(self, word: u16) -> Self {
        Self { sum: self.sum + u64::from(word.to_be()), ..self }
    }
}

/// The sum of `bytes` as words in the machine's order; a last odd byte is the first of a word whose second is zero.
/// Frames are short enough that it cannot overflow: 2^32 additions would have to.
fn native(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let word = |word: &[u8]| word.first_chunk().map_or(0, |&word| u64::from(u32::from_ne_bytes(word)));
    words.map(word).sum::<u64>() + u64::from(u32::from_ne_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum over the frame from its byte `start` to its end.
pub(super) fn sum_from(pool: &Pool, frame: &Frame, start: usize) -> LongSum {
    let (mut sum, mut skip) = (LongSum::default(), start);
    for part in pool.slices(frame) {
        sum = sum.bytes(part.get(skip..).unwrap_or_default());
        skip = skip.saturating_sub(part.len());
    }
    sum
}

/// Completes the checksum: the field's content, the pseudo-header's sum, is summed with the rest. False when the field
/// is not in the frame's first chunk.
///
/// A checksum of zero is written as 0xffff, whatever the protocol: to UDP zero means "none" (RFC 768), and to the others
/// both forms of zero are the same.
pub fn complete(pool: &mut Pool, frame: &mut Frame, partial: Partial) -> bool {
    let start = usize::from(partial.start);
    let at = start + usize::from(partial.offset);
    if at + 2 > frame.head_len() {
        return false;
    }
    let checksum = match !sum_from(pool, frame, start).folded() {
        0 => 0xffff,
        checksum => checksum,
    };
    match pool.head_mut(frame).get_mut(at..at + 2) {
        Some(field) => field.copy_from_slice(&checksum.to_be_bytes()),
        None => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::checksum::Sum;

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = LongSum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), 0xddf2);
    }

    proptest! {
        #[test]
        fn parts_of_any_length_sum_as_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..5000),
                                                cuts in prop::collection::vec(0usize..5000, 0..6), word in any::<u16>()) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let sum = cuts.windows(2).fold(LongSum::default(), |sum, cut| sum.bytes(&bytes[cut[0]..cut[1]]));
            prop_assert_eq!(sum.word(word).folded(), Sum::default().bytes(&bytes).word(word).folded());
        }
    }
}
