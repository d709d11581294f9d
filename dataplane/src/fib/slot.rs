//! A word of a table: a route's answer, or what knows more: a block, or the one longer route there is.
//!
//! An answer carries the length of the prefix that it is of. So a new route knows which words are its to take (those of
//! shorter prefixes), and one that goes knows which were its own, without a look at any other route. Zero is "no route",
//! as if of a prefix of length 0 that any route takes over: memory that was never written answers right.

/// Bits of a next-hop entry's index.
const NEXT_HOP_BITS: u32 = 22;
/// Next-hop entries there can be.
pub(super) const NEXT_HOPS: usize = 1 << NEXT_HOP_BITS;
const NEXT_HOP: u32 = (1 << NEXT_HOP_BITS) - 1;
/// The word is no answer: it names a block or, with the next bit set, a lone route.
const DEEPER: u32 = 1 << 31;
const LONE: u32 = 1 << 30;
const NUMBER: u32 = LONE - 1;

/// A word of a table, once read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    /// The answer of a route for a prefix of `length` bits.
    #[inline]
    pub(super) fn answer(length: u8, next_hop: u32) -> Self {
        debug_assert!(length <= 128 && next_hop <= NEXT_HOP);
        Self(u32::from(length) << NEXT_HOP_BITS | next_hop)
    }

    /// Block `block` knows more.
    #[inline]
    pub(super) fn block(block: u32) -> Self {
        debug_assert!(block <= NUMBER);
        Self(DEEPER | block)
    }

    /// There is one longer route, number `lone`.
    #[inline]
    pub(super) fn lone(lone: u32) -> Self {
        debug_assert!(lone <= NUMBER);
        Self(DEEPER | LONE | lone)
    }

    /// Whether it says where to.
    #[inline(always)]
    pub(super) fn is_answer(self) -> bool {
        self.0 & DEEPER == 0
    }

    /// The block that knows more.
    #[inline(always)]
    pub(super) fn as_block(self) -> Option<u32> {
        if self.0 & (DEEPER | LONE) == DEEPER { Some(self.0 & NUMBER) } else { None }
    }

    /// The one longer route.
    #[inline(always)]
    pub(super) fn as_lone(self) -> Option<u32> {
        if self.0 & (DEEPER | LONE) == DEEPER | LONE { Some(self.0 & NUMBER) } else { None }
    }

    /// Of an answer: the next-hop entry.
    #[inline(always)]
    pub(super) fn next_hop(self) -> u32 {
        self.0 & NEXT_HOP
    }

    /// Of an answer: the length of the prefix that it is of.
    #[inline]
    pub(super) fn length(self) -> u8 {
        (self.0 >> NEXT_HOP_BITS & 0xff) as u8
    }
}
