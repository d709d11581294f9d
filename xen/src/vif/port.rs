//! The worker's side of a vif: one queue, and the ring that a guest with our agent may have beside it.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::frame::Burst;
use pointsman_dataplane::memif::MemifPort;
use pointsman_dataplane::offload::{self, Offloads};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::{Counters, Port, Sleep};
use pointsman_dataplane::units::Nanos;

use super::link::{Fault, Link, Mailbox};
use crate::EventPort;

/// Wake-ups for nothing, in a row, that a guest may cause before it is made to wait.
const SPURIOUS: u32 = 4;
/// The longest that it is made to wait: this, doubled so many times.
const LONGEST: (Nanos, u32) = (Nanos::from_micros(250), 7);

/// How an interface is attached, in words: read by anyone, said by the control thread.
#[derive(Clone, Debug)]
pub struct VifState(Arc<Mutex<Words>>);

#[derive(Debug)]
struct Words {
    vif: String,
    ring: Option<String>,
}

impl VifState {
    pub(super) fn new(vif: &str) -> Self {
        Self(Arc::new(Mutex::new(Words { vif: vif.into(), ring: None })))
    }

    /// As it is now.
    pub fn get(&self) -> String {
        let words = self.words();
        match &words.ring {
            Some(ring) => format!("{ring}; {}", words.vif),
            None => words.vif.clone(),
        }
    }

    pub(super) fn set(&self, vif: String) {
        self.words().vif = vif;
    }

