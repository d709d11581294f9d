//! What a driver needs of a hypervisor, and who may provide it.
//!
//! Every call across this seam costs a system call at least, so a dynamic call is nothing; a burst of copies is one call.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use crate::xenstore::Xenstore;
use crate::{CopyOp, DomId, EventPort, GrantRef, PAGE, XenError};

/// Hands out connections to one hypervisor, as one domain.
pub trait Hypervisor: Send + Sync + fmt::Debug {
    /// A connection to the store of its own, with watches of its own.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn xenstore(&self) -> Result<Xenstore, XenError>;

    /// A way to use other domains' pages. What is mapped through it outlives it.
    ///
    /// # Errors
    /// The device cannot be opened.
    fn grants(&self) -> Result<Box<dyn Grants>, XenError>;

    /// A set of event channels of its own, for one thread. Dropping it closes them.
    ///
    /// # Errors
    /// The device cannot be opened.
    fn events(&self) -> Result<Box<dyn Events>, XenError>;

    /// A way to let other domains use pages of ours.
    ///
    /// # Errors
    /// The device cannot be opened.
    fn allocator(&self) -> Result<Box<dyn Allocator>, XenError>;
}

/// Whether a mapping may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Read and written.
    Write,
}

/// Uses pages that other domains granted.
pub trait Grants: Send + fmt::Debug {
    /// Maps pages of `domain`, one behind the other. If one cannot be mapped, none is.
    ///
    /// # Errors
    /// [`XenError::Map`] where the grant is at fault.
    fn map(&self, domain: DomId, grants: &[GrantRef], access: Access) -> Result<Shared, XenError>;

    /// Makes all these copies with one call. `Ok` says that every op's [`status`](CopyOp::status) is valid, not that it is
    /// good; `Err` that nothing is known of any. An op whose foreign end leaves its page fails the whole call.
    ///
    /// # Errors
    /// What the kernel said.
    fn copy(&mut self, ops: &mut [CopyOp]) -> io::Result<()>;
}

/// Event channels of one thread.
///
/// A channel that fired is *masked*: it is told once by [`fired`](Self::fired), and not again before it is
/// [unmasked](Self::unmask). Events that come meanwhile are not lost, they fire then. Unmasking only after the work is done
/// is what keeps a guest from raising a storm.
pub trait Events: Send + fmt::Debug {
    /// Binds a channel that `domain` offers us.
    ///
    /// # Errors
    /// It offers no such channel, or not to us, or it is bound already.
    fn bind(&mut self, domain: DomId, remote: EventPort) -> Result<EventPort, XenError>;

    /// Offers a new channel to `domain`.
    ///
    /// # Errors
    /// No channel left.
    fn offer(&mut self, domain: DomId) -> Result<EventPort, XenError>;

    /// Closes a channel. The peer's end is then unbound, and may be bound again.
    ///
    /// # Errors
    /// The port is not one of these.
    fn unbind(&mut self, port: EventPort) -> io::Result<()>;

    /// Wakes the peer. Harmless when it has gone.
    ///
    /// # Errors
    /// What the kernel said.
    fn notify(&self, port: EventPort) -> io::Result<()>;

    /// Fills `ports` with channels that fired, and tells how many; never waits.
    ///
    /// # Errors
    /// What the kernel said.
    fn fired(&mut self, ports: &mut [EventPort]) -> io::Result<usize>;

    /// Lets channels fire again.
    ///
    /// # Errors
    /// What the kernel said.
    fn unmask(&mut self, ports: &[EventPort]) -> io::Result<()>;

    /// Readable while a channel has fired that was not told yet.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// Grants pages of ours.
pub trait Allocator: Send + fmt::Debug {
    /// New zeroed pages that `domain` may map or copy, one grant each, one behind the other.
    ///
    /// # Errors
    /// No pages or no grants left.
    fn share(&self, domain: DomId, pages: usize, access: Access) -> Result<(Shared, Vec<GrantRef>), XenError>;
}

/// Undoes what made a [`Shared`] piece of memory.
pub trait Release: Send + Sync + fmt::Debug {
    /// Unmaps `len` bytes from `base` and tells the hypervisor. Called once, by [`Shared`]'s drop.
    fn release(&mut self, base: NonNull<u8>, len: usize);

    /// When this goes, the byte at `offset` becomes zero and `port` is notified, where given.
    ///
    /// # Errors
    /// What the kernel said.
    fn on_unmap(&mut self, offset: usize, port: Option<EventPort>) -> io::Result<()>;
}

/// Memory that another domain reads and writes at will. Given away when dropped.
///
/// It is an address and a length. Whoever uses it forms no reference to it, loads each value once, and judges the copy.
#[derive(Debug)]
pub struct Shared {
    base: NonNull<u8>,
    pages: usize,
    release: Box<dyn Release>,
}

// SAFETY: plain memory that stays where it is until drop, and is used through raw pointers by atomic access only.
unsafe impl Send for Shared {}
// SAFETY: as above; `&Shared` gives out an address.
unsafe impl Sync for Shared {}

impl Shared {
    /// Takes over `pages` mapped pages at `base`, which `release` will unmap.
    pub(crate) fn new(base: NonNull<u8>, pages: usize, release: Box<dyn Release>) -> Self {
        Self { base, pages, release }
    }

    /// First byte: aligned to a page, mapped for as long as this lives.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes.
    #[allow(clippy::len_without_is_empty, reason = "there is always a page")]
    pub fn len(&self) -> usize {
        self.pages * PAGE
    }

    /// When this goes, for whatever reason, the byte at `offset` becomes zero, and `port` is notified where given: how the
    /// peer learns that we died.
    ///
    /// # Errors
    /// `offset` is outside, or what the kernel said.
    pub fn on_unmap(&mut self, offset: usize, port: Option<EventPort>) -> io::Result<()> {
        if offset >= self.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.release.on_unmap(offset, port)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.release.release(self.base, self.pages * PAGE);
    }
}
