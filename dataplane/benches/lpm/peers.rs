//! The crates for longest-prefix match, behind one question.

use ip_network::Ipv4Network;
use ip_network_table::IpNetworkTable;
use poptrie::Poptrie;
use prefix_trie::PrefixMap;

/// A table that answers for one address at a time.
pub trait Peer {
    fn name(&self) -> &'static str;
    /// The sum of what it answers.
    fn look_up(&self, destinations: &[u32]) -> u64;
}

/// `prefix-trie`: a tree bitmap.
pub struct PrefixTrie(PrefixMap<(u32, u8), u32>);
/// `ip_network_table`: a path-compressed binary trie.
pub struct NetworkTable(IpNetworkTable<u32>);
/// `poptrie`: Asai and Ohara, 2015.
pub struct PopTrie(Poptrie<(u32, u8), u32>);

/// All of them, with routes that lead to entries 1 to 64.
pub fn all(routes: &[(u32, u8)]) -> Vec<Box<dyn Peer>> {
    let mut numbered = routes.iter().enumerate().map(|(n, route)| (*route, n as u32 % 64 + 1));
    let mut map = PrefixMap::new();
    let mut table = IpNetworkTable::new();
    for ((network, length), next_hop) in numbered.clone() {
        map.insert((network, length), next_hop);
        if let Ok(network) = Ipv4Network::new(network.into(), length) {
            table.insert(network, next_hop);
        }
    }
    vec![Box::new(PrefixTrie(map)), Box::new(NetworkTable(table)), Box::new(PopTrie(numbered.by_ref().collect()))]
}

impl Peer for PrefixTrie {
    fn name(&self) -> &'static str {
        "prefix-trie"
    }

    fn look_up(&self, destinations: &[u32]) -> u64 {
        destinations.iter().filter_map(|a| self.0.get_lpm(&(*a, 32))).map(|(_, next_hop)| u64::from(*next_hop)).sum()
    }
}

impl Peer for NetworkTable {
    fn name(&self) -> &'static str {
        "ip_network_table"
    }

    fn look_up(&self, destinations: &[u32]) -> u64 {
        let one = |a: &u32| self.0.longest_match_ipv4((*a).into()).map(|(_, next_hop)| u64::from(*next_hop));
        destinations.iter().filter_map(one).sum()
    }
}

impl Peer for PopTrie {
    fn name(&self) -> &'static str {
        "poptrie"
    }

    fn look_up(&self, destinations: &[u32]) -> u64 {
        destinations.iter().filter_map(|a| self.0.lookup(*a)).map(|next_hop| u64::from(*next_hop)).sum()
    }
}
