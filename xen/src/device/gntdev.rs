//! `/dev/xen/gntdev`: other domains' pages (`linux/gntdev.h`).

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{Indexed, call, index_of, map, number};
use crate::seam::{Access, Grants, Shared};
use crate::{CopyOp, DomId, GrantRef, GrantStatus, XenError};

pub(super) const PATH: &str = "/dev/xen/gntdev";

pub(super) const MAP: libc::c_ulong = number(b'G', 0, 24);
pub(super) const UNMAP: libc::c_ulong = number(b'G', 1, 16);
pub(super) const NOTIFY: libc::c_ulong = number(b'G', 7, 16);
pub(super) const COPY: libc::c_ulong = number(b'G', 8, 16);

/// Most pages of one mapping, as the kernel has it by default (parameter `limit`).
const MOST: usize = 64 * 1024;

/// `struct ioctl_gntdev_grant_copy`.
#[repr(C)]
struct CopyRequest {
    count: u32,
    segments: *mut CopyOp,
}

#[derive(Debug)]
pub(super) struct GrantDevice {
    file: Arc<File>,
}

impl GrantDevice {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self { file }
    }
}

impl Grants for GrantDevice {
    fn map(&self, domain: DomId, grants: &[GrantRef], access: Access) -> Result<Shared, XenError> {
        if grants.is_empty() || grants.len() > MOST {
            return Err(XenError::io("mapping grants")(io::ErrorKind::InvalidInput.into()));
        }
        // `struct ioctl_gntdev_map_grant_ref`: count and padding, an index of 64 bits, then who and which for each.
        let count = grants.len() as u32;
        let mut request = vec![[count, 0], [0, 0]];
        request.extend(grants.iter().map(|grant| [u32::from(domain.0), grant.0]));
        // SAFETY: the structure is the one that this call reads and writes, with `count` entries filled.
        unsafe { call(&self.file, MAP, request.as_mut_ptr()) }
            .map_err(XenError::io("registering grants to be mapped"))?;
        let index = index_of(request[1]);
        let mut release = Indexed { file: Arc::clone(&self.file), path: PATH, calls: [UNMAP, NOTIFY], index, count };
        match map(&self.file, index, grants.len(), access == Access::Write) {
            Ok(base) => Ok(Shared::new(base, grants.len(), Box::new(release))),
            Err(e) => {
                release.forget();
                // The kernel does not say which, nor why; for one page there is no doubt about the first.
                match e.raw_os_error() {
                    Some(libc::EINVAL) => {
                        Err(XenError::Map { domain, grant: grants[0], status: GrantStatus::GENERAL_ERROR })
                    }
                    _ => Err(XenError::io("mapping grants")(e)),
                }
            }
        }
    }

    fn copy(&mut self, ops: &mut [CopyOp]) -> io::Result<()> {
        let mut request = CopyRequest { count: ops.len() as u32, segments: ops.as_mut_ptr() };
        // SAFETY: the structure is the one that this call reads; each op is good by the word of whoever made it.
        unsafe { call(&self.file, COPY, &raw mut request) }.map(drop)
    }
}
