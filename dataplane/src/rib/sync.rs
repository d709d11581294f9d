//! Owners that begin anew: a daemon that restarted says all of its routes again, and those that it no longer has must go,
//! while what it still has forwards throughout. So routes are marked with the round in which they were said last, and
//! swept at its end.

use std::collections::HashMap;

use super::Rib;
use super::route::{GroupId, Origin};
use crate::prefix::Prefix;

/// The round that each owner is in.
#[derive(Debug, Default)]
pub(super) struct Syncs(HashMap<Origin, u16>);

impl Syncs {
    /// What is said now is marked with this.
    pub(super) fn mark(&self, origin: Origin) -> u16 {
        self.0.get(&origin).copied().unwrap_or_default()
    }

    fn begin(&mut self, origin: Origin) {
        let round = self.0.entry(origin).or_default();
        // Comes around after 65,536 rounds of which none ended.
        *round = round.wrapping_add(1);
    }
}

impl Rib {
    /// The owner says from here on again what it wants; what it said before stays until [`end_sync`](Self::end_sync).
    pub fn begin_sync(&mut self, origin: Origin) {
        self.syncs.begin(origin);
    }

    /// The owner has said all it wants: what it did not say since [`begin_sync`](Self::begin_sync) goes, groups with the
    /// routes that name them. How many routes went.
    pub fn end_sync(&mut self, origin: Origin) -> usize {
        let mark = self.syncs.mark(origin);
        let before = self.routes;
        let stale: Vec<Prefix> =
            self.prefixes(|all| all.iter().any(|candidate| candidate.origin == origin && candidate.mark != mark));
        for prefix in stale {
            self.take_out(prefix, |candidate| candidate.origin == origin && candidate.mark != mark);
        }
        let stale = self.groups.iter().filter(|((owner, _), group)| *owner == origin && group.mark != mark);
        let stale: Vec<GroupId> = stale.map(|((_, group), _)| *group).collect();
        for group in stale {
            // It is there: it was just seen.
            let _ = self.delete_group(origin, group);
        }
        before - self.routes
    }
}
