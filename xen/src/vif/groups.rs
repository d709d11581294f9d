//! The groups that a guest wants to hear of, where it cares to say (`request-multicast-control`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Most groups of a guest, as in Linux's netback.
const MOST: usize = 64;

/// The groups of one interface: added and taken away by whichever queue the guest says it on, looked at by all.
#[derive(Debug)]
pub(super) struct Groups {
    /// Whether the guest wants them looked at.
    filters: AtomicBool,
    groups: [AtomicU64; MOST],
}

impl Groups {
    pub(super) fn new(filters: bool) -> Self {
        Self { filters: AtomicBool::new(filters), groups: [const { AtomicU64::new(0) }; MOST] }
    }

    fn find(&self, word: u64) -> Option<&AtomicU64> {
        self.groups.iter().find(|group| group.load(Relaxed) == word)
    }

    /// Whether there was room, or it was there already, and is a group at all.
    pub(super) fn add(&self, address: [u8; 6]) -> bool {
        let word = word(address);
        if address[0] & 1 == 0 {
            return false;
        }
        // Two queues may fill the same place at the same time: whoever comes second looks for another.
        self.find(word).is_some()
            || self.groups.iter().any(|group| group.compare_exchange(0, word, Relaxed, Relaxed).is_ok())
    }

    pub(super) fn remove(&self, address: [u8; 6]) -> bool {
        self.find(word(address)).map(|group| group.store(0, Relaxed)).is_some()
    }

    /// Whether the guest wants a frame that begins with these bytes.
    #[inline]
    pub(super) fn want(&self, head: &[u8]) -> bool {
        match head.first_chunk::<6>() {
            Some(address) if address[0] & 1 != 0 && *address != [0xff; 6] => {
                !self.filters.load(Relaxed) || self.find(word(*address)).is_some()
            }
            _ => true,
        }
    }
}

fn word(address: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = address;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_that_were_asked_for_pass() {
        let groups = Groups::new(true);
        let group = |n: u8| [1, 0, 0x5e, 0, 0, n];
        assert!(!groups.want(&group(1)));
        assert!(groups.want(&[0xff; 6]) && groups.want(&[2, 0, 0, 0, 0, 1]));
        assert!(groups.add(group(1)) && groups.add(group(1)));
        assert!(groups.want(&group(1)) && !groups.want(&group(2)));
        assert!(!groups.add([2, 0, 0, 0, 0, 1]), "that is a station");
        assert!((2..65).all(|n| groups.add(group(n))));
        assert!(!groups.add(group(65)), "more than 64");
        assert!(groups.remove(group(1)) && !groups.remove(group(1)));
        assert!(!groups.want(&group(1)));
        assert!(Groups::new(false).want(&group(1)));
    }
}
