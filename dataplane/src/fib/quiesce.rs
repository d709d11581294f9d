//! When memory that readers may still look at can be used again: after each of them has passed a quiescent point.
//!
//! A reader says once a breath "I hold nothing that I looked up before": a load and a store, no locked instruction. The
//! control side tags what it took out of use with an epoch that begins after, and uses it again when every reader has
//! been seen in that epoch or a later one. A reader that sleeps says so before, and is not waited for. (Quiescent-state
//! based reclamation, as in liburcu and DPDK's `rte_rcu_qsbr`.)
//!
//! Nobody ever waits: what cannot be used again yet stays where it is.

pub(super) use sync::Arc;
use sync::{AtomicU64, Mutex, Ordering, fence};

/// Memory operations, real ones or those that `loom` can reorder.
mod sync {
    #[cfg(loom)]
    pub use loom::sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering, fence},
    };
    #[cfg(not(loom))]
    pub use std::sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering, fence},
    };
}

/// What a reader's seat says while it is not waited for.
const OFFLINE: u64 = 0;

/// Where a reader tells its epoch; a cache line of its own, and the one that is fetched with it.
#[derive(Debug)]
#[repr(align(128))]
struct Seat(AtomicU64);

/// The epochs of an engine, and its readers.
#[derive(Debug)]
pub(super) struct Epochs {
    /// From 1; `OFFLINE` is none.
    current: AtomicU64,
    seats: Mutex<Vec<Arc<Seat>>>,
}

impl Default for Epochs {
    fn default() -> Self {
        Self { current: AtomicU64::new(1), seats: Mutex::new(Vec::new()) }
    }
}

impl Epochs {
    /// A new reader, offline. Takes a lock: for the control side, before the worker runs.
    pub(super) fn reader(epochs: &Arc<Self>) -> Reader {
        let seat = Arc::new(Seat(AtomicU64::new(OFFLINE)));
        epochs.seats().push(seat.clone());
        Reader { seat, epochs: epochs.clone() }
    }

    fn seats(&self) -> impl std::ops::DerefMut<Target = Vec<Arc<Seat>>> + '_ {
        // Whoever panicked with the lock held was pushing, removing or reading: the list is whole.
        self.seats.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Begins an epoch and says which: a reader that is seen in it reads nothing that was taken out of use before this call.
    pub(super) fn advance(&self) -> u64 {
        // What was taken out of use must be so for a reader that comes online and does not know of this epoch yet.
        fence(Ordering::SeqCst);
        self.current.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The epoch that every reader has been seen in, or a later one: what was tagged with it or an earlier one is free.
    pub(super) fn passed(&self) -> u64 {
        let current = self.current.load(Ordering::Acquire);
        fence(Ordering::SeqCst);
        let seen = |seat: &Arc<Seat>| Some(seat.0.load(Ordering::Acquire)).filter(|&epoch| epoch != OFFLINE);
        self.seats().iter().filter_map(seen).min().unwrap_or(current).min(current)
    }
}

/// A worker's seat among the readers. It begins offline.
#[derive(Debug)]
pub struct Reader {
    seat: Arc<Seat>,
    epochs: Arc<Epochs>,
}

impl Reader {
    /// The reader holds nothing that it looked up before this call: once a breath. Also brings it online, but the first
    /// time and after [`offline`](Self::offline) call [`online`](Self::online) instead, which is the dearer.
    #[inline]
    pub fn quiescent(&mut self) {
        // Acquire: what is looked up from here on is what was published before that epoch began.
        let epoch = self.epochs.current.load(Ordering::Acquire);
        // Release: what was looked up before was read before this is seen.
        self.seat.0.store(epoch, Ordering::Release);
    }

    /// The reader will look things up.
    pub fn online(&mut self) {
        let epoch = self.epochs.current.load(Ordering::Acquire);
        self.seat.0.store(epoch, Ordering::Release);
        // Either the control side sees this seat taken, or this reader sees what it took out of use: pairs with the
        // fences in `advance` and `passed`.
        fence(Ordering::SeqCst);
    }

    /// The reader looks nothing up, and holds nothing that it did, until it comes online again: before it sleeps.
    pub fn offline(&mut self) {
        self.seat.0.store(OFFLINE, Ordering::Release);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.offline();
        self.epochs.seats().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_may_hold_is_not_free() {
        let epochs = Arc::new(Epochs::default());
        let first = epochs.advance();
        assert!(epochs.passed() >= first, "nobody reads");
        let (mut a, mut b) = (Epochs::reader(&epochs), Epochs::reader(&epochs));
        a.online();
        let second = epochs.advance();
        assert!(epochs.passed() < second, "a may hold it; b is offline");
        b.online();
        assert!(epochs.passed() < second);
        a.quiescent();
        assert!(epochs.passed() >= second);
        let third = epochs.advance();
        a.quiescent();
        assert!(epochs.passed() < third);
        b.offline();
        assert!(epochs.passed() >= third);
        b.online();
        let fourth = epochs.advance();
        drop(b);
        a.quiescent();
        assert!(epochs.passed() >= fourth, "who is gone is not waited for");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::atomic::AtomicU32;
    use loom::thread;

    use super::*;

    /// Two blocks of one word, as the table has them: the slot names one, the control side changes to the other and
    /// uses the first again when it may. A reader that sees the value of the later use has read a block too late.
    fn model(turns: impl Fn(&mut Reader, &dyn Fn()) + Send + Sync + Copy + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let epochs = Arc::new(Epochs::default());
            let slot = Arc::new(AtomicU32::new(0));
            let blocks = Arc::new([AtomicU32::new(10), AtomicU32::new(0)]);
            let mut reader = Epochs::reader(&epochs);
            let worker = {
                let (slot, blocks) = (slot.clone(), blocks.clone());
                thread::spawn(move || {
                    let look = || {
                        let block = slot.load(Ordering::Acquire) as usize;
                        let value = blocks[block].load(Ordering::Acquire);
                        assert!(value == 10 + block as u32, "block {block} has {value}");
                    };
                    turns(&mut reader, &look);
                })
            };
            blocks[1].store(11, Ordering::Relaxed);
            slot.store(1, Ordering::Release);
            let retired = epochs.advance();
            for _ in 0..2 {
                if epochs.passed() >= retired {
                    blocks[0].store(99, Ordering::Relaxed);
                    break;
                }
                thread::yield_now();
            }
            worker.join().unwrap();
        });
    }

    #[test]
    fn a_busy_reader_never_reads_what_is_used_again() {
        model(|reader, look| {
            reader.online();
            look();
            reader.quiescent();
            look();
        });
    }

    #[test]
    fn a_reader_that_wakes_never_reads_what_is_used_again() {
        model(|reader, look| {
            reader.online();
            look();
            reader.offline();
            reader.online();
            look();
        });
    }
}