    pub(super) fn set_ring(&self, ring: Option<String>) {
        self.words().ring = ring;
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One queue of a vif. Down until its guest is connected, and whenever it is not.
#[derive(Debug)]
pub struct VifPort {
    mailbox: Arc<Mailbox>,
    state: VifState,
    counters: Arc<Counters>,
    link: Option<Box<Link>>,
    /// While it is up, it carries what is sent to the guest.
    ring: Option<MemifPort>,
    /// Whether the ring is heard first this time.
    ring_first: bool,
    /// Channels that fired, and stay silent until they are unmasked.
    fired: [EventPort; 8],
    fired_len: usize,
    /// Wake-ups that found nothing, in a row.
    spurious: u32,
    /// Until when a guest that wakes us for nothing stays unheard.
    deaf_until: Option<Nanos>,
    door_watched: bool,
    events_watched: bool,
}

impl VifPort {
    pub(super) fn new(
        mailbox: Arc<Mailbox>,
        state: VifState,
        counters: Arc<Counters>,
        ring: Option<MemifPort>,
    ) -> Self {
        Self {
            mailbox,
            state,
            counters,
            link: None,
            ring,
            ring_first: false,
            fired: [EventPort(0); 8],
            fired_len: 0,
            spurious: 0,
            deaf_until: None,
            door_watched: false,
            events_watched: false,
        }
    }

    /// How its interface is attached.
    pub fn state(&self) -> VifState {
        self.state.clone()
    }

    /// Gives back the link there is, and takes the one that the control thread left, if it did.
    #[cold]
    fn exchange(&mut self, pool: &mut Pool) {
        self.let_go(pool, None);
        self.link = self.mailbox.take();
        (self.fired_len, self.spurious, self.deaf_until, self.events_watched) = (0, 0, None, false);
        if let Some(link) = &self.link {
            // Whatever the guest missed while nobody was there.
            let _ = link.events.notify(link.tx_event);
            if link.rx_event != link.tx_event {
                let _ = link.events.notify(link.rx_event);
            }
        }
    }

    #[cold]
    fn let_go(&mut self, pool: &mut Pool, fault: Option<Fault>) {
        if let Some(mut link) = self.link.take() {
            link.to.end(pool, &self.counters);
            if fault.is_none() {
                link.from.answer();
            }
            self.mailbox.give_back(link, fault);
        }
    }

    /// Parts from a guest that broke the protocol.
    #[cold]
    fn break_off(&mut self, pool: &mut Pool, fault: Fault) {
        self.counters.dropped(DropReason::DescriptorInvalid, 1);
        self.let_go(pool, Some(fault));
    }

    /// The ring, while it is up.
    #[inline]
    fn ring(&mut self) -> Option<&mut MemifPort> {
        self.ring.as_mut().filter(|ring| ring.is_up())
    }

    /// What the guest sent through the vif itself.
    #[inline]
    fn pull_vif(&mut self, pool: &mut Pool, burst: &mut Burst) {
        if self.mailbox.has_changed() {
            self.exchange(pool);
        }
        let Some(link) = &mut self.link else { return };
        if link.gate.is_shut() {
            return;
        }
        match link.from.pull(link.grants.as_mut(), pool, burst, &self.counters) {
            Ok(()) => {
                if link.from.must_notify() {
                    let _ = link.events.notify(link.tx_event);
                }
            }
            Err(fault) => self.break_off(pool, fault),
        }
    }

    /// Whether the vif may sleep.
    fn arm_vif(&mut self, sleep: &Sleep) -> bool {
        if !self.door_watched {
            self.door_watched = sleep.watch_edge(self.mailbox.door.as_fd()).is_ok();
        }
        if !self.door_watched || self.mailbox.has_changed() {
            return false;
        }
        let Some(link) = &mut self.link else { return true };
        if link.gate.is_shut() {
            return false;
        }
        if !self.events_watched {
            self.events_watched = sleep.watch(link.events.fd()).is_ok();
        }
        // There may be answers to what was no frame.
        link.from.answer();
        if link.from.must_notify() {
            let _ = link.events.notify(link.tx_event);
        }
        if !self.events_watched || !link.from.arm() {
            return false;
        }
        if self.fired_len == 0 {
            return true;
        }
        // A guest that raises events without work is not let in again at once: its channel stays masked.
        match self.deaf_until {
            Some(until) if Nanos::now() < until => return true,
            Some(_) => self.deaf_until = None,
            None if link.from.has_worked() | link.to.room_came() => self.spurious = 0,
            None => {
                self.spurious = self.spurious.saturating_add(1);
                if let Some(times) = self.spurious.checked_sub(SPURIOUS) {
                    let wait = Nanos(LONGEST.0.0 << times.min(LONGEST.1));
                    self.deaf_until = Some(Nanos::now().plus(wait));
                    return true;
                }
            }
        }
        // Only now: while we were at work, no event of this guest could wake anyone.
        let _ = link.events.unmask(&self.fired[..self.fired_len]);
        self.fired_len = 0;
        true
    }
}

impl Port for VifPort {
    #[inline]
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let Some(ring) = &mut self.ring else { return self.pull_vif(pool, burst) };
        // Whoever is second may find the burst full.
        self.ring_first = !self.ring_first;
        if self.ring_first {
            ring.pull(pool, burst);
            self.pull_vif(pool, burst);
        } else {
            self.pull_vif(pool, burst);
            if let Some(ring) = &mut self.ring {
                ring.pull(pool, burst);
            }
        }
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        if let Some(ring) = self.ring() {
            return ring.push(pool, burst);
        }
        // A guest that can be reached is: another may have spoken to it before our turn to pull.
        if self.mailbox.has_changed() {
            self.exchange(pool);
        }
        let Some(link) = &mut self.link else {
            self.counters.dropped(DropReason::OutputDown, burst.len() as u64);
            pool.free_all(burst.drain(..));
            return;
        };
        if link.to.takes_pieces() {
            offload::join(pool, burst, link.to.accepts());
        }
        if let Err(fault) = link.to.push(link.grants.as_mut(), pool, burst, &self.counters) {
            self.break_off(pool, fault);
        }
    }

    #[inline]
    fn flush(&mut self, pool: &mut Pool) {
        if let Some(ring) = self.ring() {
            ring.flush(pool);
        }
        if let Some(link) = &mut self.link {
            link.to.flush(link.grants.as_mut(), pool, &self.counters);
        }
    }

    #[inline]
    fn notify(&mut self) {
        if let Some(ring) = self.ring() {
            ring.notify();
        }
        if let Some(link) = &mut self.link
            && link.to.must_notify()
        {
            let _ = link.events.notify(link.rx_event);
        }
    }

    fn tick(&mut self, pool: &mut Pool, now: Nanos) {
        if let Some(ring) = &mut self.ring {
            ring.tick(pool, now);
        }
        if self.mailbox.has_changed() {
            self.exchange(pool);
        }
    }

    fn arm(&mut self, sleep: &Sleep) -> bool {
        // Both are asked, whatever the first says: who may not sleep is heard in the next breath.
        let ring = self.ring.as_mut().is_none_or(|ring| ring.arm(sleep));
        self.arm_vif(sleep) && ring
    }

    fn disarm(&mut self, sleep: &Sleep) {
        if let Some(ring) = &mut self.ring {
            ring.disarm(sleep);
        }
        let Some(link) = self.link.as_mut().filter(|link| sleep.was_ended_by(link.events.fd())) else { return };
        if let Ok(n) = link.events.fired(&mut self.fired[self.fired_len..]) {
            self.fired_len += n;
        }
    }

    fn deadline(&self) -> Option<Nanos> {
        self.deaf_until
    }

    fn detach(&mut self, pool: &mut Pool) {
        if let Some(ring) = &mut self.ring {
            ring.detach(pool);
        }
        self.let_go(pool, None);
    }

    fn is_up(&self) -> bool {
        self.link.is_some() || self.ring.as_ref().is_some_and(Port::is_up)
    }

    fn is_full(&self) -> bool {
        match &self.ring {
            Some(ring) if ring.is_up() => ring.is_full(),
            _ => self.link.as_ref().is_some_and(|link| link.to.is_full()),
        }
    }

    fn arm_room(&mut self) -> bool {
        match self.ring() {
            Some(ring) => ring.arm_room(),
            None => self.link.as_mut().is_some_and(|link| link.to.arm_room()),
        }
    }

    /// The ring's; what does not fit into the guest's own is lost there.
    fn room(&mut self) -> usize {
        self.ring().map_or(usize::MAX, Port::room)
    }

    fn accepts(&self) -> Offloads {
        match &self.ring {
            Some(ring) if ring.is_up() => ring.accepts(),
            _ => self.link.as_ref().map_or(Offloads::NONE, |link| link.to.accepts()),
        }
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        self.state.get()
    }
}

impl Drop for VifPort {
    fn drop(&mut self) {
        // The frames that it holds go with the pool.
        if let Some(link) = self.link.take() {
            self.mailbox.give_back(link, None);
        }
    }
}
