//! A table for one family: a first level of 16 or 24 bits, below it blocks of 8 bits each.
//!
//! With 24 bits it is DIR-24-8: for IPv4 one memory access for what is no longer than /24, a second for the rest (Gupta,
//! Lin, McKeown: Routing Lookups in Hardware at Memory Access Speeds, 1998). A table with few routes has a first level of
//! 16 bits, 256 KiB instead of 64 MiB, and becomes the other when its second level grows; readers find either by one load.
//!
//! Each word is changed by one store, and whatever a stored word names was written before. So a reader sees of each
//! address the answer before a change or the one after it, at any moment.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;

use super::arena::{Arena, BLOCK, Kind, SMALL_BITS};
use super::region::Region;
use super::slot::Slot;
use super::{BURST, FibError};
use crate::prefetch;

/// Bits of an address that a large first level decides on.
const LARGE_BITS: u32 = 24;
/// Blocks below a small first level that make it a large one.
pub(super) const GROWTH: u32 = 16_384;

/// An address of either family, first bit highest.
pub(super) trait Address: Copy {
    /// Its first `n` bits, at most 24.
    fn first(self, n: u32) -> usize;
    /// The eight bits that follow its first `n`.
    fn byte(self, n: u32) -> usize;
}

impl Address for u32 {
    #[inline(always)]
    fn first(self, n: u32) -> usize {
        (self >> (32 - n)) as usize
    }

    #[inline(always)]
    fn byte(self, n: u32) -> usize {
        (self >> (24 - n) & 0xff) as usize
    }
}

impl Address for u128 {
    #[inline(always)]
    fn first(self, n: u32) -> usize {
        ((self >> 64) as u64 >> (64 - n)) as usize
    }

    #[inline(always)]
    fn byte(self, n: u32) -> usize {
        (self >> (120 - n) & 0xff) as usize
    }
}

/// What readers see of a table.
#[derive(Debug)]
pub(super) struct Table {
    small: u32,
    large: OnceLock<Region<AtomicU32>>,
}

impl Table {
    /// The first level, and the bits that it decides on.
    #[inline(always)]
    fn first<'a>(&'a self, arena: &'a Arena) -> (&'a [AtomicU32], u32) {
        match self.large.get() {
            Some(large) => (large.words(), LARGE_BITS),
            None => (arena.small(self.small), SMALL_BITS),
        }
    }

    /// The next-hop entry for an address.
    #[inline(always)]
    pub(super) fn look_up<A: Address>(&self, arena: &Arena, address: A) -> u32 {
        let (first, mut bits) = self.first(arena);
        let mut slot = load(first, address.first(bits));
        while let Some(block) = slot.as_block() {
            slot = load(arena.block_words(), block as usize * BLOCK + address.byte(bits));
            bits += 8;
        }
        slot.next_hop()
    }

    /// The next-hop entries for up to a burst of addresses, as many as both slices have. The memory accesses of all
    /// addresses are under way at once.
    #[inline(always)]
    pub(super) fn look_up_burst<A: Address>(&self, arena: &Arena, addresses: &[A], answers: &mut [u32]) {
        let (first, bits) = self.first(arena);
        let blocks = arena.block_words();
        for (addresses, answers) in addresses.chunks(BURST).zip(answers.chunks_mut(BURST)) {
            for address in addresses {
                want(first, address.first(bits));
            }
            let mut deeper: ArrayVec<u8, BURST> = ArrayVec::new();
            for (n, (address, answer)) in addresses.iter().zip(answers.iter_mut()).enumerate() {
                let slot = load(first, address.first(bits));
                *answer = slot.0;
                if let Some(block) = slot.as_block() {
                    want(blocks, block as usize * BLOCK + address.byte(bits));
                    deeper.push(n as u8);
                }
            }
            let mut at = bits;
            while !deeper.is_empty() {
                deeper.retain(|n| {
                    let n = usize::from(*n);
                    let (Some(address), Some(answer)) = (addresses.get(n), answers.get_mut(n)) else { return false };
                    let Some(block) = Slot(*answer).as_block() else { return false };
                    let slot = load(blocks, block as usize * BLOCK + address.byte(at));
                    *answer = slot.0;
                    match slot.as_block() {
                        Some(block) => {
                            want(blocks, block as usize * BLOCK + address.byte(at + 8));
                            true
                        }
                        None => false,
                    }
                });
                at += 8;
            }
            for answer in answers {
                *answer = Slot(*answer).next_hop();
            }
        }
    }
}

