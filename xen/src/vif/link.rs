//! A connected queue, and how it gets from the control thread to the worker and back.
//!
//! The control thread maps rings and binds channels into a [`Link`] and leaves it in the queue's [`Mailbox`]. The worker
//! glances at one flag a burst and takes what is there. When it is to let go, or finds that the guest broke the protocol, it
//! hands the link *back*: only then does the control thread unmap and tell the guest. So nothing is unmapped under a worker,
//! and no worker ever unmaps.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};

use super::from_guest::FromGuest;
use super::to_guest::ToGuest;
use crate::netif::ring::RingFault;
use crate::{EventPort, Events, Grants, Shared, bell};

/// How a guest broke the protocol. There is no way on from here but to part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A count that cannot be.
    #[error("{0}")]
    Ring(#[from] RingFault),
    /// A packet whose end was not there when its begin was shown.
    #[error("a packet that ends behind what was shown")]
    Unfinished,
    /// More slots than any packet needs.
    #[error("a packet in more than {} slots", super::from_guest::FATAL_SLOTS)]
    Slots,
    /// Data that leaves its page.
    #[error("a slot of {len} bytes at {offset}, which leaves its page")]
    Page {
        /// Where it begins.
        offset: u16,
        /// Its length.
        len: u16,
    },
    /// Extra segments that make no sense.
    #[error("an extra segment that {0}")]
    Extra(&'static str),
}

/// What a queue needs of one connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) from: FromGuest,
    pub(super) to: ToGuest,
    pub(super) grants: Box<dyn Grants>,
    pub(super) events: Box<dyn Events>,
    /// Wakes the guest for responses to what it sent.
    pub(super) tx_event: EventPort,
    /// Wakes it for frames; the same where it did not split them.
    pub(super) rx_event: EventPort,
    /// Until it opens, the guest is not listened to.
    pub(super) gate: Gate,
    /// Both rings' pages: last to go.
    pub(super) _rings: [Shared; 2],
}

/// Whether guests are listened to: open from the beginning, or opened later for many at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Option<Arc<AtomicBool>>);

impl Gate {
    /// One that is still shut.
    pub(super) fn shut() -> Self {
        Self(Some(Arc::default()))
    }

    pub(super) fn open(&self) {
        if let Self(Some(open)) = self {
            open.store(true, Release);
        }
    }

    #[inline]
    pub(super) fn is_shut(&self) -> bool {
        self.0.as_ref().is_some_and(|open| !open.load(Acquire))
    }
}

#[derive(Debug, Default)]
struct Inside {
    /// For the worker.
    next: Option<Box<Link>>,
    /// The worker has one.
    held: bool,
    /// From the worker, with what the guest did, if that was the reason.
    returned: Option<(Box<Link>, Option<Fault>)>,
}

/// Where control thread and worker meet.
#[derive(Debug)]
pub(super) struct Mailbox {
    changed: AtomicBool,
    inside: Mutex<Inside>,
    /// Wakes a worker that sleeps, when there is something in here.
    pub(super) door: OwnedFd,
    /// Wakes the control thread.
    control: Arc<OwnedFd>,
}

impl Mailbox {
    pub(super) fn new(control: Arc<OwnedFd>) -> std::io::Result<Self> {
        Ok(Self { changed: AtomicBool::new(false), inside: Mutex::default(), door: bell::create()?, control })
    }

    /// Control: the queue is to use this link from now on.
    pub(super) fn put(&self, link: Box<Link>) {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).next = Some(link);
        self.changed.store(true, Release);
        bell::ring(self.door.as_fd());
    }

    /// Control: the queue is to let go.
    pub(super) fn recall(&self) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.next = None;
        if inside.held {
            self.changed.store(true, Release);
            bell::ring(self.door.as_fd());
        }
    }

    /// Control: what came back.
    pub(super) fn collect(&self) -> Option<(Box<Link>, Option<Fault>)> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).returned.take()
    }

    /// Control: whether something came back.
    pub(super) fn has_returned(&self) -> bool {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).returned.is_some()
    }

    /// Control: whether a link of this queue is still somewhere.
    pub(super) fn is_out(&self) -> bool {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.held || inside.next.is_some() || inside.returned.is_some()
    }

    /// Worker: whether something was put, or recalled.
    #[inline]
    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(Relaxed)
    }

    /// Worker: what was put last. Whatever it held, it has given back before.
    pub(super) fn take(&self) -> Option<Box<Link>> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.store(false, Release);
        let link = inside.next.take();
        inside.held = link.is_some();
        link
    }

    /// Worker: gives back what it held.
    pub(super) fn give_back(&self, link: Box<Link>, fault: Option<Fault>) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.held = false;
        inside.returned = Some((link, fault));
        drop(inside);
        bell::ring(self.control.as_fd());
    }
}
