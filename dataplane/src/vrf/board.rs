//! Where a VRF's worker shows its neighbours, when it is asked.
//!
//! The table of neighbours is the worker's alone. Whoever wants to see it leaves a wish, and the worker copies it out at
//! its next tick, into memory that was set aside before: it allocates nothing and waits for nobody.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::rib::InterfaceId;
use crate::router::neighbour::{CAPACITY, Neighbours};
use crate::units::{Mac, Nanos};

/// A neighbour as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// On which interface.
    pub interface: InterfaceId,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, if that is known.
    pub mac: Option<Mac>,
    /// The state of RFC 4861, 7.3.2, or `failed`.
    pub state: &'static str,
    /// How long ago a frame was last sent to it; none: never.
    pub used: Option<Nanos>,
}

/// The board of one VRF.
#[derive(Debug)]
pub struct Board {
    /// Counts up with every wish.
    wanted: AtomicU64,
    /// The wish that was last fulfilled.
    shown: AtomicU64,
    neighbours: Mutex<Vec<Neighbour>>,
}

impl Default for Board {
    fn default() -> Self {
        let neighbours = Mutex::new(Vec::with_capacity(CAPACITY));
        Self { wanted: AtomicU64::new(0), shown: AtomicU64::new(0), neighbours }
    }
}

impl Board {
    /// Asks the worker, wakes it by `wake`, and waits for the answer. None: it did not answer in time.
    pub fn ask(&self, wake: impl Fn(), patience: Duration) -> Option<Vec<Neighbour>> {
        let wish = self.wanted.fetch_add(1, Ordering::AcqRel) + 1;
        let begin = Instant::now();
        wake();
        while self.shown.load(Ordering::Acquire) < wish {
            if begin.elapsed() > patience {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
            wake();
        }
        Some(self.neighbours.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The worker: shows its neighbours if somebody wants to see them.
    pub(super) fn show(&self, neighbours: &Neighbours, now: Nanos) {
        let wish = self.wanted.load(Ordering::Acquire);
        if wish == self.shown.load(Ordering::Relaxed) {
            return;
        }
        // Who reads it now has it soon; the next tick is near.
        let Ok(mut shown) = self.neighbours.try_lock() else { return };
        shown.clear();
        shown.extend(neighbours.list(now).take(CAPACITY));
        drop(shown);
        self.shown.store(wish, Ordering::Release);
    }
}