/// Acquire: what the word names was written before it.
#[inline(always)]
fn load(words: &[AtomicU32], at: usize) -> Slot {
    words.get(at).map_or(Slot(0), |word| Slot(word.load(Ordering::Acquire)))
}

#[inline(always)]
fn want(words: &[AtomicU32], at: usize) {
    prefetch::to_read(words.as_ptr().wrapping_add(at).cast());
}

/// What the control side knows of a table besides.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Blocks in use.
    pub(super) blocks: u32,
    /// No more than these.
    pub(super) max_blocks: u32,
    /// Blocks below a small first level that make it a large one.
    pub(super) growth: u32,
    /// Blocks right below the first level, while it is small.
    second: u32,
}

impl Shape {
    pub(super) fn new(max_blocks: u32, growth: u32) -> Self {
        Self { blocks: 0, max_blocks, growth, second: 0 }
    }
}

/// A block that was made on the way down: which, the word that names it, and whether that is one of a small first level.
struct Made<'a> {
    word: &'a AtomicU32,
    block: u32,
    second: bool,
}

impl Table {
    /// A table without routes; none when there are as many as there may be.
    pub(super) fn new(arena: &Arena) -> Option<Self> {
        Some(Self { small: arena.take(Kind::Small)?, large: OnceLock::new() })
    }

    /// Whether the first level is the large one.
    pub(super) fn is_large(&self) -> bool {
        self.large.get().is_some()
    }

    /// Bytes of the first level.
    pub(super) fn first_bytes(&self) -> usize {
        size_of::<AtomicU32>() << if self.is_large() { LARGE_BITS } else { SMALL_BITS }
    }

    /// From now on `next_hop` answers for `key`/`length`, except where a longer prefix does. Bits of `key` beyond
    /// `length` are zero.
    pub(super) fn insert<A: Address>(
        &self,
        arena: &Arena,
        shape: &mut Shape,
        key: A,
        length: u8,
        next_hop: u32,
    ) -> Result<(), FibError> {
        if shape.second >= shape.growth && !self.is_large() {
            self.grow(arena, shape);
        }
        let (mut words, first_bits) = self.first(arena);
        let (mut index, mut bits) = (key.first(first_bits), first_bits);
        let mut made: ArrayVec<Made<'_>, 16> = ArrayVec::new();
        while u32::from(length) > bits {
            let Some(word) = words.get(index) else { return Ok(()) };
            let slot = Slot(word.load(Ordering::Relaxed));
            let block = match slot.as_block() {
                Some(block) => block,
                None => {
                    let room = shape.blocks < shape.max_blocks;
                    let Some(block) = room.then(|| arena.new_block(slot)).flatten() else {
                        let full =
                            if room { FibError::ArenaFull } else { FibError::TableFull { blocks: shape.blocks } };
                        self.unmake(arena, shape, &made);
                        return Err(full);
                    };
                    shape.blocks += 1;
                    word.store(Slot::block(block).0, Ordering::Release);
                    let second = bits == SMALL_BITS && first_bits == SMALL_BITS;
                    shape.second += u32::from(second);
                    made.push(Made { word, block, second });
                    block
                }
            };
            (words, index) = (arena.block(block), key.byte(bits));
            bits += 8;
        }
        let span = 1 << (bits - u32::from(length));
        paint(
            arena,
            words.get(index..index + span).unwrap_or_default(),
            &|slot| slot <= length,
            Slot::answer(length, next_hop),
        );
        Ok(())
    }

