//! A route that is alone: the only one that is longer than what a word of a table decides on.
//!
//! Most routes of a table with few are, and most of the IPv6 ones of any. A block would take 1 KiB for each, and a long
//! IPv6 prefix a chain of them; this takes 32 bytes, and one comparison. When a second route comes, a block takes its
//! place, with a copy where the route is alone still.
//!
//! Prefix and length never change while a reader may look; each answer is one word. A lone route may be moved up, to a
//! word that decides on more, but never down in place: what is outside it would then be less than a reader believes.

use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::{Arena, Kind, LONE};
use super::slot::Slot;
use super::table::Address;

/// Where its words are.
mod field {
    pub(super) const INSIDE: usize = 0;
    pub(super) const OUTSIDE: usize = 1;
    pub(super) const LENGTH: usize = 2;
    pub(super) const KEY: usize = 4;
}

/// The words of one.
#[derive(Clone, Copy)]
pub(super) struct Lone<'a>(&'a [AtomicU32; LONE]);

/// The answer for `address`, by lone route `number`.
#[inline(always)]
pub(super) fn answer<A: Address>(arena: &Arena, number: u32, address: A) -> Slot {
    let Some(lone) = Lone::at(arena, number) else { return Slot(0) };
    lone.word(if lone.contains(address) { field::INSIDE } else { field::OUTSIDE })
}

impl<'a> Lone<'a> {
    /// Number `number`.
    #[inline(always)]
    pub(super) fn at(arena: &'a Arena, number: u32) -> Option<Self> {
        let start = number as usize * LONE;
        arena.lone_words().get(start..start + LONE)?.first_chunk().map(Self)
    }

    /// A new one, which no word names yet; none when there is no room.
    pub(super) fn make<A: Address>(arena: &'a Arena, key: A, length: u8, inside: Slot, outside: Slot) -> Option<u32> {
        let number = arena.take(Kind::Lone)?;
        let lone = Self::at(arena, number)?;
        lone.set_inside(inside);
        lone.set_outside(outside);
        lone.0[field::LENGTH].store(length.into(), Ordering::Relaxed);
        for (word, part) in lone.0[field::KEY..].iter().zip(key.words()) {
            word.store(part, Ordering::Relaxed);
        }
        Some(number)
    }

    #[inline(always)]
    fn word(self, n: usize) -> Slot {
        Slot(self.0[n].load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn key<A: Address>(self) -> A {
        A::from_words(std::array::from_fn(|n| self.0[field::KEY + n].load(Ordering::Relaxed)))
    }

    /// Bits of its prefix.
    #[inline(always)]
    pub(super) fn length(self) -> u8 {
        self.0[field::LENGTH].load(Ordering::Relaxed) as u8
    }

    #[inline(always)]
    fn contains<A: Address>(self, address: A) -> bool {
        address.shares(self.key(), self.length())
    }

    /// Whether it is this prefix.
    pub(super) fn is<A: Address>(self, key: A, length: u8) -> bool {
        self.length() == length && self.contains(key)
    }

    /// The eight bits of its prefix that follow the first `bits`.
    pub(super) fn byte<A: Address>(self, bits: u32) -> usize {
        self.key::<A>().byte(bits)
    }

    /// A copy with the same answers.
    pub(super) fn copy<A: Address>(self, arena: &Arena) -> Option<u32> {
        Lone::make(arena, self.key::<A>(), self.length(), self.inside(), self.outside())
    }

    /// The answer for what is in its prefix.
    pub(super) fn inside(self) -> Slot {
        self.word(field::INSIDE)
    }

    /// The answer for the rest of what the word decides on.
    pub(super) fn outside(self) -> Slot {
        self.word(field::OUTSIDE)
    }

    pub(super) fn set_inside(self, slot: Slot) {
        self.0[field::INSIDE].store(slot.0, Ordering::Release);
    }

    pub(super) fn set_outside(self, slot: Slot) {
        self.0[field::OUTSIDE].store(slot.0, Ordering::Release);
    }
}
