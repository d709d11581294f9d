//! The prefixes of a VRF with their candidates: one trie a family behind one kind of prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prefix_trie::PrefixMap;

use super::Rib;
use super::candidates::Candidates;
use crate::fib::NextHopId;
use crate::prefix::Prefix;

/// The prefixes of one family, by their bits and length.
pub(super) type Tree<R> = PrefixMap<(R, u8), Candidates>;

/// As a type of its own, because the map shows nothing of itself.
pub(super) struct Trie<R>(Tree<R>);

impl<R> Default for Trie<R> {
    fn default() -> Self {
        Self(Tree::default())
    }
}

impl<R> std::fmt::Debug for Trie<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trie")
    }
}

impl Trie<u32> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.mem_size()
    }
}

impl Trie<u128> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.mem_size()
    }
}

fn v4((bits, length): (u32, u8)) -> Option<Prefix> {
    Prefix::of(Ipv4Addr::from_bits(bits).into(), length)
}

fn v6((bits, length): (u128, u8)) -> Option<Prefix> {
    Prefix::of(Ipv6Addr::from_bits(bits).into(), length)
}

/// The longest prefix of at most `length` bits that `address` is in, and what it does.
pub(super) fn longest(tries: (&Trie<u32>, &Trie<u128>), address: IpAddr, length: u8) -> Option<(Prefix, NextHopId)> {
    let (prefix, all) = match address {
        IpAddr::V4(key) => {
            let (prefix, all) = tries.0.0.get_lpm(&(key.to_bits(), length))?;
            (v4(prefix)?, all)
        }
        IpAddr::V6(key) => {
            let (prefix, all) = tries.1.0.get_lpm(&(key.to_bits(), length))?;
            (v6(prefix)?, all)
        }
    };
    Some((prefix, all.chosen().set))
}

impl Rib {
    pub(super) fn candidates(&self, prefix: Prefix) -> Option<&Candidates> {
        match prefix.network() {
            IpAddr::V4(key) => self.v4.0.get(&(key.to_bits(), prefix.length())),
            IpAddr::V6(key) => self.v6.0.get(&(key.to_bits(), prefix.length())),
        }
    }

    pub(super) fn edit(&mut self, prefix: Prefix, change: impl FnOnce(&mut Candidates)) {
        let all = match prefix.network() {
            IpAddr::V4(key) => self.v4.0.get_mut(&(key.to_bits(), prefix.length())),
            IpAddr::V6(key) => self.v6.0.get_mut(&(key.to_bits(), prefix.length())),
        };
        if let Some(all) = all {
            change(all);
        }
    }

    pub(super) fn insert(&mut self, prefix: Prefix, all: Candidates) {
        match prefix.network() {
            IpAddr::V4(key) => self.v4.0.insert((key.to_bits(), prefix.length()), all),
            IpAddr::V6(key) => self.v6.0.insert((key.to_bits(), prefix.length()), all),
        };
    }

    pub(super) fn remove(&mut self, prefix: Prefix) -> Option<Candidates> {
        match prefix.network() {
            IpAddr::V4(key) => self.v4.0.remove(&(key.to_bits(), prefix.length())),
            IpAddr::V6(key) => self.v6.0.remove(&(key.to_bits(), prefix.length())),
        }
    }

    /// See [`longest`].
    pub(super) fn longest(&self, address: IpAddr, length: u8) -> Option<(Prefix, NextHopId)> {
        longest((&self.v4, &self.v6), address, length)
    }

    /// All prefixes with their candidates, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (Prefix, &Candidates)> {
        let v4 = self.v4.0.iter().filter_map(|(prefix, all)| Some((v4(prefix)?, all)));
        v4.chain(self.v6.0.iter().filter_map(|(prefix, all)| Some((v6(prefix)?, all))))
    }

    /// The prefixes whose candidates are so.
    pub(super) fn prefixes(&self, which: impl Fn(&Candidates) -> bool) -> Vec<Prefix> {
        self.all().filter(|(_, all)| which(all)).map(|(prefix, _)| prefix).collect()
    }
}
