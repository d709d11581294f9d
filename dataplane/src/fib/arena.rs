//! The memory that all tables of an engine share: blocks of 256 words, first levels, next-hop entries and hops.
//!
//! Shared, because a hundred small tables then lie close together on a few huge pages, instead of each on its own.
//! Who allocates is the control side, behind a lock that no worker ever takes. What was used by readers comes back
//! through the [`Epochs`]; what was not published yet comes back at once.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::quiesce::{self, Epochs, Reader};
use super::region::Region;
use super::slot::NEXT_HOPS;

/// Words of a block: eight more bits of an address.
pub(super) const BLOCK: usize = 256;
/// Bits of an address that a small first level decides on.
pub(super) const SMALL_BITS: u32 = 16;
/// Words of a small first level.
const SMALL: usize = 1 << SMALL_BITS;
/// Hops there can be in all tables.
const HOPS: usize = 1 << 20;
/// Words of a hop.
pub(super) const HOP: usize = 4;
/// Words of a lone route.
pub(super) const LONE: usize = 8;
/// After how many retirements it is looked whether something is free again.
const SWEEP: usize = 256;

/// How large the shared memory may become. It is reserved in the address space, and used as it is needed.
#[derive(Clone, Copy, Debug)]
pub struct ArenaConfig {
    /// Blocks of 1 KiB, of all tables.
    pub blocks: u32,
    /// Routes that are alone in what a word of a table decides on: 32 bytes each, of all tables.
    pub lones: u32,
    /// Tables, of both families: two for a VRF.
    pub tables: u32,
}

impl Default for ArenaConfig {
    fn default() -> Self {
        Self { blocks: 2 << 20, lones: 16 << 20, tables: 2048 }
    }
}

/// A kind of thing that is numbered, used, and used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    Lone,
    Small,
    NextHop,
    Hop,
}

/// Numbers that are free.
#[derive(Debug)]
struct Free {
    /// Never used so far, from here to the end.
    next: u32,
    end: u32,
    again: Vec<u32>,
}

impl Free {
    fn new(first: u32, end: u32) -> Self {
        Self { next: first, end, again: Vec::new() }
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(number) = self.again.pop() {
            return Some(number);
        }
        let number = self.next;
        (number < self.end).then(|| {
            self.next += 1;
            number
        })
    }
}

/// What the control side knows of the memory.
#[derive(Debug)]
struct Books {
    blocks: Free,
    lones: Free,
    smalls: Free,
    next_hops: Free,
    hops: Free,
    /// Out of use, each with the epoch from which on no reader finds it.
    retired: VecDeque<(u64, Kind, u32)>,
    /// Retirements since it was last looked whether something is free.
    since_sweep: usize,
}

impl Books {
    fn free(&mut self, kind: Kind) -> &mut Free {
        match kind {
            Kind::Block => &mut self.blocks,
            Kind::Lone => &mut self.lones,
            Kind::Small => &mut self.smalls,
            Kind::NextHop => &mut self.next_hops,
            Kind::Hop => &mut self.hops,
        }
    }
}

/// The memory of an engine's tables.
#[derive(Debug)]
pub struct Arena {
    blocks: Region<AtomicU32>,
    lones: Region<AtomicU32>,
    smalls: Region<AtomicU32>,
    next_hops: Region<AtomicU64>,
    hops: Region<AtomicU64>,
    epochs: quiesce::Arc<Epochs>,
    books: Mutex<Books>,
}

