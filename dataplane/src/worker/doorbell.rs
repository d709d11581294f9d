//! How the control side reaches a worker: to stop it, to wake it, to bring ports that come late and take those that go.
//!
//! A worker never waits for the control side. It glances at a flag once a breath, and only when that is raised takes the
//! lock behind which the errands lie; whoever holds it then is done after pushing one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::FullWatch;
use crate::port::{Counters, Port};
use crate::units::{GuestId, PortId};

/// Tells a worker to stop, brings it errands, and wakes it for either.
#[derive(Clone, Debug)]
pub struct Doorbell {
    fd: Arc<OwnedFd>,
    asked: Arc<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    stop: AtomicBool,
    waiting: AtomicBool,
    errands: Mutex<Errands>,
}

#[derive(Debug, Default)]
struct Errands {
    waiting: Vec<(Errand, Sender<Done>)>,
    /// The worker has ended: nobody will do them.
    closed: bool,
}

/// What a worker does between two breaths for the control side.
pub enum Errand {
    /// A port comes. Every worker is told.
    Attach(Arrival),
    /// A port goes: the worker forgets it, and gives the queues that it has of it back.
    Detach(PortId),
}

/// A port that comes, as one worker sees it.
pub struct Arrival {
    /// Its number, which was nobody's.
    pub id: PortId,
    /// Whose it is.
    pub guest: GuestId,
    /// What drops of frames that came in on it, or were for it, are counted in.
    pub counters: Arc<Counters>,
    /// Its queues that this worker owns from now on.
    pub queues: Vec<Box<dyn Port>>,
    /// The peer, by the order of linking, that owns a queue, if this worker does not.
    pub peer: Option<usize>,
    /// Where to mark it as full, for the worker that sends to it.
    pub watch: Option<FullWatch>,
}

/// What comes back from an errand.
pub type Done = Vec<Box<dyn Port>>;

impl std::fmt::Debug for Errand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Attach(arrival) => write!(f, "Attach({:?}, {} queues)", arrival.id, arrival.queues.len()),
            Self::Detach(id) => write!(f, "Detach({id:?})"),
        }
    }
}

static ONE: u64 = 1;

impl Doorbell {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd: Arc::new(fd), asked: Arc::default() })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Wakes the worker if it sleeps.
    pub fn ring(&self) {
        // SAFETY: an eventfd takes 8 bytes, which are given. A full counter (EAGAIN) rings as well.
        unsafe { libc::write(self.fd.as_raw_fd(), (&raw const ONE).cast(), 8) };
    }

    /// Ends the worker after its current breath.
    pub fn stop(&self) {
        self.asked.stop.store(true, Relaxed);
        self.ring();
    }

    /// Whether it has been told to stop.
    #[inline]
    pub(super) fn is_stopped(&self) -> bool {
        self.asked.stop.load(Relaxed)
    }

    /// Gives the worker something to do after its current breath. The receiver hears once when it is done, or finds that
    /// nobody will answer any more.
    pub fn send(&self, errand: Errand) -> Receiver<Done> {
        let (done, hear) = mpsc::channel();
        let mut errands = self.errands();
        if !errands.closed {
            errands.waiting.push((errand, done));
        }
        drop(errands);
        self.asked.waiting.store(true, Release);
        self.ring();
        hear
    }

    /// Whether there are errands.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.waiting.load(Relaxed)
    }

    /// The errands, in the order in which they were given.
    #[cold]
    pub(super) fn take(&self) -> Vec<(Errand, Sender<Done>)> {
        self.asked.waiting.swap(false, Acquire);
        std::mem::take(&mut self.errands().waiting)
    }

    /// The worker ends: whoever waits, or will ask, is told so.
    pub(super) fn close(&self) {
        let mut errands = self.errands();
        errands.closed = true;
        errands.waiting.clear();
    }

    fn errands(&self) -> MutexGuard<'_, Errands> {
        self.asked.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
