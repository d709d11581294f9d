//! A connected queue, and how it gets from the control thread to the worker and back.
//!
//! The control thread sets up a [`Link`] and leaves it in the queue's [`Mailbox`]. The worker glances at one flag a burst
//! and takes what is there: a link, or nothing, which means to let go of the one it has. A link keeps its mapping alive;
//! the control thread keeps a share of every link until the worker has let go, so it is never the worker that unmaps.
//! In the other direction a worker that finds the ring broken leaves a [`Fault`] in the link and rings the control thread.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::bell::{self, Wake};
use super::descriptor::DescriptorError;
use super::region::Region;
use super::ring::Ring;

/// Which side of a memif this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns the socket; takes the client's memory.
    Server,
    /// Connects; the memory is its own.
    Client,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// How a peer broke its ring. There is no way on from here but to part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It moved its index by more than the ring holds (or backwards, which is the same).
    #[error("index moved to {index}, {ahead} ahead of ours in a ring of {size}")]
    Index {
        /// Where it is.
        index: u16,
        /// Distance from ours.
        ahead: u16,
        /// Descriptors there are.
        size: u16,
    },
    /// A descriptor that does not point at its memory.
    #[error("{0}")]
    Descriptor(#[from] DescriptorError),
    /// A frame in more pieces than the ring has.
    #[error("chain of descriptors without end")]
    EndlessChain,
}

/// One ring of a connected queue.
#[derive(Clone, Debug)]
pub(super) struct Half {
    pub(super) ring: Ring,
    /// Wakes whoever empties the ring.
    pub(super) event: Wake,
    /// Client only: where slot 0's buffer begins; the others follow.
    pub(super) buffers: NonNull<u8>,
}

// SAFETY: a Half is two addresses in shared memory, used by one thread at a time: by the control thread until it is handed
// over, then by a worker, which keeps the Link and with it the mapping.
unsafe impl Send for Half {}

/// Distance and size of a client's buffers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BufferShape {
    pub(super) stride: usize,
    pub(super) room: u32,
}

/// What a queue needs of one connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) role: Role,
    /// The ring that the peer fills.
    pub(super) rx: Option<Half>,
    /// The ring that we fill.
    pub(super) tx: Option<Half>,
    pub(super) shape: BufferShape,
    pub(super) regions: Arc<[Region]>,
    pub(super) fault: OnceLock<Fault>,
    /// Wakes the control thread.
    pub(super) control: Arc<OwnedFd>,
}

// SAFETY: the pointers of a Link lead into its own `regions`, which live as long as it does; all access through them is
// by atomics or copies of bytes, and only by the one worker that took the link.
unsafe impl Send for Link {}
// SAFETY: as above; what the control thread does with its share is to look at `fault` and to drop it.
unsafe impl Sync for Link {}

impl Link {
    /// Tells the control thread that the peer must go. The first reason stays.
    #[cold]
    pub(super) fn report(&self, fault: Fault) {
        let _ = self.fault.set(fault);
        bell::write(self.control.as_fd());
    }
}

/// Where control thread and worker meet.
#[derive(Debug)]
pub(super) struct Mailbox {
    changed: AtomicBool,
    link: Mutex<Option<Arc<Link>>>,
    /// Wakes a worker that sleeps, when there is something in here.
    pub(super) door: OwnedFd,
}

impl Mailbox {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { changed: AtomicBool::new(false), link: Mutex::new(None), door: bell::create()? })
    }

    /// Control: the queue is to use this link from now on, or none.
    pub(super) fn put(&self, link: Option<Arc<Link>>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
        self.changed.store(true, Release);
        bell::write(self.door.as_fd());
    }

    /// Worker: whether something was put.
    #[inline]
    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Worker: what was put last. The mailbox keeps no share of it.
    #[cold]
    pub(super) fn take(&self) -> Option<Arc<Link>> {
        // Cleared first: what is put after this sets it again.
        self.changed.swap(false, AcqRel);
        self.link.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thing_put_is_the_one_taken() {
        let mailbox = Mailbox::new().unwrap();
        assert!(!mailbox.has_changed());
        let link = |role| {
            Arc::new(Link {
                role,
                rx: None,
                tx: None,
                shape: BufferShape::default(),
                regions: Arc::new([]),
                fault: OnceLock::new(),
                control: Arc::new(bell::create().unwrap()),
            })
        };
        let first = link(Role::Server);
        mailbox.put(Some(Arc::clone(&first)));
        mailbox.put(None);
        mailbox.put(Some(link(Role::Client)));
        assert_eq!(Arc::strong_count(&first), 1, "the mailbox still holds what was replaced");
        assert!(mailbox.has_changed());
        assert_eq!(mailbox.take().unwrap().role, Role::Client);
        assert!(!mailbox.has_changed());
        mailbox.put(None);
        assert!(mailbox.has_changed());
        assert!(mailbox.take().is_none());
    }
}