impl Arena {
    /// Reserves the memory. No more than `config` says is ever used.
    ///
    /// # Errors
    /// What `mmap` said.
    pub fn new(config: ArenaConfig) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            blocks: Region::reserve(config.blocks as usize * BLOCK)?,
            lones: Region::reserve(config.lones as usize * LONE)?,
            smalls: Region::reserve(config.tables as usize * SMALL)?,
            next_hops: Region::reserve(NEXT_HOPS)?,
            hops: Region::reserve(HOPS * HOP)?,
            epochs: quiesce::Arc::new(Epochs::default()),
            books: Mutex::new(Books {
                blocks: Free::new(0, config.blocks),
                lones: Free::new(0, config.lones),
                smalls: Free::new(0, config.tables),
                // Entry 0 is "no route" for ever.
                next_hops: Free::new(1, NEXT_HOPS as u32),
                hops: Free::new(0, HOPS as u32),
                retired: VecDeque::new(),
                since_sweep: 0,
            }),
        }))
    }

    /// A seat for a worker that will read the tables.
    pub fn reader(&self) -> Reader {
        Epochs::reader(&self.epochs)
    }

    /// The words of block `block`; none of a number that was never given out.
    #[inline(always)]
    pub(super) fn block(&self, block: u32) -> &[AtomicU32] {
        let start = block as usize * BLOCK;
        self.blocks.words().get(start..start + BLOCK).unwrap_or_default()
    }

    /// All words of blocks: those of block `n` begin at 256 `n`.
    #[inline(always)]
    pub(super) fn block_words(&self) -> &[AtomicU32] {
        self.blocks.words()
    }

    /// All words of lone routes: those of number `n` begin at 8 `n`.
    #[inline(always)]
    pub(super) fn lone_words(&self) -> &[AtomicU32] {
        self.lones.words()
    }

    /// The words of a small first level.
    #[inline(always)]
    pub(super) fn small(&self, small: u32) -> &[AtomicU32] {
        let start = small as usize * SMALL;
        self.smalls.words().get(start..start + SMALL).unwrap_or_default()
    }

    /// The words of all next-hop entries.
    #[inline(always)]
    pub(super) fn next_hops(&self) -> &[AtomicU64] {
        self.next_hops.words()
    }

    /// The words of all hops, four a hop.
    #[inline(always)]
    pub(super) fn hops(&self) -> &[AtomicU64] {
        self.hops.words()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // The books are whole between two statements: a panic elsewhere with the lock held says nothing of them.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free one; none when all are in use, or out of use but perhaps in sight of a reader.
    pub(super) fn take(&self, kind: Kind) -> Option<u32> {
        let mut books = self.books();
        if let Some(number) = books.free(kind).take() {
            return Some(number);
        }
        self.sweep(&mut books);
        books.free(kind).take()
    }

    /// Takes back what no reader ever saw.
    pub(super) fn put_back(&self, kind: Kind, number: u32) {
        self.books().free(kind).again.push(number);
    }

    /// Takes back what readers can no longer find, but may still look at.
    pub(super) fn retire(&self, kind: Kind, number: u32) {
        let epoch = self.epochs.advance();
        let mut books = self.books();
        books.retired.push_back((epoch, kind, number));
        books.since_sweep += 1;
        if books.since_sweep >= SWEEP {
            self.sweep(&mut books);
        }
    }

    /// Makes free what no reader can look at any more; how many things still wait for one. It is called as need be; a
    /// caller who wants the memory at rest calls it after all workers have drawn a breath.
    pub fn reclaim(&self) -> usize {
        let mut books = self.books();
        self.sweep(&mut books);
        books.retired.len()
    }

    fn sweep(&self, books: &mut Books) {
        books.since_sweep = 0;
        let passed = self.epochs.passed();
        while let Some(&(epoch, kind, number)) = books.retired.front() {
            if epoch > passed {
                break;
            }
            books.retired.pop_front();
            if kind == Kind::Small {
                self.small(number).iter().for_each(|word| word.store(0, Ordering::Relaxed));
            }
            books.free(kind).again.push(number);
        }
    }

    /// Blocks in use, or waiting for a reader: 1 KiB each.
    pub fn blocks_used(&self) -> usize {
        let books = self.books();
        books.blocks.next as usize - books.blocks.again.len()
    }

    /// Lone routes in use, or waiting for a reader: 32 bytes each.
    pub fn lones_used(&self) -> usize {
        let books = self.books();
        books.lones.next as usize - books.lones.again.len()
    }
}
