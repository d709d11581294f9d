//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// A ones' complement sum in the making.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes as big-endian 16-bit words. A last odd byte counts as the high half of a word, so only the last
    /// part of a message may have odd length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let word = |word: &[u8]| match *word {
            [high, low] => u64::from(u16::from_be_bytes([high, low])),
            [last] => u64::from(last) << 8,
            _ => 0,
        };
        Self(self.0 + bytes.chunks(2).map(word).sum::<u64>())
    }

    /// Adds one word.
    #[must_use]
    pub fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// The sum folded to 16 bits: 0xffff over a message that holds its own, correct checksum.
    pub fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// What goes into the checksum field, when it was counted as zero.
    pub fn checksum(self) -> u16 {
        !self.folded()
    }
}

/// The checksum after a word it covers changes from `old` to `new` (RFC 1624, equation 3: the one that is right when
/// the result is zero).
#[inline]
pub const fn adjust(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = !checksum as u32 + !old as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

/// Whether an IPv4 header without options holds its checksum. Summed in the machine's own byte order, which a ones'
/// complement sum does not care about (RFC 1071, section 2 B).
#[inline]
pub fn holds(header: &[u8; 20]) -> bool {
    let word = |word: &[u8]| word.first_chunk().map_or(0, |&word| u64::from(u32::from_ne_bytes(word)));
    let sum: u64 = header.chunks_exact(4).map(word).sum();
    // Five 32-bit words: at most 35 bits; two folds leave at most 17, the third at most 16.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), 0xddf2);
        assert_eq!(sum.checksum(), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: header checksum 0xDD2F, a field goes from 0x5555 to 0x3285, and the result is zero.
        assert_eq!(adjust(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn an_odd_last_byte_is_the_high_half() {
        assert_eq!(Sum::default().bytes(&[1, 2, 3]).folded(), 0x0102 + 0x0300);
    }

    proptest! {
        #[test]
        fn adjusting_is_recomputing(mut header in any::<[u8; 20]>(), word in 0usize..10, new in any::<u16>()) {
            prop_assume!(word != 5);
            header[10..12].fill(0);
            let before = Sum::default().bytes(&header).checksum();
            let old = u16::from_be_bytes([header[word * 2], header[word * 2 + 1]]);
            header[word * 2..word * 2 + 2].copy_from_slice(&new.to_be_bytes());
            // All zero has two checksums; a header never is.
            prop_assume!(header != [0; 20]);
            prop_assert_eq!(adjust(before, old, new), Sum::default().bytes(&header).checksum());
        }

        #[test]
        fn a_header_holds_exactly_its_own_checksum(mut header in any::<[u8; 20]>(), change in any::<u16>()) {
            header[10..12].fill(0);
            let right = Sum::default().bytes(&header).checksum();
            header[10..12].copy_from_slice(&right.to_be_bytes());
            prop_assert!(holds(&header));
            header[10..12].copy_from_slice(&(right ^ change).to_be_bytes());
            prop_assert_eq!(holds(&header), Sum::default().bytes(&header).folded() == 0xffff);
        }
    }
}
