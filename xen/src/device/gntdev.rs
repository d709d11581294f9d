//! `/dev/xen/gntdev`: other domains' pages (`linux/gntdev.h`).

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{Indexed, call, map, number};
use crate::seam::{Access, Grants, Shared};
use crate::{CopyOp, DomId, GrantRef, GrantStatus, XenError};

pub(super) const PATH: &str = "/dev/xen/gntdev";

pub(super) const MAP: libc::c_ulong = number(b'G', 0, 24);
pub(super) const UNMAP: libc::c_ulong = number(b'G', 1, 16);
pub(super) const NOTIFY: libc::c_ulong = number(b'G', 7, 16);
pub(super) const COPY: libc::c_ulong = number(b'G', 8, 16);

/// Most pages of one mapping: two rings have one each.
const MOST: usize = 64;

/// `struct ioctl_gntdev_map_grant_ref`, with room for so many.
#[repr(C)]
struct MapRequest {
    count: u32,
    pad: u32,
    index: u64,
    refs: [[u32; 2]; MOST],
}

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
        let mut request = MapRequest { count: grants.len() as u32, pad: 0, index: 0, refs: [[0; 2]; MOST] };
        if grants.is_empty() || grants.len() > MOST {
            return Err(XenError::io("mapping grants")(io::ErrorKind::InvalidInput.into()));
        }
        for (entry, grant) in request.refs.iter_mut().zip(grants) {
            *entry = [domain.0.into(), grant.0];
        }
        // SAFETY: the structure is the one that this call reads and writes, with `count` entries filled.
        unsafe { call(&self.file, MAP, &raw mut request) }.map_err(XenError::io("registering grants to be mapped"))?;
        let mut release = Indexed {
            file: Arc::clone(&self.file),
            path: PATH,
            calls: [UNMAP, NOTIFY],
            index: request.index,
            count: request.count,
        };
        match map(&self.file, request.index, grants.len(), access == Access::Write) {
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
