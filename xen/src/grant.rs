//! Grant copies: what moves payload between domains without mapping it.
//!
//! A [`CopyOp`] is the kernel's `struct gntdev_grant_copy_segment` to the bit, so that a burst of them goes to the ioctl
//! as it lies. Each end is either local memory or a place in a page that another domain granted.

use std::fmt;

use crate::{DomId, GrantRef, PAGE};

const SOURCE_GREF: u16 = 1;
const DEST_GREF: u16 = 2;

/// One end of a copy: a local address, or `{ref u32, offset u16, domid u16}`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
struct End(u64);

impl End {
    fn local(at: *const u8) -> Self {
        Self(at.expose_provenance() as u64)
    }

    fn foreign(domain: DomId, grant: GrantRef, offset: u16) -> Self {
        Self(u64::from(grant.0) | u64::from(offset) << 32 | u64::from(domain.0) << 48)
    }
}

/// One copy of at most a page (`linux/gntdev.h`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CopyOp {
    source: End,
    dest: End,
    len: u16,
    flags: u16,
    status: i16,
    pad: u16,
}

const _: () = assert!(size_of::<CopyOp>() == 24);

/// Where an end of a copy lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In our own memory.
    Local(*mut u8),
    /// In a page that a domain granted.
    Foreign {
        /// Whose page.
        domain: DomId,
        /// Which.
        grant: GrantRef,
        /// First byte in it.
        offset: u16,
    },
}

impl CopyOp {
    /// Out of a granted page into local memory.
    ///
    /// # Safety
    /// `to` is writable for `len` bytes, by nobody else, until the copy was made or the value is gone.
    pub unsafe fn from_grant(domain: DomId, grant: GrantRef, offset: u16, to: *mut u8, len: u16) -> Self {
        Self::new(End::foreign(domain, grant, offset), End::local(to), len, SOURCE_GREF)
    }

    /// Out of local memory into a granted page.
    ///
    /// # Safety
    /// `from` is readable for `len` bytes until the copy was made or the value is gone.
    pub unsafe fn to_grant(from: *const u8, domain: DomId, grant: GrantRef, offset: u16, len: u16) -> Self {
        Self::new(End::local(from), End::foreign(domain, grant, offset), len, DEST_GREF)
    }

    /// From one granted page to another: the bytes never come here.
    pub fn between(from: (DomId, GrantRef, u16), to: (DomId, GrantRef, u16), len: u16) -> Self {
        let end = |(domain, grant, offset)| End::foreign(domain, grant, offset);
        Self::new(end(from), end(to), len, SOURCE_GREF | DEST_GREF)
    }

    fn new(source: End, dest: End, len: u16, flags: u16) -> Self {
        Self { source, dest, len, flags, status: GrantStatus::GENERAL_ERROR.0, pad: 0 }
    }

    /// Where it copies from.
    pub fn source(&self) -> Place {
        place(self.source, self.flags & SOURCE_GREF != 0)
    }

    /// Where it copies to.
    pub fn dest(&self) -> Place {
        place(self.dest, self.flags & DEST_GREF != 0)
    }

    /// Bytes.
    #[allow(clippy::len_without_is_empty, reason = "a copy of nothing has no meaning")]
    pub fn len(&self) -> u16 {
        self.len
    }

    /// What became of it; valid once the call returned `Ok`.
    pub fn status(&self) -> GrantStatus {
        GrantStatus(self.status)
    }

    pub(crate) fn set_status(&mut self, status: GrantStatus) {
        self.status = status.0;
    }

    /// Whether a foreign end leaves its page, for which the kernel refuses the whole call.
    pub fn crosses_a_page(&self) -> bool {
        [self.source(), self.dest()].iter().any(|place| match place {
            Place::Local(_) => false,
            Place::Foreign { offset, .. } => usize::from(*offset) + usize::from(self.len) > PAGE,
        })
    }
}

fn place(end: End, foreign: bool) -> Place {
    if foreign {
        Place::Foreign {
            domain: DomId((end.0 >> 48) as u16),
            grant: GrantRef(end.0 as u32),
            offset: (end.0 >> 32) as u16,
        }
    } else {
        Place::Local(std::ptr::with_exposed_provenance_mut(end.0 as usize))
    }
}

impl fmt::Debug for CopyOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, dest, status) = (self.source(), self.dest(), self.status());
        write!(f, "{} bytes from {source:?} to {dest:?}: {status}", self.len)
    }
}

/// What Xen says about a grant operation (`GNTST_*`, `public/grant_table.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantStatus(pub i16);

#[allow(missing_docs, reason = "the names are the header's")]
impl GrantStatus {
    pub const OKAY: Self = Self(0);
    pub const GENERAL_ERROR: Self = Self(-1);
    pub const BAD_DOMAIN: Self = Self(-2);
    pub const BAD_GREF: Self = Self(-3);
    pub const BAD_HANDLE: Self = Self(-4);
    pub const BAD_VIRT_ADDR: Self = Self(-5);
    pub const PERMISSION_DENIED: Self = Self(-8);
    pub const BAD_PAGE: Self = Self(-9);
    pub const BAD_COPY_ARG: Self = Self(-10);
    pub const EAGAIN: Self = Self(-12);
}

impl fmt::Display for GrantStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::OKAY => "done",
            Self::GENERAL_ERROR => "not granted to us, or only for reading",
            Self::BAD_DOMAIN => "no such domain",
            Self::BAD_GREF => "no such grant",
            Self::BAD_HANDLE => "no such mapping",
            Self::BAD_VIRT_ADDR => "no such address",
            Self::PERMISSION_DENIED => "permission denied",
            Self::BAD_PAGE => "no page behind the grant",
            Self::BAD_COPY_ARG => "the copy leaves its page",
            Self::EAGAIN => "the page is not in memory now",
            Self(other) => return write!(f, "grant status {other}"),
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_laid_out_as_the_kernel_reads_it() {
        let mut local = [0u8; 8];
        // SAFETY: the copy is never made.
        let op =
            unsafe { CopyOp::from_grant(DomId(0x0102), GrantRef(0x0304_0506), 0x0708, local.as_mut_ptr(), 0x090a) };
        // SAFETY: plain integers without padding.
        let bytes: [u8; 24] = unsafe { std::mem::transmute(op) };
        assert_eq!(bytes[..8], [6, 5, 4, 3, 8, 7, 2, 1]);
        assert_eq!(bytes[8..16], (local.as_ptr().addr() as u64).to_le_bytes());
        assert_eq!(bytes[16..20], [0x0a, 9, 1, 0]);
        assert_eq!(op.source(), Place::Foreign { domain: DomId(0x0102), grant: GrantRef(0x0304_0506), offset: 0x0708 });
        assert_eq!(op.dest(), Place::Local(local.as_mut_ptr()));
    }

    #[test]
    fn leaving_a_page_is_found_for_foreign_ends_only() {
        let local = std::ptr::null_mut();
        // SAFETY: none of these copies is made.
        let out = |offset, len| unsafe { CopyOp::from_grant(DomId(1), GrantRef(8), offset, local, len) };
        assert!(!out(0, 4096).crosses_a_page());
        assert!(!out(4095, 1).crosses_a_page());
        assert!(out(4095, 2).crosses_a_page());
        assert!(out(u16::MAX, u16::MAX).crosses_a_page());
        let between = CopyOp::between((DomId(1), GrantRef(8), 0), (DomId(2), GrantRef(8), 4000), 97);
        assert!(between.crosses_a_page());
    }
}
