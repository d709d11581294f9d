//! `/dev/xen/gntalloc`: pages of ours for others (`linux/gntalloc.h`). The module's `limit` is 1024 pages in all.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{Indexed, call, index_of, map, number};
use crate::seam::{Access, Allocator, Shared};
use crate::{DomId, GrantRef, XenError};

pub(super) const PATH: &str = "/dev/xen/gntalloc";

pub(super) const ALLOC: libc::c_ulong = number(b'G', 5, 24);
pub(super) const DEALLOC: libc::c_ulong = number(b'G', 6, 16);
pub(super) const NOTIFY: libc::c_ulong = number(b'G', 7, 16);

/// Most pages of one call: more than any `limit` that makes sense.
const MOST: usize = 64 * 1024;
const WRITABLE: u16 = 1;

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
        // `struct ioctl_gntalloc_alloc_gref`: domain and flags of 16 bits, a count, an index of 64 bits, the grants.
        let ([d0, d1], [f0, f1]) = (domain.0.to_ne_bytes(), flags.to_ne_bytes());
        let count = pages as u32;
        let mut request = vec![0; 4 + pages];
        request[..2].copy_from_slice(&[u32::from_ne_bytes([d0, d1, f0, f1]), count]);
        let granting = "granting pages (there are as many as the parameter limit of the module xen-gntalloc says)";
        // SAFETY: the structure is the one that this call reads and writes, with room for `count` grants.
        unsafe { call(&self.file, ALLOC, request.as_mut_ptr()) }.map_err(XenError::io(granting))?;
        let index = index_of([request[2], request[3]]);
        let grants = request[4..].iter().copied().map(GrantRef).collect();
        let mut release = Indexed { file: Arc::clone(&self.file), path: PATH, calls: [DEALLOC, NOTIFY], index, count };
        // Our own side always writes, whatever the peer may.
        match map(&self.file, index, pages, true) {
            Ok(base) => Ok((Shared::new(base, pages, Box::new(release)), grants)),
            Err(e) => {
                release.forget();
                Err(XenError::io("mapping granted pages")(e))
            }
        }
    }
}
