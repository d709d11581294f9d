//! A ring's descriptor: which bytes of the shared memory hold (a part of) a frame.
//!
//! A descriptor lies in memory that the peer writes at any time. It is loaded once, as two words, and what was loaded is
//! what is checked and used; the ring is never asked again. Layout: `memif_desc_t` in DPDK's `memif.h`.

/// Bytes of a descriptor.
pub const DESCRIPTOR_LEN: usize = 16;

/// The frame goes on in the next descriptor.
pub const FLAG_NEXT: u16 = 1;

/// Least room of a buffer that a peer may offer. A frame cut into smaller pieces would cost the sender more than the
/// receiver, and no peer does it.
pub const MIN_BUFFER: u32 = 64;

/// A descriptor, as it was at the moment of loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// [`FLAG_NEXT`], others are ignored.
    pub flags: u16,
    /// Region of the buffer.
    pub region: u16,
    /// Bytes: of the frame's part when full, of room when empty.
    pub length: u32,
    /// Where the buffer begins in its region.
    pub offset: u32,
}

/// What is wrong with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// No such region.
    #[error("region {region} was never added")]
    Region {
        /// What the descriptor names.
        region: u16,
    },
    /// It ends behind its region's end.
    #[error("buffer {offset}+{length} ends outside region {region}")]
    Bounds {
        /// The region.
        region: u16,
        /// Where the buffer begins.
        offset: u32,
        /// Its bytes.
        length: u32,
    },
    /// Less than [`MIN_BUFFER`] bytes of room.
    #[error("buffer of only {length} bytes")]
    Room {
        /// Its bytes.
        length: u32,
    },
    /// Filled beyond the buffer's size.
    #[error("{length} bytes in a buffer of {room}")]
    Overfull {
        /// Bytes that are said to be there.
        length: u32,
        /// Bytes of the buffer.
        room: u32,
    },
}

impl Descriptor {
    /// From the two words that it consists of in memory.
    #[inline]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self {
            flags: words[0] as u16,
            region: (words[0] >> 16) as u16,
            length: (words[0] >> 32) as u32,
            offset: words[1] as u32,
        }
    }

    /// The first word: flags, region and length. The second, the offset, is written only when a ring is laid out.
    #[inline]
    pub const fn first_word(flags: u16, region: u16, length: u32) -> u64 {
        flags as u64 | (region as u64) << 16 | (length as u64) << 32
    }

    /// Whether the frame goes on in the next descriptor.
    #[inline]
    pub const fn has_next(&self) -> bool {
        self.flags & FLAG_NEXT != 0
    }

    /// Checks that the buffer lies within its region, whose length `region_len` tells, `None` if there is no such
    /// region.
    ///
    /// # Errors
    /// It does not.
    #[inline]
    pub const fn check(&self, region_len: Option<u64>) -> Result<(), DescriptorError> {
        let Some(region_len) = region_len else {
            return Err(DescriptorError::Region { region: self.region });
        };
        if self.offset as u64 + self.length as u64 > region_len {
            return Err(DescriptorError::Bounds { region: self.region, offset: self.offset, length: self.length });
        }
        Ok(())
    }

    /// As [`check`](Self::check), for an empty buffer that a frame is to be put into.
    ///
    /// # Errors
    /// It lies outside its region, or has too little room.
    #[inline]
    pub const fn check_room(&self, region_len: Option<u64>) -> Result<(), DescriptorError> {
        match self.check(region_len) {
            Ok(()) if self.length < MIN_BUFFER => Err(DescriptorError::Room { length: self.length }),
            checked => checked,
        }
    }

    /// Checks a buffer whose place is ours to know, and whose size is `room`: only the length is the peer's word.
    ///
    /// # Errors
    /// More is said to be in it than it holds.
    #[inline]
    pub const fn check_fill(&self, room: u32) -> Result<(), DescriptorError> {
        if self.length > room {
            return Err(DescriptorError::Overfull { length: self.length, room });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte order of `memif_desc_t`: flags, region, length, offset, metadata.
    #[test]
    fn words_are_the_bytes_of_the_structure() {
        let bytes: [u8; 16] = [1, 0, 2, 0, 60, 0, 0, 0, 0, 8, 1, 0, 9, 9, 9, 9];
        let words =
            [u64::from_ne_bytes(bytes[..8].try_into().unwrap()), u64::from_ne_bytes(bytes[8..].try_into().unwrap())];
        let descriptor = Descriptor::from_words(words);
        assert_eq!(descriptor, Descriptor { flags: 1, region: 2, length: 60, offset: 0x10800 });
        assert!(descriptor.has_next());
        assert_eq!(Descriptor::first_word(1, 2, 60), words[0]);
    }

    #[test]
    fn the_last_byte_of_a_region_is_the_last_that_may_be_named() {
        let at = |offset, length| Descriptor { flags: 0, region: 0, length, offset };
        assert_eq!(at(4032, 64).check(Some(4096)), Ok(()));
        assert!(at(4033, 64).check(Some(4096)).is_err());
        assert!(at(u32::MAX, u32::MAX).check(Some(4096)).is_err());
        assert_eq!(at(u32::MAX, u32::MAX).check(Some(1 << 33)), Ok(()));
        assert_eq!(at(0, 64).check(None), Err(DescriptorError::Region { region: 0 }));
        assert_eq!(at(0, 63).check_room(Some(4096)), Err(DescriptorError::Room { length: 63 }));
        assert_eq!(at(0, 2049).check_fill(2048), Err(DescriptorError::Overfull { length: 2049, room: 2048 }));
        assert_eq!(at(0, 2048).check_fill(2048), Ok(()));
    }

    proptest! {
        #[test]
        fn what_passes_lies_inside(words in any::<[u64; 2]>(), len in prop_oneof![any::<u64>(), 0u64..1 << 33]) {
            let descriptor = Descriptor::from_words(words);
            let end = u128::from(descriptor.offset) + u128::from(descriptor.length);
            prop_assert_eq!(descriptor.check(Some(len)).is_ok(), end <= u128::from(len));
            if descriptor.check_room(Some(len)).is_ok() {
                prop_assert!(end <= u128::from(len) && descriptor.length >= MIN_BUFFER);
            }
            let word = Descriptor::first_word(descriptor.flags, descriptor.region, descriptor.length);
            prop_assert_eq!(word, words[0]);
        }
    }
}
