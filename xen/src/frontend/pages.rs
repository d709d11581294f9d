//! A guest's pages that it lets the backend read and write.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::{Access, Allocator, DomId, GrantRef, PAGE, Shared, XenError};

/// Pages with a grant each, by number.
#[derive(Debug)]
pub struct Pages {
    shared: Shared,
    grants: Vec<GrantRef>,
    free: VecDeque<u16>,
}

impl Pages {
    /// Grants `count` pages to `peer`.
    ///
    /// # Errors
    /// No pages or grants left.
    pub fn new(allocator: &dyn Allocator, peer: DomId, count: u16, access: Access) -> Result<Self, XenError> {
        let (shared, grants) = allocator.share(peer, count.into(), access)?;
        Ok(Self { shared, grants, free: (0..count).collect() })
    }

    /// A page that is in no use.
    pub fn take(&mut self) -> Option<u16> {
        self.free.pop_front()
    }

    /// It is in no use any more.
    pub fn give_back(&mut self, page: u16) {
        self.free.push_back(page);
    }

    /// Pages in no use.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The grant of a page.
    pub fn grant(&self, page: u16) -> GrantRef {
        self.grants[usize::from(page)]
    }

    fn bytes(&self, page: u16, offset: usize, len: usize) -> &[AtomicU8] {
        let at = usize::from(page) * PAGE + offset;
        assert!(at + len <= self.shared.len(), "{len} bytes at {offset} of page {page} are not there");
        // SAFETY: within the shared pages, as just asserted; the peer's accesses are not this process's.
        unsafe { std::slice::from_raw_parts(self.shared.base().as_ptr().add(at).cast::<AtomicU8>(), len) }
    }

    /// Writes into a page.
    pub fn write(&self, page: u16, offset: usize, data: &[u8]) {
        for (to, from) in self.bytes(page, offset, data.len()).iter().zip(data) {
            to.store(*from, Relaxed);
        }
    }

    /// Reads from a page.
    pub fn read(&self, page: u16, offset: usize, len: usize) -> Vec<u8> {
        self.bytes(page, offset, len).iter().map(|byte| byte.load(Relaxed)).collect()
    }
}