    /// Takes out the blocks that were made for a route that finds no room for one more. They say what was said before.
    fn unmake(&self, arena: &Arena, shape: &mut Shape, made: &[Made<'_>]) {
        for &Made { word, block, second } in made.iter().rev() {
            let before = arena.block(block).first().map_or(0, |word| word.load(Ordering::Relaxed));
            word.store(before, Ordering::Release);
            arena.retire(Kind::Block, block);
            shape.blocks -= 1;
            shape.second -= u32::from(second);
        }
    }

    /// `key`/`length` answers no more; where it did, `cover` does: the next shorter prefix of the table that it is in.
    pub(super) fn remove<A: Address>(&self, arena: &Arena, shape: &mut Shape, key: A, length: u8, cover: Slot) {
        let (mut words, first_bits) = self.first(arena);
        let (mut index, mut bits) = (key.first(first_bits), first_bits);
        let mut way: ArrayVec<(&AtomicU32, u32), 16> = ArrayVec::new();
        while u32::from(length) > bits {
            let Some(word) = words.get(index) else { return };
            let Some(block) = Slot(word.load(Ordering::Relaxed)).as_block() else { return };
            way.push((word, block));
            (words, index) = (arena.block(block), key.byte(bits));
            bits += 8;
        }
        let span = 1 << (bits - u32::from(length));
        paint(arena, words.get(index..index + span).unwrap_or_default(), &|slot| slot == length, cover);
        // A block in which no prefix has a word of its own any more says the same everywhere.
        while let Some((word, block)) = way.pop() {
            bits -= 8;
            let shallow = |word: &AtomicU32| {
                let slot = Slot(word.load(Ordering::Relaxed));
                slot.as_block().is_none() && u32::from(slot.length()) <= bits
            };
            let words = arena.block(block);
            if !words.iter().all(shallow) {
                break;
            }
            let Some(all) = words.first() else { break };
            word.store(all.load(Ordering::Relaxed), Ordering::Release);
            arena.retire(Kind::Block, block);
            shape.blocks -= 1;
            shape.second -= u32::from(bits == SMALL_BITS && first_bits == SMALL_BITS);
        }
    }

    /// Makes a large first level of the small one. Readers see the one or the other, which say the same. Without memory
    /// for it the small one stays, and is not asked again.
    fn grow(&self, arena: &Arena, shape: &mut Shape) {
        let Ok(large) = Region::<AtomicU32>::reserve(1 << LARGE_BITS) else {
            shape.growth = u32::MAX;
            return;
        };
        let mut merged = Vec::new();
        for (to, from) in large.words().chunks(BLOCK).zip(arena.small(self.small)) {
            let slot = Slot(from.load(Ordering::Relaxed));
            match slot.as_block() {
                Some(block) => {
                    merged.push(block);
                    for (to, from) in to.iter().zip(arena.block(block)) {
                        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
                    }
                }
                // What was never written need not be.
                None if slot == Slot(0) => {}
                None => to.iter().for_each(|to| to.store(slot.0, Ordering::Relaxed)),
            }
        }
        if self.large.set(large).is_err() {
            return;
        }
        shape.blocks -= merged.len() as u32;
        shape.second = 0;
        for block in merged {
            arena.retire(Kind::Block, block);
        }
        arena.retire(Kind::Small, self.small);
    }

    /// Gives all memory back that others may use. Whoever looks here after finds no route.
    pub(super) fn clear(&self, arena: &Arena) {
        for word in self.first(arena).0 {
            let slot = Slot(word.load(Ordering::Relaxed));
            if slot != Slot(0) {
                word.store(0, Ordering::Release);
            }
            if let Some(block) = slot.as_block() {
                retire_below(arena, block);
            }
        }
        if !self.is_large() {
            arena.retire(Kind::Small, self.small);
        }
    }
}

fn retire_below(arena: &Arena, block: u32) {
    for word in arena.block(block) {
        if let Some(below) = Slot(word.load(Ordering::Relaxed)).as_block() {
            retire_below(arena, below);
        }
    }
    arena.retire(Kind::Block, block);
}

/// Writes `new` over the answers of `words`, and of the blocks they name, whose prefix length `yields`.
fn paint(arena: &Arena, words: &[AtomicU32], yields: &impl Fn(u8) -> bool, new: Slot) {
    for word in words {
        let slot = Slot(word.load(Ordering::Relaxed));
        match slot.as_block() {
            Some(block) => paint(arena, arena.block(block), yields, new),
            None if yields(slot.length()) => word.store(new.0, Ordering::Release),
            None => {}
        }
    }
}
