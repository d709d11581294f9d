//! The shortest simple paths between two hosts, in the topology alone (Yen 1971, with hops for lengths).
//!
//! The published baselines look for a virtual link's path among the first few of these, whatever is free: what has no
//! room there is refused, even if a longer way round has it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::embed::{HostId, LinkId, Substrate};

/// Hosts and the links between them.
pub(crate) type Path = (Vec<HostId>, Vec<LinkId>);

/// The `most` shortest simple paths from `from` to `to`, the shortest first.
pub(crate) fn shortest(substrate: &Substrate, from: HostId, to: HostId, most: usize) -> Vec<Path> {
    let mut found: Vec<Path> = Vec::new();
    // By length, then by age; and those that were ever in it, as different detours meet in the same path.
    let mut waiting: BinaryHeap<Reverse<(usize, usize, Path)>> = BinaryHeap::new();
    let mut known: Vec<Vec<LinkId>> = Vec::new();
    if let Some(path) = around(substrate, from, to, &[], &[]) {
        known.push(path.1.clone());
        waiting.push(Reverse((path.1.len(), 0, path)));
    }
    while found.len() < most {
        let Some(Reverse((_, _, path))) = waiting.pop() else { break };
        for at in 0..path.1.len() {
            let (hosts, links) = (&path.0[..at], &path.1[..at]);
            let same = found.iter().chain([&path]).filter(|other| other.1.len() > at && other.1[..at] == *links);
            let closed: Vec<LinkId> = same.map(|other| other.1[at]).collect();
            let Some((more_hosts, more_links)) = around(substrate, path.0[at], to, hosts, &closed) else { continue };
            let detour: Path = ([hosts, &more_hosts].concat(), [links, &more_links].concat());
            if !known.contains(&detour.1) {
                known.push(detour.1.clone());
                waiting.push(Reverse((detour.1.len(), known.len(), detour)));
            }
        }
        found.push(path);
    }
    found
}

/// The shortest path that avoids some hosts and links.
fn around(substrate: &Substrate, from: HostId, to: HostId, hosts: &[HostId], links: &[LinkId]) -> Option<Path> {
    let mut before: Vec<Option<(HostId, LinkId)>> = vec![None; substrate.hosts()];
    let mut queue = VecDeque::from([from]);
    while let Some(host) = queue.pop_front() {
        if host == to {
            let (mut along, mut on, mut at) = (vec![to], Vec::new(), to);
            while at != from {
                let (previous, link) = before[at.0 as usize]?;
                on.push(link);
                along.push(previous);
                at = previous;
            }
            along.reverse();
            on.reverse();
            return Some((along, on));
        }
        for (neighbour, link) in substrate.neighbours(host) {
            let new = neighbour != from && before[neighbour.0 as usize].is_none();
            if new && !hosts.contains(&neighbour) && !links.contains(&link) {
                before[neighbour.0 as usize] = Some((host, link));
                queue.push_back(neighbour);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::{Micros, SubstrateBuilder};

    #[test]
    fn all_simple_paths_of_a_square_with_a_diagonal() {
        let mut square = SubstrateBuilder::new(0);
        let corners: Vec<HostId> = (0..4).map(|_| square.host(&[]).unwrap()).collect();
        for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)] {
            square.link(corners[a], corners[b], 1, Micros(0)).unwrap();
        }
        let square = square.build();
        let hosts = |most| -> Vec<Vec<u32>> {
            let paths = shortest(&square, corners[1], corners[3], most);
            paths.iter().map(|(hosts, _)| hosts.iter().map(|host| host.0).collect()).collect()
        };
        let mut all = hosts(10);
        assert!(all.is_sorted_by_key(Vec::len));
        assert_eq!(hosts(3), all[..3]);
        all.sort();
        assert_eq!(all, [vec![1, 0, 2, 3], vec![1, 0, 3], vec![1, 2, 0, 3], vec![1, 2, 3]]);
    }
}
