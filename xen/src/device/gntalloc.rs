//! `/dev/xen/gntalloc`: pages of ours for others (`linux/gntalloc.h`). The module's `limit` is 1024 pages in all.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{call, map, number, on_unmap, unmap};
use crate::seam::{Access, Allocator, Release, Shared};
use crate::{DomId, EventPort, GrantRef, PAGE, XenError};

pub(super) const PATH: &str = "/dev/xen/gntalloc";

pub(super) const ALLOC: libc::c_ulong = number(b'G', 5, 24);
pub(super) const DEALLOC: libc::c_ulong = number(b'G', 6, 16);
pub(super) const NOTIFY: libc::c_ulong = number(b'G', 7, 16);

/// Most pages of one call.
const MOST: usize = 512;
const WRITABLE: u16 = 1;

/// `struct ioctl_gntalloc_alloc_gref`, with room for so many.
#[repr(C)]
struct AllocRequest {
    domain: u16,
    flags: u16,
    count: u32,
    index: u64,
    grants: [u32; MOST],
}

/// `struct ioctl_gntalloc_dealloc_gref`.
#[repr(C)]
struct DeallocRequest {
    index: u64,
    count: u32,
    pad: u32,
}

#[derive(Debug)]
pub(super) struct AllocDevice {
    file: Arc<File>,
}

impl AllocDevice {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self { file }
    }
}

impl Allocator for AllocDevice {
    fn share(&self, domain: DomId, pages: usize, access: Access) -> Result<(Shared, Vec<GrantRef>), XenError> {
        if pages == 0 || pages > MOST {
            return Err(XenError::io("granting pages")(io::ErrorKind::InvalidInput.into()));
        }
        let flags = if access == Access::Write { WRITABLE } else { 0 };
        let mut request = AllocRequest { domain: domain.0, flags, count: pages as u32, index: 0, grants: [0; MOST] };
        // SAFETY: the structure is the one that this call reads and writes, with room for `count` grants.
        unsafe { call(&self.file, ALLOC, &raw mut request) }.map_err(XenError::io("granting pages"))?;
        let grants = request.grants[..pages].iter().copied().map(GrantRef).collect();
        let mut release = Granted { file: Arc::clone(&self.file), index: request.index, count: request.count };
        // Our own side always writes, whatever the peer may.
        match map(&self.file, request.index, pages, true) {
            Ok(base) => Ok((Shared::new(base, pages, Box::new(release)), grants)),
            Err(e) => {
                release.forget();
                Err(XenError::io("mapping granted pages")(e))
            }
        }
    }
}

/// Granted pages, under an index. The kernel keeps them until the peer lets go.
#[derive(Debug)]
struct Granted {
    file: Arc<File>,
    index: u64,
    count: u32,
}

impl Granted {
    fn forget(&mut self) {
        let mut request = DeallocRequest { index: self.index, count: self.count, pad: 0 };
        // SAFETY: the structure is the one that this call reads.
        if let Err(e) = unsafe { call(&self.file, DEALLOC, &raw mut request) } {
            tracing::error!("{PATH}: {} pages at {:#x} cannot be given up: {e}", self.count, self.index);
        }
    }
}

impl Release for Granted {
    fn release(&mut self, base: NonNull<u8>, len: usize) {
        unmap(base, len);
        self.forget();
    }

    fn on_unmap(&mut self, offset: usize, port: Option<EventPort>) -> io::Result<()> {
        debug_assert!(offset < self.count as usize * PAGE);
        on_unmap(&self.file, NOTIFY, self.index + offset as u64, port)
    }
}
