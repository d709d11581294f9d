//! Forwarding tables: what workers read of routes, while the control side changes them.
//!
//! A look-up answers the number of a *next-hop entry*. Routes are many and entries few, so what befalls a link or a group
//! of hops is one store into an entry, not a million into the table. One writer, a [`FibWriter`] for each VRF, changes
//! table and entries in place; any number of workers read through [`Fib`] meanwhile, with no lock and no reference count.
//!
//! **Each reader sees of each address the answer before a change or the one after it, never another.** That is so as long
//! as a worker's [`Reader`] is online while it looks up and keeps no [`NextHopId`] or [`HopId`] beyond
//! [`quiescent`](Reader::quiescent). A worker that breaks this gets wrong answers; memory stays sound, because all there
//! is to read are atomics in regions that live as long as the tables.

mod arena;
mod lone;
mod next_hop;
#[cfg(all(test, not(loom)))]
mod oracle;
mod quiesce;
mod region;
mod slot;
#[cfg(all(test, not(loom)))]
mod stress;
mod table;
#[cfg(all(test, not(loom)))]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use arena::{Arena, ArenaConfig};
#[cfg(test)]
pub(crate) use next_hop::flow_of;
pub use next_hop::{Decision, HopId, MAX_HOPS, NextHopId, ResolvedHop, Verdict};
pub use quiesce::Reader;

pub use crate::frame::BURST;
use crate::prefix::Prefix;
use crate::rib::InterfaceId;
use next_hop::NextHops;
use slot::Slot;
use table::{Shape, Table};

/// Why a forwarding table could not be changed. It is then as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FibError {
    /// The VRF has used up its part of the memory.
    #[error(
        "the forwarding table has used the {blocks} blocks of 1 KiB that its VRF may have; \
         raise max_routes of the VRF, or announce fewer long prefixes to it"
    )]
    TableFull {
        /// Blocks it has.
        blocks: u32,
    },
    /// All VRFs together have used up the memory.
    #[error("the memory of all forwarding tables is used up; lower max_routes of the VRFs that need less")]
    ArenaFull,
    /// There are as many VRFs as there may be.
    #[error("there is no room for the forwarding tables of one more VRF")]
    TablesFull,
    /// There are too many different sets of next hops.
    #[error("there is no room for one more set of next hops: all VRFs together may have {}", slot::NEXT_HOPS - 1)]
    NextHopsFull,
    /// There are too many different next hops.
    #[error("there is no room for one more neighbour as next hop")]
    HopsFull,
}

/// How one VRF's tables are laid out.
#[derive(Clone, Copy, Debug)]
pub struct FibConfig {
    /// Blocks of 1 KiB that the tables of both families may have, each: a VRF must not use up what others need.
    pub max_blocks: u32,
    /// Blocks right below a first level of 16 bits that make it one of 24 bits (64 MiB); 0: from the first route on.
    pub growth: u32,
}

impl Default for FibConfig {
    fn default() -> Self {
        Self { max_blocks: 1 << 20, growth: table::GROWTH }
    }
}

/// The forwarding tables of one VRF, for those who look up.
#[derive(Debug)]
pub struct Fib {
    arena: Arc<Arena>,
    v4: Table,
    v6: Table,
    version: AtomicU64,
}

impl Fib {
    /// The next-hop entry for an IPv4 destination; 0 when no route leads there.
    #[inline]
    pub fn lookup_v4(&self, destination: u32) -> u32 {
        self.v4.look_up(&self.arena, destination)
    }

    /// The next-hop entry for an IPv6 destination; 0 when no route leads there.
    #[inline]
    pub fn lookup_v6(&self, destination: u128) -> u32 {
        self.v6.look_up(&self.arena, destination)
    }

    /// The next-hop entries for many IPv4 destinations, as far as both slices go; faster than one by one from a handful on.
    #[inline]
    pub fn lookup_v4_burst(&self, destinations: &[u32], next_hops: &mut [u32]) {
        self.v4.look_up_burst(&self.arena, destinations, next_hops);
    }

    /// The next-hop entries for many IPv6 destinations, as far as both slices go.
    #[inline]
    pub fn lookup_v6_burst(&self, destinations: &[u128], next_hops: &mut [u32]) {
        self.v6.look_up_burst(&self.arena, destinations, next_hops);
    }

    /// What is done with a packet, by the entry that its look-up answered and a hash of its flow: packets of one flow take
    /// the same hop.
    #[inline]
    pub fn verdict(&self, next_hop: u32, flow: u32) -> Verdict {
        next_hop::verdict(&self.arena, next_hop, || flow)
    }

    /// As [`verdict`](Self::verdict), where the flow is worked out only when there are several hops.
    #[inline]
    pub fn verdict_by(&self, next_hop: u32, flow: impl FnOnce() -> u32) -> Verdict {
        next_hop::verdict(&self.arena, next_hop, flow)
    }

    /// Whether some hop of the entry leaves by `interface`.
    pub fn leaves_by(&self, next_hop: u32, interface: InterfaceId) -> bool {
        next_hop::leaves_by(&self.arena, next_hop, interface)
    }

