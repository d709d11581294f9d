//! The worker's side of a memif: one ring pair.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::bell::Wake;
use super::link::{Fault, Link, Mailbox};
use super::rx::Receiver;
use super::state::Shared;
use super::tx::Sender;
use crate::drops::DropReason;
use crate::frame::Burst;
use crate::pool::Pool;
use crate::port::{Counters, Port, Sleep};
use crate::units::Nanos;

/// One queue of a memif, in whichever role. Down until a peer is connected, and whenever it is not.
#[derive(Debug)]
pub struct MemifPort {
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
    queue: u16,
    counters: Arc<Counters>,
    attached: Option<Attached>,
    /// What was last put into the worker's epoll: of this link, or still of one before.
    watched: Option<Wake>,
    door_watched: bool,
}

/// A link in use.
#[derive(Debug)]
struct Attached {
    rx: Option<Receiver>,
    tx: Option<Sender>,
    link: Arc<Link>,
}

impl MemifPort {
    pub(super) fn new(mailbox: Arc<Mailbox>, shared: Arc<Shared>, queue: u16, counters: Arc<Counters>) -> Self {
        Self { mailbox, shared, queue, counters, attached: None, watched: None, door_watched: false }
    }

    /// Which of the memif's ring pairs this is.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Takes what the control thread left: a link to use, or the word to let go of the one in use.
    #[cold]
    fn exchange(&mut self, pool: &mut Pool) {
        self.let_go(pool);
        self.attached = self.mailbox.take().map(|link| Attached {
            rx: link.rx.as_ref().map(|half| Receiver::new(&link, half)),
            tx: link.tx.as_ref().map(|half| Sender::new(&link, half)),
            link,
        });
    }

    fn let_go(&mut self, pool: &mut Pool) {
        if let Some(attached) = self.attached.take()
            && let Some(rx) = attached.rx
        {
            rx.end(pool);
        }
    }

    /// Parts from a peer that broke its ring.
    #[cold]
    fn break_off(&mut self, pool: &mut Pool, fault: Fault) {
        self.counters.dropped(DropReason::DescriptorInvalid, 1);
        if let Some(attached) = &self.attached {
            attached.link.report(fault);
        }
        self.let_go(pool);
    }
}

impl Port for MemifPort {
    #[inline]
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        if self.mailbox.has_changed() {
            self.exchange(pool);
        }
        let Some(Attached { rx: Some(rx), tx, .. }) = &mut self.attached else { return };
        if let Err(fault) = rx.pull(pool, burst, &self.counters) {
            return self.break_off(pool, fault);
        }
        if rx.owes_room()
            && let Some(tx) = tx
        {
            tx.ring();
        }
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let Some(Attached { tx: Some(tx), .. }) = &mut self.attached else {
            self.counters.dropped(DropReason::OutputDown, burst.len() as u64);
            pool.free_all(burst.drain(..));
            return;
        };
        if let Err(fault) = tx.push(pool, burst, &self.counters) {
            self.break_off(pool, fault);
        }
    }

    /// What was pushed is in the ring already. A sleeper is told at once only when the ring would else run full.
    #[inline]
    fn flush(&mut self, _pool: &mut Pool) {
        if let Some(Attached { tx: Some(tx), .. }) = &mut self.attached
            && tx.is_half_full()
        {
            tx.flush();
        }
    }

    #[inline]
    fn notify(&mut self) {
        if let Some(Attached { tx: Some(tx), .. }) = &mut self.attached {
            tx.flush();
        }
    }

    fn tick(&mut self, pool: &mut Pool, _now: Nanos) {
        if self.mailbox.has_changed() {
            self.exchange(pool);
        }
    }

    fn arm(&mut self, sleep: &Sleep) -> bool {
        if !self.door_watched {
            self.door_watched = sleep.watch_edge(self.mailbox.door.as_fd()).is_ok();
        }
        if !self.door_watched || self.mailbox.has_changed() {
            return false;
        }
        let event = self.attached.as_ref().and_then(|a| a.rx.as_ref()).map(Receiver::event);
        let same = match (event, &self.watched) {
            (Some(event), Some(watched)) => event.is(watched),
            (None, None) => true,
            _ => false,
        };
        if !same {
            // The peer holds the same open file: unless it is taken out, it would go on waking us.
            if let Some(old) = self.watched.take() {
                sleep.unwatch(old.fd());
            }
            if let Some(event) = event {
                if sleep.watch_edge(event.fd()).is_err() {
                    return false;
                }
                self.watched = Some(event.clone());
            }
        }
        match &self.attached {
            Some(Attached { rx: Some(rx), tx, .. }) => {
                let empty = rx.arm();
                // Only now, behind its fence, is a mark that was set before we emptied the ring sure to be seen.
                if rx.owes_room()
                    && let Some(tx) = tx
                {
                    tx.ring();
                }
                empty
            }
            _ => true,
        }
    }

    fn disarm(&mut self, sleep: &Sleep) {
        if let Some(Attached { rx: Some(rx), .. }) = &self.attached {
            rx.disarm(sleep);
        }
    }

    fn detach(&mut self, pool: &mut Pool) {
        self.let_go(pool);
    }

    fn is_up(&self) -> bool {
        matches!(self.attached, Some(Attached { tx: Some(_), .. }))
    }

    fn is_full(&self) -> bool {
        match &self.attached {
            Some(Attached { tx: Some(tx), .. }) => tx.is_full(),
            _ => false,
        }
    }

    fn arm_room(&mut self) -> bool {
        matches!(&self.attached, Some(Attached { tx: Some(tx), .. }) if tx.arm_room())
    }

    /// Where nobody is there is room for anything: it is counted as lost when it is pushed.
    #[inline]
    fn room(&mut self) -> usize {
        match &mut self.attached {
            Some(Attached { tx: Some(tx), .. }) => tx.room_now(),
            _ => usize::MAX,
        }
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        self.shared.get().to_string()
    }
}
