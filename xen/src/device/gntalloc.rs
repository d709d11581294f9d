//! `/dev/xen/gntalloc`: pages of ours for others (`linux/gntalloc.h`). The module's `limit` is 1024 pages in all.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{Indexed, call, map, number};
use crate::seam::{Access, Allocator, Shared};
use crate::{DomId, GrantRef, XenError};

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
        let mut release = Indexed {
            file: Arc::clone(&self.file),
            path: PATH,
            calls: [DEALLOC, NOTIFY],
            index: request.index,
            count: request.count,
        };
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
