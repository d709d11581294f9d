//! Hops between hosts for each virtual link, alone in what is free: the distances that a placement is judged by before
//! its paths are laid.
//!
//! A row of the adjacency matrix is a few words of bits, so that a breadth-first search is a few hundred words of `or`.
//! Rows are made when they are first asked for; memory is kept from request to request.

use super::demand::Demand;
use super::paths::NONE;
use super::problem::Substrate;
use super::residual::Residual;

/// Not reached.
pub(crate) const UNREACHED: u8 = u8::MAX;

/// Distances by virtual link and host.
#[derive(Default)]
pub(crate) struct Near {
    hosts: usize,
    words: usize,
    /// Neighbours over links that have the bandwidth: `words` of bits per virtual link and host.
    beside: Vec<u64>,
    /// Where the row of a virtual link and a host is, in rows; [`NONE`] when it was not asked for yet.
    at: Vec<u32>,
    rows: Vec<u8>,
    /// What the search has seen, its front, and the next one.
    front: [Vec<u64>; 3],
}

impl Near {
    /// Begins a request.
    pub fn begin(&mut self, substrate: &Substrate, residual: &Residual, demand: &Demand) {
        let (hosts, links) = (substrate.hosts(), demand.ends.len());
        self.hosts = hosts;
        self.words = hosts.div_ceil(64);
        self.beside.clear();
        self.beside.resize(links * hosts * self.words, 0);
        self.at.clear();
        self.at.resize(links * hosts, NONE);
        self.rows.clear();
        self.front.iter_mut().for_each(|words| words.resize(self.words, 0));
        for link in 0..links as u32 {
            let bandwidth = demand.bandwidth(link);
            let beside = &mut self.beside[link as usize * hosts * self.words..][..hosts * self.words];
            for (on, physical) in substrate.links().iter().enumerate() {
                if residual.link(on).iter().zip(bandwidth).all(|(free, asked)| free >= asked) {
                    let [a, b] = physical.ends.map(|end| end.at());
                    beside[a * self.words + b / 64] |= 1 << (b % 64);
                    beside[b * self.words + a / 64] |= 1 << (a % 64);
                }
            }
        }
    }

    /// Hops from `host` to every host for a virtual link; [`UNREACHED`] where there is no way, or one of 255 and more.
    pub fn row(&mut self, link: u32, host: u32) -> &[u8] {
        let key = link as usize * self.hosts + host as usize;
        if self.at[key] == NONE {
            self.at[key] = (self.rows.len() / self.hosts) as u32;
            self.measure(link as usize, host as usize);
        }
        &self.rows[self.at[key] as usize * self.hosts..][..self.hosts]
    }

    fn measure(&mut self, link: usize, host: usize) {
        let start = self.rows.len();
        self.rows.resize(start + self.hosts, UNREACHED);
        let row = &mut self.rows[start..];
        let beside = &self.beside[link * self.hosts * self.words..][..self.hosts * self.words];
        match self.words {
            1 => spread(row, beside, host, [&mut [0; 1], &mut [0; 1], &mut [0; 1]]),
            2 => spread(row, beside, host, [&mut [0; 2], &mut [0; 2], &mut [0; 2]]),
            _ => {
                let [seen, front, next] = &mut self.front;
                seen.fill(0);
                front.fill(0);
                spread(row, beside, host, [&mut seen[..], &mut front[..], &mut next[..]]);
            }
        }
    }
}

/// The search. Small networks come with arrays of a known size, for which this is compiled apart.
#[inline(always)]
fn spread<W: AsMut<[u64]> + ?Sized>(row: &mut [u8], beside: &[u64], host: usize, [seen, front, next]: [&mut W; 3]) {
    let (seen, mut front, mut next) = (seen.as_mut(), front.as_mut(), next.as_mut());
    let words = seen.len();
    seen[host / 64] |= 1 << (host % 64);
    front[host / 64] |= 1 << (host % 64);
    row[host] = 0;
    let mut left = row.len() - 1;
    for hops in 1..UNREACHED {
        next.fill(0);
        for_each(front, |at| {
            next.iter_mut().zip(&beside[at * words..][..words]).for_each(|(next, beside)| *next |= beside);
        });
        let mut new = 0;
        for (next, seen) in next.iter_mut().zip(seen.iter_mut()) {
            *next &= !*seen;
            *seen |= *next;
            new += next.count_ones() as usize;
        }
        for_each(next, |at| row[at] = hops);
        left -= new;
        // The last front is the widest, and has nowhere to go.
        if new == 0 || left == 0 {
            return;
        }
        std::mem::swap(&mut front, &mut next);
    }
}

/// The places of the bits that are set.
#[inline(always)]
fn for_each(words: &[u64], mut act: impl FnMut(usize)) {
    for (at, &word) in words.iter().enumerate() {
        let mut left = word;
        while left != 0 {
            act(at * 64 + left.trailing_zeros() as usize);
            left &= left - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::{Micros, RequestBuilder, SubstrateBuilder};

    /// A ring on which one link is too narrow: distances are those of a line.
    #[test]
    fn distances_on_rings_of_one_two_and_more_words() {
        for hosts in [3u32, 64, 65, 128, 300] {
            let mut ring = SubstrateBuilder::new(0);
            let all: Vec<_> = (0..hosts).map(|_| ring.host(&[]).unwrap()).collect();
            for at in 0..hosts as usize {
                let bandwidth = if at == 0 { 1 } else { 2 };
                ring.link(all[at], all[(at + 1) % all.len()], bandwidth, Micros(0)).unwrap();
            }
            let ring = ring.build();
            let mut request = RequestBuilder::new(0);
            let ends = [request.node(&[], None), request.node(&[], None)];
            request.link(ends, &[1], None);
            request.link(ends, &[2], None);
            let request = request.build().unwrap();
            let residual = Residual::whole(&ring, 1);
            let demand = Demand::new(&ring, &residual, &request);
            let mut near = Near::default();
            near.begin(&ring, &residual, &demand);
            for from in [0, 1, hosts / 2] {
                for to in 0..hosts {
                    let around = from.abs_diff(to).min(hosts - from.abs_diff(to));
                    // Without the link from 0 to 1 the line runs from 1 up to the last host, and then 0.
                    let place = |host: u32| if host == 0 { hosts } else { host };
                    let along = place(from).abs_diff(place(to));
                    let told = |hops: u32| u8::try_from(hops).unwrap_or(UNREACHED);
                    assert_eq!(near.row(0, from)[to as usize], told(around), "{hosts}: {from} to {to}");
                    assert_eq!(near.row(1, from)[to as usize], told(along), "{hosts}: {from} to {to}, wide");
                }
            }
        }
    }
}
