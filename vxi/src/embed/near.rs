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
    for hops in 1..UNREACHED {
        next.fill(0);
        for_each(front, |at| {
            next.iter_mut().zip(&beside[at * words..][..words]).for_each(|(next, beside)| *next |= beside);
        });
        let mut any = 0;
        for (next, seen) in next.iter_mut().zip(seen.iter_mut()) {
            *next &= !*seen;
            *seen |= *next;
            any |= *next;
        }
        if any == 0 {
            return;
        }
        for_each(next, |at| row[at] = hops);
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
