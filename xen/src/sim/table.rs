//! A simulated domain's grant table, in its own memory, where it writes as it likes (version 1, `public/grant_table.h`).
//!
//! An entry is two words: flags and the domain that may use it in one, the page's number in the other. Whoever uses an
//! entry looks at it as Xen does, at the time of use. What is mapped is *pinned* in memory that only the hypervisor writes.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::memory::Mapped;
use crate::{DomId, GrantRef, GrantStatus};

/// Pages of a domain's memory that are its grant table.
pub(super) const TABLE_PAGES: usize = 8;
/// Entries in it.
pub(super) const GRANTS: u32 = (TABLE_PAGES * crate::PAGE / 8) as u32;
/// Entries below are never handed out (`GNTTAB_NR_RESERVED_ENTRIES`).
pub(super) const FIRST: u32 = 8;

const PERMIT_ACCESS: u32 = 1;
const TYPE_MASK: u32 = 3;
const READONLY: u32 = 4;
/// The simulation's own: the page behind is not in memory now, as with a paged or ballooned guest.
const PAGED_OUT: u32 = 1 << 15;

/// What the hypervisor keeps of a domain, in memory that the domain may only read: whether it lives, then a pin count for
/// each grant.
pub(super) fn create_status() -> std::io::Result<Mapped> {
    let status = Mapped::create((4 * (1 + GRANTS as usize)).div_ceil(crate::PAGE))?;
    status.word(0).store(1, Relaxed);
    Ok(status)
}

/// A domain's memory, and what the hypervisor says of it.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) memory: Mapped,
    pub(super) status: Mapped,
}

impl Domain {
    pub(super) fn is_alive(&self) -> bool {
        self.status.word(0).load(Acquire) != 0
    }

    /// Hypervisor only.
    pub(super) fn die(&self) {
        self.status.word(0).store(0, Release);
    }

    /// Hypervisor only: one mapping more, or less.
    pub(super) fn pin(&self, grant: GrantRef, by: i32) {
        self.status.word(1 + grant.0 as usize).fetch_add(by as u32, AcqRel);
    }

    pub(super) fn pins(&self, grant: GrantRef) -> u32 {
        self.status.word(1 + grant.0 as usize).load(Acquire)
    }

    /// The page that `who` may use through `grant`.
    pub(super) fn look_up(&self, grant: GrantRef, who: DomId, write: bool) -> Result<usize, GrantStatus> {
        if !self.is_alive() {
            return Err(GrantStatus::BAD_DOMAIN);
        }
        if grant.0 >= GRANTS {
            return Err(GrantStatus::BAD_GREF);
        }
        let flags = self.memory.word(grant.0 as usize * 2).load(Acquire);
        let frame = self.memory.word(grant.0 as usize * 2 + 1).load(Relaxed) as usize;
        let permitted = flags & TYPE_MASK == PERMIT_ACCESS && flags >> 16 == u32::from(who.0);
        if !permitted || write && flags & READONLY != 0 {
            return Err(GrantStatus::GENERAL_ERROR);
        }
        if flags & PAGED_OUT != 0 {
            return Err(GrantStatus::EAGAIN);
        }
        if frame < TABLE_PAGES || frame >= self.memory.pages() {
            return Err(GrantStatus::BAD_PAGE);
        }
        Ok(frame)
    }

    /// The page that an entry names.
    pub(super) fn frame(&self, grant: GrantRef) -> usize {
        self.memory.word(grant.0 as usize * 2 + 1).load(Relaxed) as usize
    }

    /// Domain only: fills an entry.
    pub(super) fn permit(&self, grant: GrantRef, who: DomId, frame: u32, readonly: bool) {
        self.memory.word(grant.0 as usize * 2 + 1).store(frame, Relaxed);
        let flags = PERMIT_ACCESS | if readonly { READONLY } else { 0 } | u32::from(who.0) << 16;
        self.memory.word(grant.0 as usize * 2).store(flags, Release);
    }

    /// Domain only: the page behind an entry goes to disk, or comes back.
    pub(super) fn page_out(&self, grant: GrantRef, out: bool) {
        let word = self.memory.word(grant.0 as usize * 2);
        if out {
            word.fetch_or(PAGED_OUT, AcqRel);
        } else {
            word.fetch_and(!PAGED_OUT, AcqRel);
        }
    }

    /// Domain only: takes an entry back. False, and nothing done, while it is mapped.
    pub(super) fn revoke(&self, grant: GrantRef) -> bool {
        let word = self.memory.word(grant.0 as usize * 2);
        let flags = word.swap(0, AcqRel);
        // Looked at after the entry is void: who pins later finds it so.
        if self.pins(grant) == 0 {
            return true;
        }
        word.store(flags, Release);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_judged_as_xen_judges_them() {
        let domain = Domain { memory: Mapped::create(TABLE_PAGES + 4).unwrap(), status: create_status().unwrap() };
        let (me, other) = (DomId(0), DomId(7));
        let (plain, readonly) = (GrantRef(8), GrantRef(9));
        domain.permit(plain, me, 9, false);
        domain.permit(readonly, me, 10, true);
        assert_eq!(domain.look_up(plain, me, true), Ok(9));
        assert_eq!(domain.look_up(plain, other, false), Err(GrantStatus::GENERAL_ERROR));
        assert_eq!(domain.look_up(readonly, me, false), Ok(10));
        assert_eq!(domain.look_up(readonly, me, true), Err(GrantStatus::GENERAL_ERROR));
        assert_eq!(domain.look_up(GrantRef(11), me, false), Err(GrantStatus::GENERAL_ERROR));
        assert_eq!(domain.look_up(GrantRef(GRANTS), me, false), Err(GrantStatus::BAD_GREF));
        domain.page_out(plain, true);
        assert_eq!(domain.look_up(plain, me, false), Err(GrantStatus::EAGAIN));
        domain.page_out(plain, false);
        for frame in [0, TABLE_PAGES as u32 - 1, TABLE_PAGES as u32 + 4, u32::MAX] {
            domain.permit(plain, me, frame, false);
            assert_eq!(domain.look_up(plain, me, false), Err(GrantStatus::BAD_PAGE), "frame {frame}");
        }
        domain.pin(readonly, 1);
        assert!(!domain.revoke(readonly));
        assert_eq!(domain.look_up(readonly, me, false), Ok(10), "a refused revocation changes nothing");
        domain.pin(readonly, -1);
        assert!(domain.revoke(readonly));
        domain.die();
        assert_eq!(domain.look_up(plain, me, false), Err(GrantStatus::BAD_DOMAIN));
    }
}
