//! A simulated domain's own memory and what it grants of it.

use std::collections::BTreeSet;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::memory::{self, Mapped};
use super::protocol::Connection;
use super::table::{Domain, FIRST, GRANTS, TABLE_PAGES};
use crate::seam::{Access, Allocator, Release, Shared};
use crate::{DomId, EventPort, GrantRef, PAGE, XenError};

/// A domain's memory, from inside. The domain lives as long as this does, or its process.
#[derive(Debug)]
pub struct Memory {
    _life: Connection,
    domain: Domain,
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    grants: Vec<u32>,
    frames: BTreeSet<usize>,
}

impl Memory {
    pub(super) fn new(life: Connection, memory: Mapped, status: Mapped) -> Self {
        let grants = (FIRST..GRANTS).rev().collect();
        let frames = (TABLE_PAGES..memory.pages()).collect();
        Self { _life: life, domain: Domain { memory, status }, free: Mutex::new(Free { grants, frames }) }
    }

    /// The address of a page, if there is one of that number. Everything in it may be read by others while it is written.
    pub fn page(&self, frame: usize) -> Option<NonNull<u8>> {
        self.domain.memory.page(frame)
    }

    /// First page that is not the grant table's.
    pub const FIRST_FRAME: usize = TABLE_PAGES;

    /// Writes a grant table entry as it is told, sound or not: a kernel may do that to itself.
    pub fn permit(&self, grant: GrantRef, who: DomId, frame: u32, access: Access) {
        if grant.0 < GRANTS {
            self.domain.permit(grant, who, frame, access == Access::Read);
        }
    }

    /// The address of the page that a grant's entry names now.
    pub fn granted(&self, grant: GrantRef) -> Option<NonNull<u8>> {
        let frame = (grant.0 < GRANTS).then(|| self.domain.frame(grant))?;
        self.domain.memory.page(frame)
    }

    /// Takes a grant back. False while it is mapped; its entry then stays as it was.
    pub fn revoke(&self, grant: GrantRef) -> bool {
        grant.0 >= GRANTS || self.domain.revoke(grant)
    }

    /// The page behind a grant is not in memory, or is again.
    pub fn page_out(&self, grant: GrantRef, out: bool) {
        if grant.0 < GRANTS {
            self.domain.page_out(grant, out);
        }
    }

    /// How many have a grant's page mapped.
    pub fn pins(&self, grant: GrantRef) -> u32 {
        if grant.0 < GRANTS { self.domain.pins(grant) } else { 0 }
    }
}

/// Hands out pages of a domain's memory.
#[derive(Debug)]
pub(super) struct SimAllocator {
    pub(super) memory: Arc<Memory>,
}

impl Allocator for SimAllocator {
    fn share(&self, domain: DomId, pages: usize, access: Access) -> Result<(Shared, Vec<GrantRef>), XenError> {
        let failed = XenError::io("granting pages");
        let mut free = self.memory.free.lock().unwrap_or_else(PoisonError::into_inner);
        let first = free.frames.iter().copied().find(|first| (*first..first + pages).all(|f| free.frames.contains(&f)));
        let (Some(first), true) = (first, free.grants.len() >= pages && pages > 0) else {
            return Err(failed(io::Error::from_raw_os_error(libc::ENOSPC)));
        };
        let base = memory::map_pages(self.memory.domain.memory.fd(), first, pages, true, None).map_err(failed)?;
        // SAFETY: just mapped for this length; nobody else knows of these pages yet.
        unsafe { base.as_ptr().write_bytes(0, pages * PAGE) };
        let at = free.grants.len() - pages;
        let grants: Vec<GrantRef> = free.grants.drain(at..).map(GrantRef).collect();
        for (frame, grant) in (first..).zip(&grants) {
            free.frames.remove(&frame);
            self.memory.domain.permit(*grant, domain, frame as u32, access == Access::Read);
        }
        let release = Granted { memory: Arc::clone(&self.memory), first, grants: grants.clone(), cleared: Vec::new() };
        Ok((Shared::new(base, pages, Box::new(release)), grants))
    }
}

/// Pages that were granted.
#[derive(Debug)]
struct Granted {
    memory: Arc<Memory>,
    first: usize,
    grants: Vec<GrantRef>,
    /// Bytes that become zero when it goes.
    cleared: Vec<usize>,
}

impl Release for Granted {
    fn release(&mut self, base: NonNull<u8>, len: usize) {
        for at in self.cleared.drain(..) {
            // SAFETY: within the mapping, as `on_unmap` saw to; others may look at it meanwhile.
            unsafe { AtomicU8::from_ptr(base.as_ptr().add(at)) }.store(0, Relaxed);
        }
        memory::unmap(base, len);
        let mut free = self.memory.free.lock().unwrap_or_else(PoisonError::into_inner);
        for (frame, grant) in (self.first..).zip(self.grants.drain(..)) {
            // What is mapped still is lost to us, as it is to a kernel: it must not come into other hands.
            if self.memory.domain.revoke(grant) {
                free.frames.insert(frame);
                free.grants.push(grant.0);
            }
        }
    }

    /// A domain is one process here, so that its pages go by this drop or with the whole domain.
    fn on_unmap(&mut self, offset: usize, port: Option<EventPort>) -> io::Result<()> {
        if port.is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        debug_assert!(offset < self.grants.len() * PAGE);
        self.cleared.push(offset);
        Ok(())
    }
}