    /// Where the hop of a verdict leads.
    #[inline]
    pub fn hop(&self, hop: HopId) -> ResolvedHop {
        next_hop::hop(&self.arena, hop)
    }

    /// Changes with each change to tables or entries: a cache of answers is good as long as it stays the same. Read it
    /// before the look-up that is to be remembered.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn changed(&self) {
        // One writer: a load and a store will do, without a locked instruction.
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Release);
    }
}

/// How much a VRF's tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the tables of both families, without the next-hop entries.
    pub bytes: usize,
    /// Blocks of 1 KiB of them, IPv4.
    pub blocks_v4: u32,
    /// Blocks of 1 KiB of them, IPv6.
    pub blocks_v6: u32,
}

/// The forwarding tables of one VRF, for the one who changes them.
///
/// Drop it only after the workers were given tables without the VRF: its memory goes to others then, as soon as each
/// worker has drawn a breath.
#[derive(Debug)]
pub struct FibWriter {
    fib: Arc<Fib>,
    v4: Shape,
    v6: Shape,
    next_hops: NextHops,
}

impl FibWriter {
    /// Tables without a route.
    ///
    /// # Errors
    /// [`FibError::TablesFull`].
    pub fn new(arena: &Arc<Arena>, config: FibConfig) -> Result<Self, FibError> {
        let table = || Table::new(arena).ok_or(FibError::TablesFull);
        let v4 = table()?;
        let v6 = match table() {
            Ok(v6) => v6,
            Err(full) => {
                v4.clear(arena);
                return Err(full);
            }
        };
        let shape = Shape::new(config.max_blocks, config.growth);
        let fib = Fib { arena: arena.clone(), v4, v6, version: AtomicU64::new(0) };
        Ok(Self { fib: Arc::new(fib), v4: shape.clone(), v6: shape, next_hops: NextHops::default() })
    }

    /// The same tables, for those who look up.
    pub fn fib(&self) -> &Arc<Fib> {
        &self.fib
    }

    /// Routes `prefix` to `next_hop`, in place of where it was routed.
    ///
    /// # Errors
    /// No room. A prefix that is in the table already always finds room.
    pub fn insert(&mut self, prefix: Prefix, next_hop: NextHopId) -> Result<(), FibError> {
        let (fib, length) = (&self.fib, prefix.length());
        match prefix.network() {
            IpAddr::V4(key) => fib.v4.insert(&fib.arena, &mut self.v4, key.to_bits(), length, next_hop.0),
            IpAddr::V6(key) => fib.v6.insert(&fib.arena, &mut self.v6, key.to_bits(), length, next_hop.0),
        }?;
        fib.changed();
        Ok(())
    }

    /// `prefix` is no longer in the table; `cover` says the longest of its prefixes that contains it, with its entry. It is
    /// not asked when the table knows: of a route that is alone it does.
    pub fn remove(&mut self, prefix: Prefix, cover: impl FnOnce() -> Option<(u8, NextHopId)>) {
        let (fib, length) = (&self.fib, prefix.length());
        let cover = || cover().map_or(Slot(0), |(length, next_hop)| Slot::answer(length, next_hop.0));
        match prefix.network() {
            IpAddr::V4(key) => fib.v4.remove(&fib.arena, &mut self.v4, key.to_bits(), length, cover),
            IpAddr::V6(key) => fib.v6.remove(&fib.arena, &mut self.v6, key.to_bits(), length, cover),
        }
        fib.changed();
    }

    /// A new next-hop entry.
    ///
    /// # Errors
    /// No room.
    pub fn create_next_hop(&mut self, decision: &Decision) -> Result<NextHopId, FibError> {
        self.next_hops.create(&self.fib.arena, decision)
    }

    /// Changes an entry, for all routes that lead to it, at once.
    ///
    /// # Errors
    /// No room; the entry is then as it was.
    pub fn set_next_hop(&mut self, next_hop: NextHopId, decision: &Decision) -> Result<(), FibError> {
        self.next_hops.set(&self.fib.arena, next_hop, decision)?;
        self.fib.changed();
        Ok(())
    }

    /// Lets an entry go that no prefix of the table leads to.
    pub fn remove_next_hop(&mut self, next_hop: NextHopId) {
        self.next_hops.remove(&self.fib.arena, next_hop);
    }

    /// How much the tables hold.
    pub fn usage(&self) -> Usage {
        let (v4, v6) = (&self.fib.v4, &self.fib.v6);
        let bytes = v4.first_bytes() + v6.first_bytes() + (self.v4.blocks + self.v6.blocks) as usize * 1024;
        let bytes = bytes + (self.v4.lones + self.v6.lones) as usize * 32;
        Usage { bytes, blocks_v4: self.v4.blocks, blocks_v6: self.v6.blocks }
    }
}

impl Drop for FibWriter {
    fn drop(&mut self) {
        let fib = &self.fib;
        fib.v4.clear(&fib.arena);
        fib.v6.clear(&fib.arena);
        self.next_hops.clear(&fib.arena);
    }
}
