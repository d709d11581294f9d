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

use super::arena::{Arena, BLOCK, Kind, LONE, SMALL_BITS};
use super::lone::{self, Lone};
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
    /// Whether it shares its first `length` bits, at least one, with `other`.
    fn shares(self, other: Self, length: u8) -> bool;
    /// All of it, as a lone route keeps it.
    fn words(self) -> [u32; 4];
    /// The reverse.
    fn from_words(words: [u32; 4]) -> Self;
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

    #[inline(always)]
    fn shares(self, other: Self, length: u8) -> bool {
        (self ^ other) >> ((32 - u32::from(length)) & 31) == 0
    }

    fn words(self) -> [u32; 4] {
        [self, 0, 0, 0]
    }

    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        words[0]
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

    #[inline(always)]
    fn shares(self, other: Self, length: u8) -> bool {
        (self ^ other) >> ((128 - u32::from(length)) & 127) == 0
    }

    fn words(self) -> [u32; 4] {
        [(self >> 96) as u32, (self >> 64) as u32, (self >> 32) as u32, self as u32]
    }

    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        words.into_iter().fold(0, |key, word| key << 32 | u128::from(word))
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
        if let Some(lone) = slot.as_lone() {
            slot = lone::answer(arena, lone, address);
        }
        slot.next_hop()
    }

    /// The next-hop entries for up to a burst of addresses, as many as both slices have. The memory accesses of all
    /// addresses are under way at once.
    #[inline(always)]
    pub(super) fn look_up_burst<A: Address>(&self, arena: &Arena, addresses: &[A], answers: &mut [u32]) {
        let (first, bits) = self.first(arena);
        let (blocks, lones) = (arena.block_words(), arena.lone_words());
        // Asks for what a word names; false when that is nothing more.
        let follow = |slot: Slot, address: A, bits: u32| {
            if let Some(block) = slot.as_block() {
                want(blocks, block as usize * BLOCK + address.byte(bits));
            } else if let Some(lone) = slot.as_lone() {
                want(lones, lone as usize * LONE);
            }
            !slot.is_answer()
        };
        for (addresses, answers) in addresses.chunks(BURST).zip(answers.chunks_mut(BURST)) {
            for address in addresses {
                want(first, address.first(bits));
            }
            let mut deeper: ArrayVec<u8, BURST> = ArrayVec::new();
            for (n, (address, answer)) in addresses.iter().zip(answers.iter_mut()).enumerate() {
                let slot = load(first, address.first(bits));
                *answer = slot.0;
                if follow(slot, *address, bits) {
                    deeper.push(n as u8);
                }
            }
            let mut at = bits;
            while !deeper.is_empty() {
                deeper.retain(|n| {
                    let n = usize::from(*n);
                    let (Some(address), Some(answer)) = (addresses.get(n), answers.get_mut(n)) else { return false };
                    let slot = match Slot(*answer).as_block() {
                        Some(block) => load(blocks, block as usize * BLOCK + address.byte(at)),
                        None => Slot(*answer).as_lone().map_or(Slot(0), |lone| lone::answer(arena, lone, *address)),
                    };
                    *answer = slot.0;
                    follow(slot, *address, at + 8)
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
    /// Lone routes in use.
    pub(super) lones: u32,
    /// No more than these.
    pub(super) max_blocks: u32,
    /// Blocks below a small first level that make it a large one.
    pub(super) growth: u32,
    /// Blocks right below the first level, while it is small.
    second: u32,
}

impl Shape {
    pub(super) fn new(max_blocks: u32, growth: u32) -> Self {
        Self { blocks: 0, lones: 0, max_blocks, growth, second: 0 }
    }
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
            self.grow::<A>(arena, shape);
        }
        let (mut words, first_bits) = self.first(arena);
        let (mut index, mut bits) = (key.first(first_bits), first_bits);
        let mut way: ArrayVec<(&AtomicU32, u32), 16> = ArrayVec::new();
        let new = Slot::answer(length, next_hop);
        while u32::from(length) > bits {
            let Some(word) = words.get(index) else { return Ok(()) };
            let slot = Slot(word.load(Ordering::Relaxed));
            let block = match (slot.as_block(), slot.as_lone()) {
                (Some(block), _) => block,
                (None, Some(number)) => {
                    let Some(lone) = Lone::at(arena, number) else { return Ok(()) };
                    if lone.is(key, length) {
                        lone.set_inside(new);
                        return Ok(());
                    }
                    let block = match divide::<A>(arena, shape, lone, bits) {
                        Ok(block) => block,
                        Err(full) => {
                            // The blocks made on the way are for nothing.
                            self.collapse(arena, shape, way, bits);
                            return Err(full);
                        }
                    };
                    shape.second += u32::from(bits == SMALL_BITS && first_bits == SMALL_BITS);
                    word.store(Slot::block(block).0, Ordering::Release);
                    arena.retire(Kind::Lone, number);
                    shape.lones -= 1;
                    block
                }
                (None, None) => {
                    let Some(lone) = Lone::make(arena, key, length, new, slot) else {
                        self.collapse(arena, shape, way, bits);
                        return Err(FibError::ArenaFull);
                    };
                    shape.lones += 1;
                    word.store(Slot::lone(lone).0, Ordering::Release);
                    return Ok(());
                }
            };
            way.push((word, block));
            (words, index) = (arena.block(block), key.byte(bits));
            bits += 8;
        }
        let span = 1 << (bits - u32::from(length));
        let words = words.get(index..index + span).unwrap_or_default();
        paint(arena, words, &|slot| slot <= length, new);
        Ok(())
    }

    /// `key`/`length` answers no more; where it did, what `cover` says does: the next shorter prefix of the table that it is
    /// in.
    pub(super) fn remove<A: Address>(
        &self,
        arena: &Arena,
        shape: &mut Shape,
        key: A,
        length: u8,
        cover: impl FnOnce() -> Slot,
    ) {
        let (mut words, first_bits) = self.first(arena);
        let (mut index, mut bits) = (key.first(first_bits), first_bits);
        let mut way: ArrayVec<(&AtomicU32, u32), 16> = ArrayVec::new();
        while u32::from(length) > bits {
            let Some(word) = words.get(index) else { return };
            let slot = Slot(word.load(Ordering::Relaxed));
            if let Some(lone) = slot.as_lone() {
                let Some(route) = Lone::at(arena, lone).filter(|route| route.is(key, length)) else { return };
                word.store(route.outside().0, Ordering::Release);
                arena.retire(Kind::Lone, lone);
                shape.lones -= 1;
                return self.collapse(arena, shape, way, bits);
            }
            let Some(block) = slot.as_block() else { return };
            way.push((word, block));
            (words, index) = (arena.block(block), key.byte(bits));
            bits += 8;
        }
        let span = 1 << (bits - u32::from(length));
        let words = words.get(index..index + span).unwrap_or_default();
        paint(arena, words, &|slot| slot == length, cover());
        self.collapse(arena, shape, way, bits);
    }

    /// Takes out the blocks of a way down to `bits` that are needed no more: a block in which no prefix has a word of its
    /// own says the same everywhere, but for a lone route, which can be alone above as well.
    fn collapse(&self, arena: &Arena, shape: &mut Shape, mut way: ArrayVec<(&AtomicU32, u32), 16>, mut bits: u32) {
        while let Some((word, block)) = way.pop() {
            bits -= 8;
            let mut lone = None;
            let mut rest = Slot(0);
            for word in arena.block(block) {
                let slot = Slot(word.load(Ordering::Relaxed));
                if slot.as_lone().is_some() {
                    // Two cannot both be alone above. What they say is not looked at: it is far away in memory.
                    if lone.replace(slot).is_some() {
                        return;
                    }
                } else if !slot.is_answer() || u32::from(slot.length()) > bits {
                    return;
                } else {
                    rest = slot;
                }
            }
            if let Some(lone) = lone.and_then(Slot::as_lone).and_then(|number| Lone::at(arena, number)) {
                rest = lone.outside();
                if u32::from(rest.length()) > bits {
                    return;
                }
            }
            word.store(lone.unwrap_or(rest).0, Ordering::Release);
            arena.retire(Kind::Block, block);
            shape.blocks -= 1;
            shape.second -= u32::from(bits == SMALL_BITS && !self.is_large());
        }
    }

    /// Makes a large first level of the small one. Readers see the one or the other, which say the same. Without memory
    /// for it the small one stays, and is not asked again.
    fn grow<A: Address>(&self, arena: &Arena, shape: &mut Shape) {
        let Ok(large) = Region::<AtomicU32>::reserve(1 << LARGE_BITS) else {
            shape.growth = u32::MAX;
            return;
        };
        let (mut merged, mut below) = (Vec::new(), Vec::new());
        for (to, from) in large.words().chunks(BLOCK).zip(arena.small(self.small)) {
            let slot = Slot(from.load(Ordering::Relaxed));
            match slot.as_block() {
                Some(block) => {
                    merged.push(block);
                    for (to, from) in to.iter().zip(arena.block(block)) {
                        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
                    }
                }
                None if !slot.is_answer() => {
                    let Some((number, lone)) = slot.as_lone().and_then(|n| Some((n, Lone::at(arena, n)?))) else {
                        continue;
                    };
                    if !spread::<A>(arena, shape, to, lone, SMALL_BITS) {
                        // No room for the copy: all of this is for nothing.
                        shape.growth = u32::MAX;
                        return;
                    }
                    below.push(number);
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
        shape.lones -= below.len() as u32;
        for lone in below {
            arena.retire(Kind::Lone, lone);
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
            retire_below(arena, slot);
        }
        if !self.is_large() {
            arena.retire(Kind::Small, self.small);
        }
    }
}

/// Takes out of use what a word named.
fn retire_below(arena: &Arena, slot: Slot) {
    if let Some(lone) = slot.as_lone() {
        arena.retire(Kind::Lone, lone);
    }
    if let Some(block) = slot.as_block() {
        for word in arena.block(block) {
            retire_below(arena, Slot(word.load(Ordering::Relaxed)));
        }
        arena.retire(Kind::Block, block);
    }
}

/// A block that says what `lone` says to the word after the first `bits`.
fn divide<A: Address>(arena: &Arena, shape: &mut Shape, lone: Lone<'_>, bits: u32) -> Result<u32, FibError> {
    if shape.blocks >= shape.max_blocks {
        return Err(FibError::TableFull { blocks: shape.blocks });
    }
    let block = arena.take(Kind::Block).ok_or(FibError::ArenaFull)?;
    if !spread::<A>(arena, shape, arena.block(block), lone, bits) {
        arena.put_back(Kind::Block, block);
        return Err(FibError::ArenaFull);
    }
    shape.blocks += 1;
    Ok(block)
}

/// Writes into 256 words what `lone` says to the word after the first `bits`; false when there is no room for a copy of it.
fn spread<A: Address>(arena: &Arena, shape: &mut Shape, words: &[AtomicU32], lone: Lone<'_>, bits: u32) -> bool {
    words.iter().for_each(|word| word.store(lone.outside().0, Ordering::Relaxed));
    let (index, length) = (lone.byte::<A>(bits), u32::from(lone.length()));
    if length <= bits + 8 {
        let inside = words.iter().skip(index).take(1 << (bits + 8 - length));
        inside.for_each(|word| word.store(lone.inside().0, Ordering::Relaxed));
        return true;
    }
    let Some(copy) = lone.copy::<A>(arena) else { return false };
    shape.lones += 1;
    if let Some(word) = words.get(index) {
        word.store(Slot::lone(copy).0, Ordering::Relaxed);
    }
    true
}

/// Writes `new` over the answers of `words`, and of what they name, whose prefix length `yields`.
fn paint(arena: &Arena, words: &[AtomicU32], yields: &impl Fn(u8) -> bool, new: Slot) {
    for word in words {
        let slot = Slot(word.load(Ordering::Relaxed));
        if let Some(block) = slot.as_block() {
            paint(arena, arena.block(block), yields, new);
        } else if let Some(lone) = slot.as_lone().and_then(|lone| Lone::at(arena, lone)) {
            // What is inside is of a longer prefix than any that is painted here.
            if yields(lone.outside().length()) {
                lone.set_outside(new);
            }
        } else if yields(slot.length()) {
            word.store(new.0, Ordering::Release);
        }
    }
}
